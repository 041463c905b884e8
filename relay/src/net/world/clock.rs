//! The time of the world: that of a runtime whose clock is paused, which jumps to whatever is due
//! next when nobody has anything to do.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// When every world begins, seconds since 1970: later than any clock of a machine that tests.
const START: i64 = 4_000_000_000;

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Begins the time of a world on this thread.
pub(super) fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// Returns the wall clock, UTC.
pub(super) fn now() -> Timestamp {
    let began = BEGAN.get().expect("the world has begun");
    let passed = SignedDuration::try_from(began.elapsed()).unwrap();
    Timestamp::from_second(START).unwrap() + passed
}

/// Returns the time as the machines take it.
pub(super) fn instant() -> std::time::Instant {
    Instant::now().into_std()
}
