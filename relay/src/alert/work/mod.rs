//! The loop of the room: what is heard, what time brings, what channels answer.

mod asked;
mod beats;
mod carried;
mod flights;

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::beats::Beats;
use super::channel::{Means, Outcome};
use super::kept::{self, Kept, KeptFile};
use super::listing::{Fare, Fares, Listing, Open, Tested};
use super::outbox::Entry;
use super::silences::Silence;
use super::troubles::{LOST, Origin, Terms, Trouble};
use super::{WAITING_MAX, mail};
use crate::config::Config;
use crate::config::alerts::ChannelKind;
use crate::event::Event;
use crate::event::alert::{Alert, Stage};
use crate::event::pattern::Pattern;
use crate::event::telling::OWN_ROOM;
use crate::event::wording::noted;
use crate::journal::Journal;

/// How often the room looks what time brings.
const TICK: Duration = Duration::from_secs(1);
/// How long answers are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What became of what an operator asked for.
type Did = Result<(), String>;

/// What the task is to do.
#[derive(Debug)]
pub(super) enum Order {
    Alert(Box<Alert>),
    Gate {
        series: Timestamp,
        numbers: RangeInclusive<u64>,
        alert: Box<Alert>,
    },
    List(oneshot::Sender<Listing>),
    /// This became of a test.
    Tested(Vec<Tested>),
    Test(Option<String>, oneshot::Sender<Result<Vec<Tested>, String>>),
    Silence(Silence, oneshot::Sender<Did>),
    Unsilence(Pattern, oneshot::Sender<Did>),
    End(oneshot::Sender<()>),
}

/// What is under way to a channel.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Entry(u64),
    Open,
    /// That the relay lives.
    Heartbeat,
}

/// What is known of a channel since the start.
#[derive(Debug, Default)]
struct State {
    is_busy: bool,
    paused_until: Option<Instant>,
    last_taken: Option<Timestamp>,
    last_fault: Option<Timestamp>,
    fault: Option<String>,
    /// Why it did not take a test; none if it took something since.
    failed_test: Option<String>,
    /// Whether what it was told last is to be tried again.
    is_put_off: bool,
    /// Since when something is tried again that it did not take.
    failing_since: Option<Timestamp>,
    /// When it is told that the relay lives.
    beats: Beats,
    /// When it was told the open troubles last.
    refreshed: Option<Instant>,
}

/// The state of the room.
pub(super) struct Work {
    means: Means,
    journal: Journal,
    file: KeptFile,
    kept: Kept,
    is_written: bool,
    /// Why the file could not be written last.
    problem: Option<String>,
    states: BTreeMap<String, State>,
    flights: JoinSet<Outcome>,
    under_way: HashMap<Id, (String, Purpose)>,
    test: Option<tokio::task::JoinHandle<()>>,
    lost: Arc<AtomicU64>,
    lost_in_all: u64,
    /// Answers that wait until what they say is on disk.
    answers: Vec<(oneshot::Sender<Did>, Did)>,
    /// What others see of the open troubles.
    open: watch::Sender<Arc<[Trouble]>>,
    /// What others see of the channels.
    fares: watch::Sender<Arc<[Fare]>>,
}

impl Work {
    /// Takes up what the last process left. Blocks on the disk.
    pub(super) fn open(
        folder: &Path,
        means: Means,
        journal: Journal,
        lost: Arc<AtomicU64>,
    ) -> Self {
        let file = KeptFile::within(folder);
        let (mut kept, damage) = file.read();
        let now = Timestamp::now();
        if kept.series == 0 {
            kept.series = u64::from_ne_bytes(random()).max(1);
        }
        let was_cut_off = std::mem::replace(&mut kept.is_running, true);
        kept.troubles.restarted(Origin::Relay, now);
        if means.config.gate.interfaces.is_empty() {
            // The configuration has no gate any more: nobody says again what one said.
            kept.troubles.restarted(Origin::Gate, now);
        }
        let names = means.config.alerts.channels.iter().map(|channel| channel.name.clone());
        let state = |name: String| {
            let failing_since = kept.outbox.tried(&name).map(|entry| entry.queued).min();
            (name, State { failing_since, ..State::default() })
        };
        let states = names.map(state).collect();
        let mut work = Self {
            means,
            journal,
            file,
            kept,
            is_written: false,
            problem: None,
            states,
            flights: JoinSet::new(),
            under_way: HashMap::new(),
            test: None,
            lost,
            lost_in_all: 0,
            answers: Vec::new(),
            open: watch::Sender::new(Arc::default()),
            fares: watch::Sender::new(Arc::default()),
        };
        if let Some(damage) = damage {
            work.trouble(damage);
        }
        if was_cut_off {
            let problem = work.kept.note_cut_off(now);
            // In the journal each time; people hear of it again when it has become worse.
            work.journal.write(Event::Broken { room: "relay", problem });
        }
        work.show();
        work
    }

    /// Returns where others see the open troubles.
    pub(super) fn open_now(&self) -> Open {
        self.open.subscribe()
    }

    /// Returns where others see how the channels fare.
    pub(super) fn fares(&self) -> Fares {
        self.fares.subscribe()
    }

    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut configs: watch::Receiver<Arc<Config>>,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut ending = None;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => ending = self.take(order),
                    None => return,
                },
                Some(landed) = self.flights.join_next_with_id() => self.land(landed),
                Ok(()) = configs.changed() => {
                    self.means.config = configs.borrow_and_update().clone();
                    if let Some(programs) = &self.means.programs {
                        programs.reread();
                    }
                }
                _ = ticks.tick() => self.tick(Timestamp::now()),
            }
            // What came meanwhile is written down with it.
            for _ in 0..WAITING_MAX {
                let (None, Ok(order)) = (&ending, orders.try_recv()) else { break };
                ending = self.take(order);
            }
            self.show();
            if ending.is_some() {
                self.wait_for_answers().await;
                (self.kept.is_running, self.is_written) = (false, false);
            }
            self.save().await;
            if let Some(ended) = ending {
                let _ = ended.send(());
                return;
            }
            self.launch(Timestamp::now());
        }
    }

    /// Lets answers come that are about to, so that the next process does not tell the same again.
    async fn wait_for_answers(&mut self) {
        let landing = async {
            while let Some(landed) = self.flights.join_next_with_id().await {
                self.land(landed);
            }
        };
        let _ = timeout(LAST_ANSWERS, landing).await;
    }

    /// Does what an order says; returns who waits for the end if it is to end.
    fn take(&mut self, order: Order) -> Option<oneshot::Sender<()>> {
        let now = Timestamp::now();
        match order {
            Order::Alert(alert) => self.hear(*alert, Origin::Relay, now),
            Order::Gate { series, numbers, alert } => self.carry(series, &numbers, *alert, now),
            Order::List(answer) => drop(answer.send(self.list())),
            Order::Tested(tested) => self.tested(tested, now),
            Order::Test(channel, answer) => self.test(channel.as_deref(), answer, now),
            Order::Silence(silence, answer) => {
                let added = self.kept.silences.add(silence);
                self.is_written = false;
                self.answers.push((answer, added));
            }
            Order::Unsilence(pattern, answer) => {
                let removed = self.kept.silences.remove(&pattern);
                self.is_written = false;
                let none =
                    || format!("there is no silence for {pattern}: see `sallyport alert list`");
                self.answers.push((answer, if removed { Ok(()) } else { Err(none()) }));
            }
            Order::End(ended) => return Some(ended),
        }
        None
    }

    fn hear(&mut self, alert: Alert, origin: Origin, now: Timestamp) {
        let Kept { troubles, silences, .. } = &mut self.kept;
        let is_silenced = |alert: &Alert| silences.hold(alert, now);
        let remind = self.means.config.alerts.remind;
        let is_note = alert.stage == Stage::Noted;
        let told = troubles.hear(alert, origin, &Terms { remind, is_silenced: &is_silenced }, now);
        // What only happened and is not told is not worth a write.
        self.is_written &= is_note && told.is_none();
        if let Some(alert) = told {
            self.tell(&alert, now);
        }
    }

    /// Hands an alert to every channel that takes it.
    fn tell(&mut self, alert: &Alert, now: Timestamp) {
        let config = self.means.config.clone();
        self.is_written = false;
        if config.alerts.journal {
            self.journal.write(told(alert));
        }
        for channel in &config.alerts.channels {
            let is_mail = matches!(channel.kind, ChannelKind::Mail(_));
            if !channel.takes(alert) || (is_mail && !mail::may_carry(alert)) {
                continue;
            }
            for left in self.kept.outbox.push(&channel.name, alert.clone(), now) {
                self.give_up(&left, "more are waiting than are kept");
            }
        }
    }

    fn tick(&mut self, now: Timestamp) {
        let alerts = self.means.config.alerts.clone();
        self.is_written &= !self.kept.silences.expire(now);
        let Kept { troubles, silences, outbox, .. } = &mut self.kept;
        let is_silenced = |alert: &Alert| silences.hold(alert, now);
        let told = troubles.tick(&Terms { remind: alerts.remind, is_silenced: &is_silenced }, now);
        let lost = self.lost.swap(0, Ordering::Relaxed) + troubles.take_overflow();
        let names: Vec<&str> = alerts.channels.iter().map(|channel| &*channel.name).collect();
        outbox.set_clock(now);
        let old = outbox.expire(alerts.keep, &names, now);
        for alert in told {
            self.tell(&alert, now);
        }
        for entry in old {
            self.is_written = false;
            self.give_up(
                &entry,
                "it was tried for as long as alerts.keep says, or its channel is gone",
            );
            // It may have been the last that waited for a channel that takes the others.
            let waits = self.kept.outbox.tried(&entry.channel).next().is_some();
            if let Some(state) = self.states.get_mut(&entry.channel) {
                state.failing_since = state.failing_since.filter(|_| waits || state.is_put_off);
            }
        }
        if lost > 0 {
            self.lost_in_all += lost;
            let summary = "more alerts came at once than are kept, and some were not told";
            self.trouble(format!("{lost} alerts were lost: {summary}"));
            let alert = noted(LOST, summary).first("sallyport alert list");
            self.hear(alert.with("lost", lost).at(now), Origin::Relay, now);
        }
    }

    /// Shows the open troubles, and how the channels fare, to whoever looks.
    fn show(&self) {
        self.open.send_if_modified(|shown| {
            let is_news = !shown.iter().eq(self.kept.troubles.open());
            if is_news {
                *shown = self.kept.troubles.open().cloned().collect();
            }
            is_news
        });
        self.show_fares();
    }

    /// Writes what changed, and answers whoever waited for that.
    async fn save(&mut self) {
        if !self.is_written {
            let file = self.file.clone();
            let written = match kept::text(&self.kept) {
                Ok(text) => tokio::task::spawn_blocking(move || file.write(&text)).await,
                Err(error) => Ok(Err(error.into())),
            };
            let problem = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(fault) => Some(fault.to_string()),
            };
            // One that cannot be written is tried again with the next change: alerts go out meanwhile.
            self.is_written = true;
            if let Some(problem) = problem.as_ref().filter(|_| self.problem.is_none()) {
                self.trouble(format!("what is still to be told cannot be written down: {problem}"));
            }
            self.problem = problem;
        }
        for (answer, result) in std::mem::take(&mut self.answers) {
            let problem = self.problem.as_ref();
            let kept =
                problem.map(|problem| format!("it counts, but only until a restart: {problem}"));
            let _ = answer.send(result.and(kept.map_or(Ok(()), Err)));
        }
    }

    fn give_up(&self, entry: &Entry, why: &str) {
        let (channel, key, stage) = (&entry.channel, entry.alert.key(), entry.alert.stage.name());
        self.trouble(format!("{channel} was not told of {key} ({stage}): {why}"));
    }

    fn trouble(&self, problem: String) {
        self.journal.write(Event::Trouble { room: OWN_ROOM, problem });
    }
}

/// Returns the line about an alert that was told.
fn told(alert: &Alert) -> Event {
    Event::Told {
        class: alert.class.clone(),
        subject: alert.subject.clone(),
        stage: alert.stage,
        severity: alert.severity,
        summary: alert.summary.clone(),
        command: alert.command.clone(),
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    // The library's generator was seeded; if it failed, tries would only come at even times.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    octets
}
