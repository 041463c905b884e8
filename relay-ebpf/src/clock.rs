//! The kernel's clock.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

/// Returns the boot clock in nanoseconds: it goes on during suspend, and no step of the wall clock moves
/// it, so a ban ends when it should.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing, returns a number and may be called from any program.
    unsafe { bpf_ktime_get_boot_ns() }
}
