//! How a guarded interface stands, as the gate says it.

use serde::{Deserialize, Serialize};

/// How an interface stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native`, `generic`, or `missing`.
    pub mode: String,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
    /// `down`, `no carrier` or `no address`: no client comes by it; none: they can, or nobody
    /// knows.
    pub down: Option<String>,
    /// Whether nobody knows if clients can come by it: it is not there, or the kernel does not tell.
    #[serde(default)]
    pub unknown: bool,
}
