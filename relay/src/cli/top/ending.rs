//! What ends the live view besides its user: a signal, or a terminal that is gone. The terminal is as before when the
//! program is gone.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A terminal that goes away, signals by hand, and `kill`.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// How long the view may take to leave the terminal: one that takes no octets would keep the program for ever.
const GRACE: Duration = Duration::from_secs(1);

/// How long a signal may come after what it is about: a terminal that is gone fails at once, and the shell passes the
/// signal on.
const SOON: Duration = Duration::from_millis(500);

/// How often the terminal is asked whether it is there: not every one wakes who waits for that alone.
const ASKED: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// What shells add to a signal's number for the exit code of a program that it ended.
const ENDED: u8 = 128;

/// The exit code of the signal that came, or of SIGHUP for a terminal that is gone; 0 while neither is so.
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
            let Some(number) = first(&signals) else { return };
            let code = ENDED.saturating_add(u8::try_from(number).unwrap_or(u8::MAX));
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

/// Waits for a signal and returns its number. A terminal that is gone counts as SIGHUP, which nobody sends to whom the
/// terminal does not control; who reads keys then reads the end of them for ever, without a pause.
fn first(signals: &SignalFd) -> Option<u32> {
    let terminal = std::io::stdin();
    loop {
        let told = PollFd::new(signals, PollFlags::IN);
        let mut both = [told, PollFd::new(&terminal, PollFlags::empty())];
        match poll(&mut both, Some(&ASKED)) {
            Ok(_) | Err(Errno::INTR) => {}
            // Nobody could end it any more.
            Err(_) => return u32::try_from(Signal::SIGHUP as i32).ok(),
        }
        let [signal, terminal] = both.map(|asked| asked.revents());
        if !signal.is_empty() {
            return signals.read_signal().ok().flatten().map(|signal| signal.ssi_signo);
        }
        if !terminal.is_empty() {
            return u32::try_from(Signal::SIGHUP as i32).ok();
        }
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
