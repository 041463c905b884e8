//! Signals that would end the program in the middle of a set-up: they wait until it is whole or undone.

use anyhow::{Context as _, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Ctrl-C, a terminal that goes away, and `kill`.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGHUP, Signal::SIGTERM];

/// Holds back what would end this process, as long as it lives. Children get none of it: they are ended as ever.
#[derive(Debug)]
pub(super) struct Held {
    former: SigSet,
    waiting: SignalFd,
}

impl Held {
    /// Begins to hold.
    ///
    /// # Errors
    ///
    /// If the kernel has no descriptor left.
    pub(super) fn hold() -> anyhow::Result<Self> {
        let what = "signals cannot be held back";
        let ending: SigSet = ENDING.into_iter().collect();
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let waiting = SignalFd::with_flags(&ending, flags).context(what)?;
        let former = SigSet::thread_get_mask().context(what)?;
        ending.thread_block().context(what)?;
        Ok(Self { former, waiting })
    }

    /// Goes on unless one came.
    ///
    /// # Errors
    ///
    /// If one came: it is taken, and what was done is to be undone.
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        if self.waiting.read_signal().context("signals cannot be read")?.is_some() {
            bail!("interrupted");
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It was the mask of this thread before.
        let _ = self.former.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_set_up_waits_and_is_told() {
        let held = Held::hold().unwrap();
        held.go_on().unwrap();
        for signal in ENDING {
            // To this thread: other tests run beside it.
            nix::sys::signal::raise(signal).unwrap();
            let told = held.go_on().unwrap_err().to_string();
            assert_eq!(told, "interrupted", "{signal}");
            held.go_on().unwrap();
        }
    }
}
