//! What the live view shows and what its keys do: pure, so that a test presses keys.

use std::net::IpAddr;

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
    /// Ask what the gate does with a source.
    Explain(IpAddr),
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
                Some(network) => return Some(Act::Explain(network.ip())),
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
pub(super) mod tests {
    use super::*;
    use crate::cli::status::Whole;
    use crate::control::health::{Health, Judgement};

    /// Returns what a gate and a relay say at a second: `refused` frames so far, by two networks.
    pub fn sample(second: i64, admitted: u64, refused: u64) -> Sample {
        let gate = format!(
            r#"{{"pid":1,"interfaces":[{{"name":"eth0","mode":"native","problem":null}}],"ports":[2525],
            "serving":true,"mode":"enforce","observe_until":null,"generation":7,"second_door":1,
            "loopback":true,"confirm_until":null,"shadow":null,"entries":12,"bans":1,
            "counters":{{"admitted":{0},"unlisted_syn":{refused}}},"spared":0,
            "counted":[{{"interface":"eth0","port":2525,"counts":{{"admitted":{admitted}}},"spared":0}}],
            "talkers":[{{"cidr":"203.0.113.0/24","frames":4801,"error":33,"reason":"unlisted_syn"}},
            {{"cidr":"2001:db8:7::/64","frames":120,"error":8,"reason":"banned"}}],
            "bypasses":[],"refused_per_second":800,"spikes":[{{"class":"spike-refused",
            "since":"2026-01-31T12:00:00Z","until":null,"window_seconds":60,"peak":4801,"usual":2,
            "peak_per_second":80,"usual_per_second":0,"total":4801}}],"problems":[]}}"#,
            2 * admitted
        );
        let relay = r#"{"pid":2,"serving":true,"guard":"guarded","sessions":12,"has_room":true,
            "troubled":[],"spool":{"messages":1204,"damaged":0,"held":2,"captured":0,
            "captured_bytes":0,"body_bytes":5000000,"log_bytes":6291456,"segments":1,
            "troubled_segments":0,"free_bytes":42949672960,"reserve_bytes":0,"commits":0,"flushes":0}}"#;
        let judgement = Judgement {
            health: Health::Degraded,
            problems: vec!["open spikes: spike-refused".into()],
        };
        let whole = Whole {
            judgement,
            gate: Some(serde_json::from_str(&gate).unwrap()),
            relay: Some(serde_json::from_str(relay).unwrap()),
            routes: Vec::new(),
            alerts: Vec::new(),
        };
        Sample { at: Timestamp::from_second(1_769_860_800 + second).unwrap(), whole }
    }

    pub fn shown(samples: impl IntoIterator<Item = Sample>) -> Model {
        let mut model = Model::new("relay.example.net".into());
        samples.into_iter().for_each(|sample| model.take(Told::Sample(Box::new(sample))));
        model
    }

    #[test]
    fn a_ban_asks_first_names_its_command_and_is_done_by_y_alone() {
        let mut model = shown([sample(0, 0, 0)]);
        model.press(Key::Down);
        model.press(Key::Down);
        let change = Change::Ban("2001:db8:7::/64".parse().unwrap());
        for no in [Key::Char('n'), Key::Escape, Key::Enter, Key::Char('Y'), Key::Char('q')] {
            assert_eq!(model.press(Key::Char('b')), None);
            assert_eq!(model.over, Over::Question(change));
            assert_eq!(model.press(no), None, "{no:?}");
            assert_eq!(model.over, Over::Nothing);
        }
        model.press(Key::Char('b'));
        assert_eq!(model.press(Key::Char('y')), Some(Act::Change(change)));
        let command = "sallyport ban add 2001:db8:7::/64 --ttl 1h --note 'from sallyport top'";
        assert_eq!(change.command(), command);
    }

    #[test]
    fn what_is_asked_is_what_the_command_says() {
        use clap::Parser as _;

        use crate::cli::args::{AllowVerb, Arguments, BanVerb, Verb};

        let network = "203.0.113.0/24".parse().unwrap();
        for change in [Change::Ban(network), Change::Allow(network)] {
            let command = change.command();
            let (words, note) = command.split_once(" '").unwrap();
            let words = words.split(' ').chain([note.trim_end_matches('\'')]);
            let typed = match Arguments::try_parse_from(words).unwrap().verb {
                Verb::Ban(BanVerb::Add { networks, ttl, note })
                | Verb::Allow(AllowVerb::Add { networks, ttl, note, .. }) => (networks, ttl, note),
                other => panic!("{other:?}"),
            };
            let asked = match change.request() {
                GateRequest::BanAdd { networks, ttl_ms, note }
                | GateRequest::AllowAdd { networks, ttl_ms, note, .. } => (networks, ttl_ms, note),
                other => panic!("{other:?}"),
            };
            assert_eq!(typed.1.map(|ttl| ttl.as_millis()), asked.1.map(u128::from));
            assert_eq!((typed.0, typed.2), (asked.0, asked.2));
        }
    }

    #[test]
    fn the_selected_network_stays_selected_when_the_order_changes_and_never_leaves_the_list() {
        let mut model = shown([sample(0, 0, 0)]);
        model.press(Key::Down);
        let mut later = sample(1, 0, 0);
        later.whole.gate.as_mut().unwrap().talkers.reverse();
        model.take(Told::Sample(Box::new(later)));
        assert_eq!(model.selected().unwrap().cidr.to_string(), "2001:db8:7::/64");
        assert_eq!(model.selected, 0);
        let mut none = sample(2, 0, 0);
        none.whole.gate.as_mut().unwrap().talkers.clear();
        model.take(Told::Sample(Box::new(none)));
        for key in [Key::Up, Key::Down, Key::Char('b'), Key::Escape, Key::Enter, Key::Escape] {
            assert_eq!(model.press(key), None);
        }
    }

    #[test]
    fn rates_come_from_the_first_door_alone_and_go_on_while_the_view_is_paused() {
        let mut model = shown([sample(0, 10, 100)]);
        model.press(Key::Char('p'));
        model.take(Told::Sample(Box::new(sample(1, 25, 900))));
        assert_eq!((model.passed.now(), model.refused.now()), (15, 800));
        assert_eq!(model.sample.as_ref().unwrap().at, sample(0, 0, 0).at);
        model.press(Key::Char('p'));
        model.take(Told::Sample(Box::new(sample(2, 25, 900))));
        assert_eq!(model.sample.as_ref().unwrap().at, sample(2, 0, 0).at);
    }

    #[test]
    fn what_came_of_an_act_is_shown_until_a_key() {
        let mut model = shown([sample(0, 0, 0)]);
        assert_eq!(model.press(Key::Enter), Some(Act::Explain("203.0.113.0".parse().unwrap())));
        model.take(Told::Done("not listed".into()));
        assert_eq!(model.over, Over::Answer("not listed".into()));
        assert_eq!(model.press(Key::Char('q')), None);
        assert_eq!(model.press(Key::Char('q')), Some(Act::Quit));
    }
}
