//! `sallyport alert list` as text: what is worst first, a line each and what there is to say below it.

use crate::alert::listing::{ChannelState, Listing};
use crate::alert::silences::Silence;
use crate::alert::troubles::Trouble;
use crate::cli::print::{self, Detail};
use crate::cli::queue::at;
use crate::cli::users::Users;
use crate::event::alert::{Alert, Severity};
use crate::event::wording::word;

/// The alerts of the past that the text shows; `--json` has more.
const RECENT_SHOWN: usize = 10;

/// Returns the listing in so many columns; names that are longer than that, and commands, stay whole.
pub(super) fn text(listing: &Listing, width: usize) -> String {
    let mut parts = Vec::new();
    if listing.open.is_empty() {
        parts.push("no open troubles".to_owned());
    } else {
        let mut open: Vec<&Trouble> = listing.open.iter().collect();
        open.sort_by_key(|trouble| trouble.alert.urgency());
        let rows = open.into_iter().map(|trouble| open_row(trouble, &listing.silences)).collect();
        parts.push(print::detailed(["SEVERITY", "SINCE", "OPEN"], rows, width));
    }
    if !listing.recent.is_empty() {
        let rows = listing.recent.iter().take(RECENT_SHOWN).map(recent_row).collect();
        parts.push(print::detailed(["TOLD LAST", "STAGE", "ALERT"], rows, width));
    }
    if !listing.silences.is_empty() {
        let mut users = Users::default();
        let rows =
            listing.silences.iter().map(|silence| silence_row(silence, &mut users)).collect();
        parts.push(print::detailed(["SILENT UNTIL", "BY", "SILENCED"], rows, width));
    }
    let rows = listing.channels.iter().map(channel_row).collect();
    parts.push(print::detailed(["CHANNEL", "KIND", "WAITING", "LAST TAKEN"], rows, width));
    if listing.lost > 0 {
        let lost = print::count(usize::try_from(listing.lost).unwrap_or(usize::MAX), "alert");
        parts.push(format!("WARNING: {lost} found no room since the relay's start"));
    }
    parts.join("\n\n")
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn open_row(trouble: &Trouble, silences: &[Silence]) -> ([String; 3], Vec<Detail>) {
    let alert = &trouble.alert;
    let mut details = vec![Detail::Prose(alert.summary.clone())];
    if trouble.told.is_none() {
        let its = silences.iter().filter(|silence| silence.pattern.means(alert));
        let silence = its.max_by_key(|silence| silence.until);
        details.push(Detail::Prose(match silence {
            Some(Silence { pattern, until, .. }) => {
                format!("not told: it is silenced by {pattern} until {}", at(*until))
            }
            None => {
                "not told yet: it, or its class, was told as often as may be in an hour".to_owned()
            }
        }));
    }
    if let Some(start) = trouble.unconfirmed {
        let start = at(start);
        details.push(Detail::Prose(format!(
            "not heard of since the start at {start}, so it may be over"
        )));
    }
    let first = alert.command.as_ref().map(|command| Detail::Copy(format!("first: {command}")));
    details.extend(first);
    ([severity(alert.severity).to_owned(), at(alert.since), alert.key()], details)
}

fn recent_row(alert: &Alert) -> ([String; 3], Vec<Detail>) {
    let row = [at(alert.at), alert.stage.name().to_owned(), alert.key()];
    (row, vec![Detail::Prose(alert.summary.clone())])
}

fn silence_row(silence: &Silence, users: &mut Users) -> ([String; 3], Vec<Detail>) {
    let Silence { pattern, until, note, uid } = silence;
    let row = [at(*until), users.name(*uid), pattern.to_string()];
    let end = format!("end it: sallyport alert silence --remove {}", word(&pattern.to_string()));
    (row, note.clone().map(Detail::Prose).into_iter().chain([Detail::Copy(end)]).collect())
}

fn channel_row(channel: &ChannelState) -> ([String; 4], Vec<Detail>) {
    let fault = match (&channel.fault, channel.last_fault) {
        (Some(why), Some(last)) => Some(format!("fault at {}: {why}", at(last))),
        (Some(why), None) => Some(format!("fault: {why}")),
        (None, Some(last)) => {
            Some(format!("it failed last at {}, and took another since", at(last)))
        }
        (None, None) => None,
    };
    let again =
        channel.next_try.map(|next| format!("what it did not take is tried again at {}", at(next)));
    let fault = match (fault, again) {
        (Some(fault), Some(again)) => Some(format!("{fault}; {again}")),
        (fault, again) => fault.or(again),
    };
    let row = [
        channel.name.clone(),
        channel.kind.clone(),
        channel.waiting.to_string(),
        channel.last_taken.map_or_else(|| "-".to_owned(), at),
    ];
    (row, fault.map(Detail::Prose).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::alert::troubles::Origin;
    use crate::event::Event;

    fn trouble(event: &Event, second: i64) -> Trouble {
        let since = Timestamp::from_second(second).unwrap();
        Trouble {
            alert: event.alerts(since).remove(0),
            origin: Origin::Relay,
            told: Some(since),
            known: Some(Severity::Critical),
            reminders: 0,
            unconfirmed: None,
        }
    }

    fn listing() -> Listing {
        let reason = "the connection was refused, and then again, ".repeat(6);
        let down = Event::HostDown {
            route: "smarthost".into(),
            host: "smtp.example.net:587".into(),
            reason: reason.clone(),
        };
        let silent = Event::GateSilent { problem: "/run/sallyport/gate.sock: no answer".into() };
        let mut held = trouble(&down, 7);
        (held.told, held.unconfirmed) = (None, Some(Timestamp::from_second(9).unwrap()));
        let up = Event::HostUp {
            route: "smarthost".into(),
            host: "smtp.example.net:587".into(),
            down_for: Duration::from_secs(9),
        };
        Listing {
            open: vec![held, trouble(&silent, 5)],
            recent: up.alerts(Timestamp::UNIX_EPOCH),
            silences: vec![Silence {
                pattern: "host-down/*".parse().unwrap(),
                until: Timestamp::UNIX_EPOCH,
                note: Some("they move, and say so ".repeat(9)),
                uid: 1000,
            }],
            channels: vec![ChannelState {
                name: "ops".into(),
                kind: "webhook".into(),
                fault: Some(reason),
                ..ChannelState::default()
            }],
            lost: 0,
        }
    }

    #[test]
    fn every_line_fits_the_terminal_and_what_is_worst_stands_first() {
        for width in [80, 120] {
            let text = text(&listing(), width);
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width, "{longest} of {width}:\n{text}");
            let places =
                ["critical  ", "first: sallyport doctor", "warning  ", "SILENCED", "fault: "];
            let found =
                places.map(|words| text.find(words).unwrap_or_else(|| panic!("{words}:\n{text}")));
            assert!(found.is_sorted(), "{found:?}:\n{text}");
        }
    }

    #[test]
    fn what_was_not_told_and_what_may_be_over_says_so() {
        let text = text(&listing(), 120);
        for words in [
            "warning   1970-01-01T00:00:07Z  host-down/smarthost/smtp.example.net:587",
            "    not told: it is silenced by host-down/* until 1970-01-01T00:00:00Z",
            "    not heard of since the start at 1970-01-01T00:00:09Z",
            "    first: sallyport route list",
            "    end it: sallyport alert silence --remove 'host-down/*'",
        ] {
            assert!(text.contains(words), "{words}:\n{text}");
        }
    }

    #[test]
    fn what_was_told_too_often_says_so_and_a_channel_says_what_waits() {
        let second = |second| Some(Timestamp::from_second(second).unwrap());
        let channel = ChannelState {
            waiting: 1,
            next_try: second(99),
            last_fault: second(5),
            ..ChannelState::default()
        };
        let held = Listing { silences: Vec::new(), channels: vec![channel], ..listing() };
        let text = text(&held, 200);
        for words in [
            "not told yet: it, or its class, was told as often as may be in an hour",
            "it failed last at 1970-01-01T00:00:05Z, and took another since; what it did not take is tried \
             again at 1970-01-01T00:01:39Z",
        ] {
            assert!(text.contains(words), "{words}:\n{text}");
        }
    }

    #[test]
    fn where_nothing_is_wrong_that_is_said() {
        let text = text(&Listing { open: Vec::new(), recent: Vec::new(), ..listing() }, 80);
        assert!(text.starts_with("no open troubles\n\nSILENT UNTIL"), "{text}");
    }
}
