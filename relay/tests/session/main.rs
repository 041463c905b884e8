//! The session as a whole, without sockets: dialogues as files, and claims about every input.

mod claims;
mod desk;
mod dialogues;
