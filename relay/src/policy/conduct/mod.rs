//! What follows misconduct: who has to wait.

mod waits;

pub use waits::{FailedLogins, MustWait};
