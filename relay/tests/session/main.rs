//! The session as a whole, without sockets: dialogues as files, and claims about every input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod claims;
mod conduct;
mod desk;
mod dialogues;
mod repeats;
mod stages;
