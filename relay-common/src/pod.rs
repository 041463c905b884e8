//! The promises that the shared types are plain memory: a fixed size, no padding, every bit pattern valid.
//!
//! The assertions hold on both sides; aya's trait is implemented for the relay only (feature `host`).

use crate::bucket::Rate;
use crate::table::{Ban, EntryCount, EntryId, Limit, Settings, TagName};

const _: () = {
    assert!(size_of::<EntryId>() == 4 && align_of::<EntryId>() == 4);
    assert!(size_of::<Settings>() == 8 && align_of::<Settings>() == 8);
    assert!(size_of::<Rate>() == 16 && align_of::<Rate>() == 8);
    assert!(size_of::<Ban>() == 16 && align_of::<Ban>() == 8);
    assert!(size_of::<Limit>() == 24 && align_of::<Limit>() == 8);
    assert!(size_of::<EntryCount>() == 24 && align_of::<EntryCount>() == 8);
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
pod!(EntryId, Settings, Rate, Ban, Limit, EntryCount, TagName);
