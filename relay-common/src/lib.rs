//! What the kernel program and the relay must agree on: addresses, rates, the reading of a frame,
//! the verdict over it, and the shape of every shared table.
//!
//! The same code runs in the kernel and in tests on the host, so that each rule is written once. It
//! has no dependency and allocates nothing. It multiplies no two 64-bit numbers into 128 bits and uses
//! no `saturating_mul` or `checked_mul` on `u64` where the kernel calls it: BPF has no such product.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]

// One 16-byte key for both IP families, and networks of them.
pub mod addr;
// Rates and token buckets.
pub mod bucket;
// Reading a frame down to its TCP header.
pub mod frame;
// Whether a source is listed, and by which entry.
pub mod lookup;
// aya's promises about the shared types, and the size assertions behind them.
#[cfg_attr(feature = "host", allow(unsafe_code, reason = "aya's Pod is an unsafe trait"))]
pub mod pod;
// The gate's state in one word.
pub mod state;
// Every table that the kernel and the relay share.
pub mod table;
// The order of the rules.
pub mod verdict;
