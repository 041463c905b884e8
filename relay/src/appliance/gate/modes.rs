//! What is switched as a whole: observing, and opening the host.

use std::time::Duration;

use jiff::Timestamp;
use relay_common::state::Mode;

use super::keeper::Keeper;
use super::telling::told;
use crate::control::caller::Caller;
use crate::event::Event;
use crate::gate::clocks::Moment;

/// The longest time to observe: a week.
const OBSERVE_MAX: Duration = Duration::from_secs(7 * 86_400);

impl Keeper {
    /// Observes for a time, or enforces; returns until when it observes.
    pub(super) fn set_mode(
        &mut self,
        observe: Option<Duration>,
        caller: Caller,
        now: Moment,
    ) -> Result<Option<Timestamp>, String> {
        if self.gate.switched().mode == Mode::Open {
            return Err("the gate is detached; start it again to guard".to_owned());
        }
        if observe.is_some_and(|time| time.is_zero() || time > OBSERVE_MAX) {
            return Err("--for: more than nothing and at most a week".to_owned());
        }
        let until_ns = observe.map(|time| now.after(time));
        let until = until_ns.map(|until_ns| now.wall_of(until_ns));
        let detail = until.map(|until| format!("until {until:.0}"));
        let verb = if observe.is_some() { "mode observe" } else { "mode enforce" };
        // To let strangers pass without a trace is worse than not to let them pass.
        let change = super::changes::audited(Some(caller.uid), verb, Vec::new(), detail, now);
        if let Err(error) = self.audit.append(change)
            && observe.is_some()
        {
            return Err(format!("nothing was changed: {error}"));
        }
        self.gate.observe(until_ns).map_err(|error| told(&error))?;
        self.observing = until_ns;
        self.admits_less();
        self.journal.write(Event::ModeChanged {
            mode: self.mode().0,
            until,
            uid: Some(caller.uid),
        });
        Ok(until)
    }

    /// Says that an earlier process of the gate left it observing: whoever heard that hears that it goes on.
    pub(super) fn tell_observing(&self, now: Moment) {
        if let Some(until_ns) = self.observing {
            let until = Some(now.wall_of(until_ns));
            self.journal.write(Event::ModeChanged { mode: "observe", until, uid: None });
        }
    }

    /// Returns the mode's name, and until when it observes.
    pub(super) fn mode(&self) -> (&'static str, Option<u64>) {
        let switched = self.gate.switched();
        match switched.mode {
            Mode::Open => ("open", None),
            Mode::Observe if switched.observe_until_ns > self.gate.now_ns() => {
                ("observe", Some(switched.observe_until_ns))
            }
            // Where the time to observe is over the kernel enforces already.
            Mode::Enforce | Mode::Observe => ("enforce", None),
        }
    }

    /// Enforces again in name too when the time to observe is over.
    pub(super) fn end_observing(&mut self, now: Moment) {
        if self.observing.is_some_and(|until_ns| until_ns <= now.boot_ns) {
            self.observing = None;
            if let Err(error) = self.gate.observe(None) {
                self.trouble(&told(&error));
            }
            // Whoever came in meanwhile and is not listed goes.
            self.admits_less();
            self.journal.write(Event::ModeChanged { mode: "enforce", until: None, uid: None });
        }
    }

    /// Takes the gate away: the one way to open the host on purpose.
    pub(super) fn detach(&mut self, caller: Caller, now: Moment) -> Result<(), String> {
        let change = super::changes::audited(Some(caller.uid), "detach", Vec::new(), None, now);
        self.audit.append(change).map_err(|error| format!("nothing was changed: {error}"))?;
        self.gate.detach().map_err(|error| told(&error))?;
        self.is_detached = true;
        self.health = self.gate.health();
        self.publish();
        self.journal.write(Event::Detached { uid: caller.uid });
        Ok(())
    }
}
