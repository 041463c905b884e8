//! What is moved: the envelope, the message's id and header section, what became of it.
//!
//! Not here: who may send what (`policy`), and where messages are kept (`spool`).

pub mod bounce;
pub mod envelope;
pub mod fingerprint;
pub mod header;
pub mod message;
pub mod outcome;
