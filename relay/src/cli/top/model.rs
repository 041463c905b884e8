//! What the live view shows and what its keys do: pure, so that a test presses keys.

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use relay_common::verdict::Reason;

use super::sample::Sample;
use super::series::Series;
use crate::control::wire::{GateRequest, GateStatus, Talker};

/// The remark of entries and bans that are made here.
const NOTE: &str = "from sallyport top";
/// For how long a key bans, hours.
const BAN_HOURS: u64 = 1;
/// For how long a key admits, hours: it is for finding out, not for ever.
const ALLOW_HOURS: u64 = 8;
/// From which age on a picture is called old, seconds: a new one comes each second while both processes answer.
const OLD_SECONDS: i64 = 4;

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The row above.
    Up,
    /// The row below.
    Down,
    /// A letter.
    Char(char),
    /// The enter key.
    Enter,
    /// The escape key.
    Escape,
}

/// A change of the gate's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A ban for an hour.
    Ban(IpNetwork),
    /// An entry for eight hours.
    Allow(IpNetwork),
}

impl Change {
    /// Returns the command that does the same.
    pub fn command(self) -> String {
        match self {
            Self::Ban(network) => {
                format!("sallyport ban add {network} --ttl {BAN_HOURS}h --note '{NOTE}'")
            }
            Self::Allow(network) => {
                format!("sallyport allow add {network} --ttl {ALLOW_HOURS}h --note '{NOTE}'")
            }
        }
    }

    /// Returns what the gate is asked.
    pub fn request(self) -> GateRequest {
        let hours = |hours: u64| Some(hours * 3_600_000);
        let note = Some(NOTE.to_owned());
        match self {
            Self::Ban(network) => {
                GateRequest::BanAdd { networks: vec![network], ttl_ms: hours(BAN_HOURS), note }
            }
            Self::Allow(network) => GateRequest::AllowAdd {
                networks: vec![network],
                tag: None,
                note,
                ttl_ms: hours(ALLOW_HOURS),
                connect_rate: None,
                source_rate: None,
            },
        }
    }
}

/// What is to be done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// End the view.
    Quit,
    /// Change a list.
    Change(Change),
    /// Ask what the gate does with a network.
    Explain(IpNetwork),
}

/// What comes from outside.
#[derive(Debug)]
pub enum Told {
    /// What both processes say now.
    Sample(Box<Sample>),
    /// What came of an act.
    Done(String),
}

/// What lies over the view.
#[derive(Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing.
    Nothing,
    /// The keys.
    Help,
    /// A change that waits for a yes.
    Question(Change),
    /// What came of an act.
    Answer(String),
}

/// Whether new samples are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They are.
    Live,
    /// The last one stays; rates are still kept.
    Paused,
}

/// The live view.
#[derive(Debug)]
pub struct Model {
    /// The name of this host.
    pub hostname: String,
    /// What is shown; none before the first answer.
    pub sample: Option<Sample>,
    /// Connection attempts that passed.
    pub passed: Series,
    /// Frames that were dropped, at both doors.
    pub refused: Series,
    /// The row that keys speak of, among [`Model::talkers`].
    pub selected: usize,
    /// What lies over the view.
    pub over: Over,
    /// Whether new samples are shown.
    pub flow: Flow,
    /// How old what is shown is, seconds; none while it is new.
    pub age_seconds: Option<i64>,
}

impl Model {
    /// Returns a view that has heard nothing yet.
    pub fn new(hostname: String) -> Self {
        Self {
            hostname,
            sample: None,
            passed: Series::default(),
            refused: Series::default(),
            selected: 0,
            over: Over::Nothing,
            flow: Flow::Live,
            age_seconds: None,
        }
    }

    /// Takes the time; returns whether the view shows something else now.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let age = self.sample.as_ref().map(|sample| now.duration_since(sample.at).as_secs());
        let age = age.filter(|age| *age >= OLD_SECONDS);
        std::mem::replace(&mut self.age_seconds, age) != age
    }

    /// Takes news.
    pub fn take(&mut self, told: Told) {
        match told {
            Told::Done(words) => self.over = Over::Answer(words),
            Told::Sample(sample) => {
                if let Some(gate) = &sample.whole.gate {
                    let at_ms = sample.at.as_millisecond();
                    self.passed.take(at_ms, admitted(gate));
                    self.refused.take(at_ms, dropped(gate));
                }
                if self.flow == Flow::Live {
                    self.show(*sample);
                }
            }
        }
    }

    /// Shows a sample; the network that was selected stays so if it is still there.
    fn show(&mut self, sample: Sample) {
        let selected = self.selected().map(|talker| talker.cidr);
        self.sample = Some(sample);
        let talkers = self.talkers();
        let place = talkers.iter().position(|talker| Some(talker.cidr) == selected);
        self.selected = place.unwrap_or(self.selected).min(talkers.len().saturating_sub(1));
    }

    /// Returns the networks that are refused most.
    pub fn talkers(&self) -> &[Talker] {
        let gate = self.sample.as_ref().and_then(|sample| sample.whole.gate.as_ref());
        gate.map_or(&[], |gate| gate.talkers.as_slice())
    }

    /// Returns the network that keys speak of.
    pub fn selected(&self) -> Option<&Talker> {
        self.talkers().get(self.selected)
    }

    /// Takes a key; returns what is to be done outside.
    pub fn press(&mut self, key: Key) -> Option<Act> {
        match (std::mem::replace(&mut self.over, Over::Nothing), key) {
            (Over::Question(change), Key::Char('y')) => return Some(Act::Change(change)),
            (Over::Nothing, Key::Char('q')) => return Some(Act::Quit),
            (Over::Nothing, key) => return self.press_plain(key),
            // Any other key takes away what lies over the view.
            (Over::Question(_) | Over::Answer(_) | Over::Help, _) => {}
        }
        None
    }

    fn press_plain(&mut self, key: Key) -> Option<Act> {
        let network = self.selected().map(|talker| talker.cidr);
        match key {
            Key::Up | Key::Char('k') => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Char('j') => {
                let last = self.talkers().len().saturating_sub(1);
                self.selected = (self.selected + 1).min(last);
            }
            Key::Char('p') => {
                self.flow = match self.flow {
                    Flow::Live => Flow::Paused,
                    Flow::Paused => Flow::Live,
                };
            }
            Key::Char('?' | 'h') => self.over = Over::Help,
            Key::Char('b') => self.ask(network.map(Change::Ban)),
            Key::Char('a') => self.ask(network.map(Change::Allow)),
            Key::Char('e') | Key::Enter => match network {
                Some(network) => return Some(Act::Explain(network)),
                None => self.ask(None),
            },
            Key::Char(_) | Key::Escape => {}
        }
        None
    }

    /// Puts a change before the user; none: no network is selected.
    fn ask(&mut self, change: Option<Change>) {
        self.over = change.map_or_else(
            || {
                Over::Answer(
                    "nobody was refused in the last minute: there is no network".to_owned(),
                )
            },
            Over::Question,
        );
    }
}

/// Counts the connection attempts that passed the first door.
fn admitted(gate: &GateStatus) -> u64 {
    let first_door = gate.counted.iter().filter(|row| row.interface.is_some());
    first_door.filter_map(|row| row.counts.get(Reason::Admitted.name())).sum()
}

/// Counts the frames that were dropped, at both doors.
fn dropped(gate: &GateStatus) -> u64 {
    let reasons = Reason::ALL.into_iter().filter(|reason| reason.drops());
    reasons.filter_map(|reason| gate.counters.get(reason.name())).sum()
}

#[cfg(test)]
pub(super) mod tests;
