//! The local control sockets: one JSON object a line, a question and its answer.
//!
//! A socket knows its caller (SO_PEERCRED, unix(7)) and tells the process what he may do; deciding
//! is the process's business.

pub mod attach;
pub mod caller;
pub mod client;
pub mod health;
mod lobby;
pub mod passing;
mod pulse;
pub mod server;
pub mod wire;
