//! Puts the reports about a message into the spool, before the message is settled.

use std::time::Duration;

use jiff::Timestamp;

use super::way::way_of;
use crate::config::Config;
use crate::delivery::settlement::Settlement;
use crate::event::Event;
use crate::mail::message::MessageId;
use crate::mail::report::{
    Addressee, Extent, HEADER_MAX, Kind, Notice, Original, Report, addressee, extent,
};
use crate::spool::{Claim, Spool, StoreError};

/// How long recipients wait whose failure could not be reported yet.
const REPORT_RETRY: Duration = Duration::from_secs(60);

/// Writes every report that `settlement` calls for. Returns the settlement, which owes what could not
/// be told, and what there is to say.
pub(super) async fn write(
    spool: &Spool,
    config: &Config,
    claim: &Claim,
    mut settlement: Settlement,
    now: Timestamp,
) -> (Settlement, Vec<Event>) {
    let mut events = Vec::new();
    for kind in Kind::ALL {
        let notices = settlement.notices(kind);
        if notices.is_empty() {
            continue;
        }
        match report(spool, config, claim, &notices, now).await {
            Ok(event) => {
                events.push(event);
                settlement = settlement.reported(kind);
            }
            Err(problem) => {
                let problem = format!("the report about {} was not written: {problem}", claim.id());
                events.push(Event::Trouble { room: "net", problem });
                settlement = settlement.unreported(kind, REPORT_RETRY);
            }
        }
    }
    (settlement, events)
}

/// Writes one report about `notices`, which are of one kind.
async fn report(
    spool: &Spool,
    config: &Config,
    claim: &Claim,
    notices: &[Notice],
    now: Timestamp,
) -> Result<Event, StoreError> {
    let (about, envelope, kind) = (claim.id(), claim.envelope(), notices[0].news.kind());
    let to = match addressee(envelope, notices, &config.postmaster) {
        Addressee::Mailbox(to) => to,
        Addressee::Nobody => {
            let reason = notices[0].diagnostic.text().to_owned();
            return Ok(Event::BounceDropped { id: about, reason });
        }
    };
    let extent = extent(kind, envelope, claim.size_bytes());
    let (read, extent) = read(claim, extent).await;
    let report = Report {
        hostname: &config.hostname,
        to: &to,
        about,
        envelope,
        arrived_at: claim.accepted_at(),
        now,
        kind,
        notices,
        original: &Original::of(read, extent, envelope.terms.utf8),
        nonce: random(),
    };
    let id = commit(spool, config, &report).await?;
    Ok(match kind {
        Kind::Failed => Event::Bounced { id, about },
        Kind::Delayed | Kind::Relayed => Event::Notified { id, about, news: kind.action() },
    })
}

async fn commit(
    spool: &Spool,
    config: &Config,
    report: &Report<'_>,
) -> Result<MessageId, StoreError> {
    let envelope = report.envelope();
    let way = way_of(config, &envelope);
    let mut draft = spool.draft(envelope)?.toward(way);
    draft.append(&report.text()).await;
    draft.commit().await
}

/// Reads as much of a message as a report gives back. What cannot be read whole goes back as its
/// header.
async fn read(claim: &Claim, extent: Extent) -> (Vec<u8>, Extent) {
    let mut body = claim.body();
    let mut read = Vec::new();
    loop {
        match body.read_chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) => return (read, extent),
            Err(_) => return (read, Extent::Header),
        }
        if extent == Extent::Header && read.len() >= HEADER_MAX {
            return (read, extent);
        }
    }
}

/// Returns a random number.
pub(super) fn random() -> u64 {
    let mut octets = [0; 8];
    // The operating system's generator seeded the library's; it does not fail after that. If it
    // did, a number that is known would only make waits even and boundaries guessable.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    u64::from_ne_bytes(octets)
}
