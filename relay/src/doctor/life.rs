//! Whether the gate's process runs, and answers.

use super::{Cause, Finding, Process};
use crate::control::wire::GateStatus;

/// Whether the process of the gate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Runs,
    Dead,
    /// It serves its socket, and answers nothing.
    Hangs,
    Unknown,
}

impl Life {
    pub(super) const fn of(gate: &Process<GateStatus>) -> Self {
        match gate {
            Process::Says(_) => Self::Runs,
            Process::Dead => Self::Dead,
            Process::Silent(_) => Self::Hangs,
            Process::Unasked(_) => Self::Unknown,
        }
    }

    /// Returns what is wrong with the process.
    pub(super) fn finding(self) -> Option<Finding> {
        match self {
            Self::Runs | Self::Unknown => None,
            Self::Dead => Some(Finding::new(
                Cause::GateNotRunning,
                "the gate's process does not run. What of it stands in the kernel goes on judging by the lists as they are; \
                 but lists cannot be changed, nobody watches for spikes, and a relay that starts gets its sockets when \
                 the gate is back",
                "systemctl start sallyport-gate, or sallyport run; journalctl -u sallyport-gate says why it ended",
            )),
            Self::Hangs => Some(Finding::new(
                Cause::GateHangs,
                "the gate's process hangs: it takes questions and answers none. What stands in the kernel goes on \
                 judging; nobody watches for spikes, and lists cannot be changed",
                "ps -C sallyport -o pid,stat,wchan:20,args shows it: with T in STAT it was stopped, and kill -CONT PID lets \
                 it go on; else systemctl restart sallyport-gate, or kill -9 PID under sallyport run, which starts it anew",
            )),
        }
    }
}
