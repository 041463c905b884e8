//! Builds the rooms into processes, runs them, drains them, stops them.

pub mod folders;
pub mod gate;
pub mod privilege;
pub mod run;
