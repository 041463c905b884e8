//! The one line about a message, put together as it leaves the queue for good.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{End, Settled};
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;
use crate::mail::outcome::{Fate, Outcome};
use crate::smtp::address::Address;
use crate::spool::{LastReply, Progress, Standing};

/// The most domains that the line names.
const DOMAINS_SHOWN: usize = 4;

/// A message that may be about to leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// Which message.
    pub id: MessageId,
    /// How it came.
    pub envelope: &'a Envelope,
    /// Where its recipients stood before.
    pub progress: &'a [Progress],
    /// The length of its body, octets.
    pub size_bytes: u64,
    /// Attempts settled before.
    pub attempts: u32,
    /// When it became ours, UTC.
    pub accepted_at: Timestamp,
    /// The present, UTC.
    pub now: Timestamp,
}

/// How many recipients stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    delivered: usize,
    failed: usize,
    captured: usize,
    open: usize,
}

/// The last word about a recipient.
#[derive(Clone, Debug, Default)]
struct Word {
    route: Option<String>,
    next_hop: Option<String>,
    reply: Option<String>,
}

impl Leaving<'_> {
    /// Returns the line if nobody is open any more after these outcomes, each with the name of its route, and
    /// no report is owed.
    #[must_use]
    pub fn settled<'r>(
        self,
        results: impl Iterator<Item = (&'r str, &'r Outcome)>,
    ) -> Option<Settled> {
        let mut tally = Tally::of(self.progress);
        let mut word: Option<(&str, &Outcome)> = None;
        let mut is_attempt = false;
        for (route, outcome) in results {
            is_attempt |= outcome.fate.is_attempt();
            if !tally.enter(&outcome.fate) {
                continue;
            }
            if outcome.fate == Fate::Failed
                || word.is_none_or(|(_, word)| word.fate != Fate::Failed)
            {
                word = Some((route, outcome));
            }
        }
        if tally.open > 0 || self.progress.iter().any(|progress| progress.owed.is_some()) {
            return None;
        }
        let word = word.map(|(route, outcome)| Word {
            route: some(route),
            next_hop: some(&outcome.next_hop),
            reply: some(&outcome.reply),
        });
        // None: the message stayed for a report alone.
        let word = word.unwrap_or_else(|| self.last_heard());
        let attempts = self.attempts + u32::from(is_attempt);
        let line = Self { attempts, ..self };
        Some(line.line(tally, tally.end(), word, None))
    }

    /// Returns the line about a message that an operator removed.
    #[must_use]
    pub fn dropped(self, uid: u32) -> Settled {
        self.line(Tally::of(self.progress), End::Dropped, self.last_heard(), Some(uid))
    }

    fn last_heard(&self) -> Word {
        let heard = self.progress.iter().filter_map(|progress| progress.last.as_ref());
        let word = heard.max_by_key(|last| last.at).map(|LastReply { next_hop, reply, .. }| Word {
            route: None,
            next_hop: some(next_hop),
            reply: some(reply),
        });
        word.unwrap_or_default()
    }

    fn line(self, tally: Tally, end: End, word: Word, uid: Option<u32>) -> Settled {
        let Self { id, envelope, size_bytes, attempts, accepted_at, now, .. } = self;
        let Tally { delivered, failed, captured, open } = tally;
        let Word { route, next_hop, reply } = word;
        let came = envelope.came.as_deref();
        let entry = came.and_then(|came| came.entry);
        Settled {
            id,
            end,
            source: envelope.source,
            proxy: came.map(|came| came.peer).filter(|peer| Some(*peer) != envelope.source),
            entry: entry.map(|entry| entry.network),
            entry_passed: entry.map(|entry| entry.passed),
            entry_over_rate: entry.map(|entry| entry.over_rate),
            tag: envelope.tag.clone(),
            listener: came.map(|came| came.listener),
            tls: came.and_then(|came| came.tls.clone()),
            server_name: came.and_then(|came| came.server_name.clone()),
            mechanism: came.and_then(|came| came.mechanism.clone()),
            login: envelope.login.clone(),
            domains: domains(&envelope.recipients),
            size_bytes,
            recipients: envelope.recipients.len(),
            delivered,
            failed,
            captured,
            open,
            attempts,
            route,
            next_hop,
            reply,
            accepted_at,
            took: Duration::try_from(now.duration_since(accepted_at)).unwrap_or_default(),
            trace: envelope.trace.map(|context| context.trace),
            uid,
        }
    }
}

impl Tally {
    fn of(progress: &[Progress]) -> Self {
        let mut tally = Self::default();
        for Progress { standing, .. } in progress {
            match standing {
                Standing::Pending => tally.open += 1,
                Standing::Delivered => tally.delivered += 1,
                Standing::Failed => tally.failed += 1,
                Standing::Captured => tally.captured += 1,
            }
        }
        tally
    }

    /// Enters what became of an open recipient; returns whether he is open no more.
    const fn enter(&mut self, fate: &Fate) -> bool {
        let place = match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::Failed => &mut self.failed,
            Fate::Captured => &mut self.captured,
            Fate::Deferred(_) | Fate::Postponed(_) | Fate::Paused(_) => return false,
        };
        *place += 1;
        self.open = self.open.saturating_sub(1);
        true
    }

    const fn end(self) -> End {
        match (self.delivered, self.failed, self.captured) {
            (_, 0, 0) => End::Delivered,
            (0, _, 0) => End::Failed,
            (0, 0, _) => End::Captured,
            (_, _, _) => End::Mixed,
        }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Names the domains, each once, in the order of the recipients.
fn domains(recipients: &[Address]) -> String {
    let (mut seen, mut shown) = (BTreeSet::new(), Vec::new());
    for recipient in recipients {
        let domain = recipient.domain().to_ascii_lowercase();
        if seen.insert(domain.clone()) && shown.len() < DOMAINS_SHOWN {
            shown.push(domain);
        }
    }
    if seen.len() > shown.len() {
        shown.push(format!("+{}", seen.len() - shown.len()));
    }
    shown.join(",")
}

#[cfg(test)]
mod tests;
