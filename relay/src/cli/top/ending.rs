//! Signals that end the live view: the terminal is as before when the program is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A terminal that goes away, a signal by hand, and `kill`.
const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// How long the view may take to leave the terminal: one that takes no octets would keep the program for ever.
const GRACE: Duration = Duration::from_secs(1);

/// What shells add to a signal's number for the exit code of a program that it ended.
const ENDED: u8 = 128;

/// The exit code of the signal that came; 0 while none has.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<AtomicU8>);

impl Ending {
    /// Takes such signals from now on. Threads must start after this: else one of theirs ends the program as ever.
    ///
    /// # Errors
    ///
    /// If the kernel has no descriptor or thread left.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let what = "signals cannot be taken";
        let ending: SigSet = ENDING.into_iter().collect();
        let signals = SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC).context(what)?;
        ending.thread_block().context(what)?;
        let own = Self::default();
        let came = Arc::clone(&own.0);
        let wait = move || {
            let Ok(Some(signal)) = signals.read_signal() else { return };
            let code = ENDED.saturating_add(u8::try_from(signal.ssi_signo).unwrap_or(u8::MAX));
            came.store(code, Ordering::Relaxed);
            thread::sleep(GRACE);
            std::process::exit(code.into());
        };
        thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(own)
    }

    /// Returns the exit code, if a signal came: 128 and its number.
    pub(super) fn came(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}
