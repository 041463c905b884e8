//! What the appliance tells over HTTP: whether it serves, and what it counts.
//!
//! Everything here is for reading. The server answers on an address that the configuration names, to few
//! callers at a time, and each connection has deadlines.

/// Whether the appliance lives, serves, and is well.
pub mod health;
/// What is counted.
pub mod metrics;
/// The status page in a browser.
pub mod page;
/// The server.
pub mod server;
