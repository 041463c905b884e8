//! The command line: arguments, one function a verb, tables or JSON.

pub mod args;
pub mod config;
pub mod gate;
pub mod print;
pub mod queue;
pub mod status;
pub mod tls;
pub mod user;
