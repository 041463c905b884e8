//! The promises that the shared types are plain memory: a fixed size, no padding, every bit pattern valid.
//!
//! The assertions hold on both sides; aya's trait is implemented for the relay only (feature `host`).

use crate::bucket::Rate;
use crate::table::{
    Ban, BanKey, Counts, Entry, EntryCount, EntryId, Head, Part, Row, Sample, Sketch, Switch,
    TagName,
};

const _: () = {
    assert!(size_of::<EntryId>() == 4 && align_of::<EntryId>() == 4);
    assert!(size_of::<Switch>() == 64 + 48 + 8_192 && align_of::<Switch>() == 8);
    assert!(size_of::<Part>() == 48 && align_of::<Part>() == 8);
    assert!(size_of::<Head>() == 8 + 2 * 48 && align_of::<Head>() == 8);
    assert!(size_of::<Row>() == 64 && align_of::<Row>() == 8);
    assert!(size_of::<Entry>() == 72 && align_of::<Entry>() == 8);
    assert!(size_of::<EntryCount>() == 24 && align_of::<EntryCount>() == 8);
    assert!(size_of::<Rate>() == 16 && align_of::<Rate>() == 8);
    assert!(size_of::<BanKey>() == 24 && align_of::<BanKey>() == 4);
    assert!(size_of::<Ban>() == 8 && align_of::<Ban>() == 8);
    assert!(size_of::<Counts>() == 32 * 8 && align_of::<Counts>() == 8);
    assert!(size_of::<Sketch>() == 16 + 3 * 2 * 1024 * 4 && align_of::<Sketch>() == 8);
    // A CPU's value must fit into the kernel's smallest unit of per-CPU memory.
    assert!(size_of::<Sketch>() <= 32 << 10);
    assert!(size_of::<Sample>() == 8 + 16 + 8 + 4 + 4 + 64 && align_of::<Sample>() == 8);
    assert!(size_of::<TagName>() == 32 && align_of::<TagName>() == 1);
};

/// Promises aya that a type is plain memory.
#[cfg(feature = "host")]
macro_rules! pod {
    ($($name:ty),+ $(,)?) => {$(
        // SAFETY: the type is `repr(C)` or `repr(transparent)` over unsigned integers or bytes alone. Its
        // size, asserted above, is the sum of its fields', so it has no padding; every bit pattern is a value.
        unsafe impl aya::Pod for $name {}
    )+};
}

#[cfg(feature = "host")]
pod!(
    EntryId, Switch, Part, Head, Row, Entry, EntryCount, Rate, BanKey, Ban, Counts, Sketch, Sample,
    TagName,
);
