//! Ending processes by their number.

use std::io;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Sends a signal to one process.
///
/// # Errors
///
/// `ESRCH` if there is none, or for 0, which is no process's number.
pub fn signal(process: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or(rustix::io::Errno::SRCH)?, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_means_more_than_one_process() {
        for number in [0, u32::MAX, i32::MAX.cast_unsigned() + 1] {
            let refused = signal(number, Signal::WINCH).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::SRCH.raw_os_error()));
        }
    }
}
