//! A message on its way along one route, from host to host until every recipient has a ruling.

use std::time::Duration;

use super::parcel::Parcel;
use super::ruling::{Judged, Ruling};
use super::settlement::Leg;
use crate::config::NextHop;
use crate::smtp::answer::{ANSWER_TEXT_MAX, printable};
use crate::smtp::reply::Enhanced;

/// One load on its way.
#[derive(Debug)]
pub struct Trip {
    route: String,
    parcel: Parcel,
    legs: Vec<Leg>,
    reasons: Vec<String>,
}

impl Trip {
    /// Begins a trip along the route of this name.
    #[must_use]
    pub fn new(route: &str, parcel: Parcel) -> Self {
        Self { route: route.to_owned(), parcel, legs: Vec::new(), reasons: Vec::new() }
    }

    /// Returns what is still to be carried.
    #[must_use]
    pub fn parcel(&self) -> Parcel {
        self.parcel.clone()
    }

    /// Tells whether every recipient has a ruling.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.parcel.recipients.is_empty()
    }

    /// Enters what `host` decided. Recipients that it sent elsewhere, or said nothing about, go on
    /// to the next host; held ones wait as long as `hold`.
    pub fn enter(&mut self, host: &NextHop, mut judged: Vec<Judged>, hold: Option<Duration>) {
        if let Some(put_off) = judged.iter().find(|judged| judged.ruling == Ruling::Elsewhere) {
            self.blame(host, put_off.why.text());
        }
        judged.retain(|judged| judged.ruling != Ruling::Elsewhere);
        self.parcel
            .recipients
            .retain(|open| !judged.iter().any(|judged| judged.recipient == *open));
        if !judged.is_empty() {
            let (remote, next_hop) = (Some(host.host.clone()), name(host));
            self.legs.push(Leg { route: self.route.clone(), remote, next_hop, judged, hold });
        }
    }

    /// Remembers why `host` could not help.
    pub fn blame(&mut self, host: &NextHop, words: &str) {
        self.reasons.push(format!("{}: {words}", name(host)));
    }

    /// Remembers that no host could be asked, for a reason of ours.
    pub fn blame_ourselves(&mut self, words: &str) {
        self.reasons.push(words.to_owned());
    }

    /// Returns why the hosts asked so far could not help: one line, at most 512 octets.
    #[must_use]
    pub fn reason(&self) -> String {
        let reasons = self.reasons.join("; ");
        let reasons = if reasons.is_empty() { "no host could be asked" } else { &reasons };
        printable(reasons.as_bytes(), ANSWER_TEXT_MAX)
    }

    /// Ends the trip: whoever is still open waits on the normal schedule.
    #[must_use]
    pub fn end(self) -> Vec<Leg> {
        let reason = self.reason();
        self.end_with(Ruling::Deferred, None, &reason)
    }

    /// Ends the trip with one ruling for whoever is still open.
    #[must_use]
    pub fn end_with(mut self, ruling: Ruling, hold: Option<Duration>, reason: &str) -> Vec<Leg> {
        if !self.is_over() {
            let (recipients, status) = (self.parcel.recipients, Enhanced(4, 4, 1));
            self.legs.push(Leg::by_us(&self.route, recipients, ruling, hold, status, reason));
        }
        self.legs
    }
}

/// Returns a host as the journal and the spool name it.
#[must_use]
pub fn name(host: &NextHop) -> String {
    format!("{}:{}", host.host, host.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::envelope::{Body, Terms};
    use crate::mail::outcome::Relayed;
    use crate::mail::report::Diagnostic;
    use crate::smtp::address::ReversePath;

    fn trip() -> Trip {
        let recipients = ["a", "b", "c"].map(|r| format!("{r}@example.com").parse().unwrap());
        let (sender, recipients) = (ReversePath::Null, recipients.into());
        let (body, terms) = (Body::SevenBit, Terms::default());
        Trip::new("smarthost", Parcel { sender, recipients, body, size_bytes: 1, terms })
    }

    fn host(name: &str) -> NextHop {
        NextHop { host: name.into(), port: 587 }
    }

    fn judged(recipient: &str, ruling: Ruling, words: &str) -> Judged {
        let recipient = format!("{recipient}@example.com").parse().unwrap();
        let why = Diagnostic::Smtp(words.into());
        Judged { recipient, ruling, status: None, why, relayed: Relayed::WithoutDsn }
    }

    fn shown(legs: &[Leg]) -> Vec<(String, String, Ruling, String)> {
        let show = |leg: &Leg| {
            let next_hop = leg.next_hop.clone();
            let row = move |judged: &Judged| {
                let local = judged.recipient.local().to_owned();
                (next_hop.clone(), local, judged.ruling, judged.why.text().to_owned())
            };
            leg.judged.iter().map(row).collect::<Vec<_>>()
        };
        legs.iter().flat_map(show).collect()
    }

    #[test]
    fn a_recipient_keeps_its_ruling_and_only_the_others_go_to_the_next_host() {
        let mut trip = trip();
        let rulings = vec![
            judged("a", Ruling::Failed, "550"),
            judged("b", Ruling::Elsewhere, "421 bye"),
            judged("c", Ruling::Elsewhere, "421 bye"),
        ];
        trip.enter(&host("mx1"), rulings, None);
        assert_eq!((trip.parcel().recipients.len(), trip.is_over()), (2, false));
        trip.enter(&host("mx2"), vec![judged("b", Ruling::Delivered, "250")], None);
        trip.blame(&host("mx3"), "refused");
        let expected = [
            ("mx1:587", "a", Ruling::Failed, "550"),
            ("mx2:587", "b", Ruling::Delivered, "250"),
            ("", "c", Ruling::Deferred, "mx1:587: 421 bye; mx3:587: refused"),
        ];
        let expected =
            expected.map(|(hop, to, ruling, why)| (hop.into(), to.into(), ruling, why.into()));
        assert_eq!(shown(&trip.end()), expected);
    }

    #[test]
    fn a_reason_is_one_bounded_line() {
        let mut trip = trip();
        for _ in 0..100 {
            trip.blame(&host("mx"), "words\r\nand words");
        }
        let reason = trip.reason();
        assert_eq!((reason.len(), reason.contains(['\r', '\n'])), (ANSWER_TEXT_MAX, false));
    }
}
