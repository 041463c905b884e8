//! The only room that says *may*: who may send as whom, to whom, how much, and who has to wait.
//!
//! It answers in values; sessions and drivers obey.

pub mod conduct;
pub mod credential;
pub mod permit;
pub mod rate;
pub mod relaying;
pub mod retry;

#[cfg(test)]
mod samples;
