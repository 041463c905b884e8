//! Whether something keeps this host's clock, as the kernel has it (adjtimex(2)): whoever does so, be it
//! systemd-timesyncd, chrony or ntpd, tells it there.
#![expect(unsafe_code, reason = "a call that no safe crate offers")]

use nix::libc;

/// Tells whether something keeps the clock; none if the kernel does not say. It changes nothing: no mode is set.
#[must_use]
pub fn clock_is_kept() -> Option<bool> {
    // SAFETY: `timex` is made of integers only, of which every pattern of bits is one, so zeros are.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a whole `timex` that nobody else has; with `modes` of zero it is written alone.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    (state >= 0).then_some(asked.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whether_the_clock_is_kept() {
        assert!(clock_is_kept().is_some());
    }
}
