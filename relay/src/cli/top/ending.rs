//! Signals that end the live view: the terminal is as before when the program is gone.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A terminal that goes away, a signal by hand, and `kill`.
const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// How long the view may take to leave the terminal: one that takes no octets would keep the program for ever.
const GRACE: Duration = Duration::from_secs(1);

/// How long a signal may come after what it is about: a terminal that is gone fails at once, and the shell passes the
/// signal on.
const SOON: Duration = Duration::from_millis(500);

/// What shells add to a signal's number for the exit code of a program that it ended.
const ENDED: u8 = 128;

/// The exit code of the signal that came; 0 while none has.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<(Mutex<u8>, Condvar)>);

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
        let came = own.clone();
        let wait = move || {
            let Ok(Some(signal)) = signals.read_signal() else { return };
            let code = ENDED.saturating_add(u8::try_from(signal.ssi_signo).unwrap_or(u8::MAX));
            came.tell(code);
            thread::sleep(GRACE);
            std::process::exit(code.into());
        };
        thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(own)
    }

    fn tell(&self, code: u8) {
        let (told, changed) = &*self.0;
        *told.lock().unwrap_or_else(PoisonError::into_inner) = code;
        changed.notify_all();
    }

    /// Returns the exit code, if a signal came: 128 and its number.
    pub(super) fn came(&self) -> Option<u8> {
        let (told, _) = &*self.0;
        Some(*told.lock().unwrap_or_else(PoisonError::into_inner)).filter(|code| *code != 0)
    }

    /// Returns the exit code of the view, or why it failed. Where a signal came, or comes shortly, that is what it failed
    /// of: a terminal that goes away fails before its signal is looked at.
    ///
    /// # Errors
    ///
    /// As the view itself, if no signal came.
    pub(super) fn or(&self, ended: anyhow::Result<u8>) -> anyhow::Result<u8> {
        let error = match ended {
            Ok(code) => return Ok(code),
            Err(error) => error,
        };
        let (told, changed) = &*self.0;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, _) = changed
            .wait_timeout_while(told, SOON, |code| *code == 0)
            .unwrap_or_else(PoisonError::into_inner);
        if *told == 0 { Err(error) } else { Ok(*told) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_fails_as_it_goes_away_ends_the_view_by_the_signal() {
        let gone = || Err(std::io::Error::from_raw_os_error(nix::libc::EIO).into());
        let ending = Ending::default();
        assert_eq!(ending.or(Ok(0)).unwrap(), 0);
        assert!(ending.or(gone()).is_err(), "no signal came");
        let late = ending.clone();
        let signal = thread::spawn(move || late.tell(129));
        assert_eq!(ending.or(gone()).unwrap(), 129);
        signal.join().unwrap();
        assert_eq!(ending.or(Ok(129)).unwrap(), 129);
        assert_eq!(ending.came(), Some(129));
    }
}
