//! The command line: arguments, one function a verb, tables or JSON.

pub mod alert;
pub mod args;
pub mod config;
pub mod doctor;
pub mod explain;
pub mod gate;
pub mod init;
pub mod manual;
pub mod operate;
pub mod print;
pub mod queue;
pub mod reach;
pub mod route;
pub mod spool;
pub mod status;
pub mod tls;
#[cfg(feature = "tui")]
pub mod top;
pub mod trace;
pub mod user;
mod users;
