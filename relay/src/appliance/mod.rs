//! Builds the rooms into processes, runs them, drains them, stops them.

mod bans;
mod delivering;
mod desk;
pub mod folders;
pub mod gate;
mod guard;
mod inherited;
mod lasting;
pub mod load;
mod mailroom;
mod notify;
pub mod opening;
pub mod privilege;
pub mod programs;
pub mod relay;
pub mod run;
pub mod sandbox;
mod status_page;
mod web;
