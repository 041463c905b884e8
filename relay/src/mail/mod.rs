//! What is moved: the envelope, how it came and which trace it belongs to, the message's id and header
//! section, its signatures, what became of it, and the reports about it.
//!
//! Not here: who may send what (`policy`), and where messages are kept (`spool`).

pub mod came;
pub mod context;
pub mod convert;
pub mod dkim;
pub mod envelope;
pub mod fingerprint;
pub mod header;
pub mod message;
pub mod outcome;
pub mod report;
