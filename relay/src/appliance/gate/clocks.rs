//! Between the wall clock, in which people think, and the boot clock, which the kernel obeys.

use std::time::Duration;

use jiff::Timestamp;

/// Returns a time of the wall clock on the boot clock.
pub(super) fn boot_time(until: Timestamp, now_ns: u64, now: Timestamp) -> u64 {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    now_ns.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns a time of the boot clock on the wall clock.
pub(super) fn wall_time(at_ns: u64, now_ns: u64, now: Timestamp) -> Timestamp {
    let (later, earlier) = (at_ns.saturating_sub(now_ns), now_ns.saturating_sub(at_ns));
    let moved = now
        .checked_add(Duration::from_nanos(later))
        .and_then(|time| time.checked_sub(Duration::from_nanos(earlier)));
    moved.unwrap_or(Timestamp::MAX)
}
