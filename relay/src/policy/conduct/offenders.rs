//! What a source did wrong lately, and what it deserves.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::Source;
use super::memory::Memory;

/// How long a misdeed counts.
const WINDOW: Duration = Duration::from_secs(600);
/// Failed logins in [`WINDOW`] that deserve a ban: more than a client does by itself whose password
/// was changed, since a login waits after five.
const BAN_FAILURES: usize = 20;
/// Names that they must be over: a client that is set up wrongly fails with one.
const BAN_NAMES: usize = 5;
/// Other offences in [`WINDOW`] that deserve a ban. Each of them ends its session, so that a client
/// must come back for each.
const BAN_OFFENCES: usize = 20;
/// How long a source is trusted after a login.
const TRUSTED: Duration = Duration::from_secs(86_400);
/// How late the greeting is after one offence; each further one doubles it. Short, since a probe
/// that talks early once is no attack.
const FIRST_SLOW_DOWN: Duration = Duration::from_millis(500);
/// The latest greeting: clients wait for it 5 minutes (RFC 5321, section 4.5.3.2.1), and each that
/// waits takes one of the sessions that its address may have.
const LONGEST_SLOW_DOWN: Duration = Duration::from_secs(5);
/// Offenders remembered at a time, some 10 MiB at the most; beyond that the one whose last offence
/// is oldest is forgotten.
const OFFENDERS: usize = 10_000;
/// Sources with a login remembered at a time, some 10 MiB at the most. Apart from the offenders, so
/// that no number of them makes a good client's login forgotten.
const TRUSTED_SOURCES: usize = 100_000;

/// What a session refuses as no client's mistake. Each ends its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Octets before the greeting (RFC 5321, section 4.3.1).
    EarlyTalk,
    /// A verb of another protocol, for instance of HTTP.
    ForeignProtocol,
    /// More errors, or more commands that move no mail, than a session may make.
    TooManyErrors,
    /// Octets behind STARTTLS, or behind DATA before its turn: an injection (RFC 3207, section 4.2).
    Injection,
    /// A command that ends in a bare LF: half of a smuggled message.
    BareLineFeed,
}

impl Offence {
    const ALL: [Self; 5] = [
        Self::EarlyTalk,
        Self::ForeignProtocol,
        Self::TooManyErrors,
        Self::Injection,
        Self::BareLineFeed,
    ];

    /// Returns the words for remarks and metrics.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::EarlyTalk => "early talk",
            Self::ForeignProtocol => "foreign protocol",
            Self::TooManyErrors => "too many errors",
            Self::Injection => "injection",
            Self::BareLineFeed => "bare LF",
        }
    }
}

/// Why a source deserves a ban. Its text is the remark of the ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// Failed logins over many names.
    FailedLogins,
    /// Offences of the session, so many of each kind in the order of [`Offence`].
    Offences([usize; 5]),
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = WINDOW.as_secs() / 60;
        match self {
            Self::FailedLogins => write!(
                f,
                "{BAN_FAILURES} failed logins over {BAN_NAMES} names in {minutes} minutes"
            ),
            Self::Offences(counts) => {
                write!(f, "{BAN_OFFENCES} offences in {minutes} minutes")?;
                let counted = Offence::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
                for (place, (offence, count)) in counted.enumerate() {
                    let before = if place == 0 { ": " } else { ", " };
                    write!(f, "{before}{count} {}", offence.words())?;
                }
                Ok(())
            }
        }
    }
}

/// Sources and what they did wrong lately. Bounded, whatever they do.
#[derive(Debug)]
pub struct Offenders {
    offenders: Memory<Record>,
    trusted: Memory<()>,
}

/// The last misdeeds of one source, the oldest first; no more of each than a ban takes.
#[derive(Debug, Default)]
struct Record {
    failures: VecDeque<Instant>,
    /// Different names, by their last failure.
    names: VecDeque<(Instant, String)>,
    offences: VecDeque<(Instant, Offence)>,
}

impl Default for Offenders {
    fn default() -> Self {
        Self { offenders: Memory::new(OFFENDERS), trusted: Memory::new(TRUSTED_SOURCES) }
    }
}

impl Offenders {
    /// Notes that `login`, of at most 64 octets, failed from a source, and returns the grounds if
    /// that deserves a ban now.
    pub fn failed(&mut self, source: Source, login: &str, now: Instant) -> Option<Grounds> {
        let record = self.offenders.touch(source, now);
        record.names.retain(|(_, name)| name != login);
        keep(&mut record.names, (now, login.to_owned()), BAN_NAMES);
        keep(&mut record.failures, now, BAN_FAILURES);
        let many = record.failures.len() == BAN_FAILURES && record.names.len() == BAN_NAMES;
        let oldest = record.failures.front().zip(record.names.front());
        let is_recent =
            oldest.is_some_and(|(failure, (name, _))| is_recent(*failure.min(name), now));
        (many && is_recent && !self.is_trusted(source, now)).then_some(Grounds::FailedLogins)
    }

    /// Notes an offence, and returns the grounds if that deserves a ban now.
    pub fn offended(&mut self, source: Source, offence: Offence, now: Instant) -> Option<Grounds> {
        let record = self.offenders.touch(source, now);
        keep(&mut record.offences, (now, offence), BAN_OFFENCES);
        if record.recent_offences(now) < BAN_OFFENCES {
            return None;
        }
        let count = |kind| record.offences.iter().filter(|(_, offence)| *offence == kind).count();
        let grounds = Grounds::Offences(Offence::ALL.map(count));
        (!self.is_trusted(source, now)).then_some(grounds)
    }

    /// Notes that a login succeeded. It speaks for everybody whom a ban around the source would hit.
    pub fn succeeded(&mut self, source: Source, now: Instant) {
        self.trusted.touch(source, now);
        self.trusted.touch(source.around(), now);
    }

    /// Notes that a ban was asked for: the source starts over.
    pub fn settled(&mut self, source: Source) {
        self.offenders.forget(source);
    }

    /// Returns how long a source has to wait for the greeting: zero, or 0.5 s to 5 s.
    #[must_use]
    pub fn slow_down(&self, source: Source, now: Instant) -> Duration {
        let record = self.offenders.get(source).filter(|_| !self.is_trusted(source, now));
        match record.map_or(0, |record| record.recent_offences(now)) {
            0 => Duration::ZERO,
            offences => {
                let doubled = FIRST_SLOW_DOWN.saturating_mul(1 << (offences - 1).min(4));
                doubled.min(LONGEST_SLOW_DOWN)
            }
        }
    }

    fn is_trusted(&self, source: Source, now: Instant) -> bool {
        let login = self.trusted.touched(source);
        login.is_some_and(|login| now.saturating_duration_since(login) < TRUSTED)
    }
}

impl Record {
    fn recent_offences(&self, now: Instant) -> usize {
        self.offences.iter().filter(|(at, _)| is_recent(*at, now)).count()
    }
}

/// Puts something behind the others, and drops the first if they are more than `most` then.
fn keep<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    list.push_back(item);
    if list.len() > most {
        list.pop_front();
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= WINDOW
}

#[cfg(test)]
mod tests;
