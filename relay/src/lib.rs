//! Sallyport: a mail relay behind a gate in the kernel.
//!
//! This file is the map and the law. The rooms stand in order: a room imports only rooms listed
//! before it, and the rooms above the line below are machines without I/O: no socket, file, clock
//! or random number reaches them but as an argument. `tests/tests/tidy.rs` enforces both.
//!
//! # Invariants
//!
//! 1. A 250 after a message is sent only after its commit returned an id.
//! 2. A message ends at `CRLF . CRLF`, or with the last octet of its last chunk (BDAT), and nowhere
//!    else; nothing before that end is a command.
//! 3. Bytes that came with or before STARTTLS are not used after it (RFC 3207, section 4.2).
//! 4. Every state has a deadline; every collection has a limit from `config`.
//! 5. No recipient is accepted that `policy::relaying` did not allow; there is one call site.
//! 6. The kernel decides nothing that `relay_common::verdict::judge` on the host would not decide.
//! 7. The process that reads mail from the network cannot write the allowlist, and holds no link.
//! 8. Pure rooms are deterministic: same inputs and `now`, same actions; but for the nonce of SCRAM,
//!    which rsasl draws.
//! 9. No intermediate state of a list change admits a stranger, and no frame is judged by two lists.
//!    Which networks are listed changes at one moment; the terms of one that stays (rate, tag, end)
//!    follow entry by entry.
//! 10. With the gate's program missing, the relay serves nobody unless the configuration says
//!     otherwise, and strangers get no SYN-ACK in any case: the second door was locked before the
//!     socket listened.

// The language of SMTP: addresses, lines, commands, replies, the end of a message.
pub mod smtp;
// What is moved: envelope, message id, header section, outcome, report.
pub mod mail;
// Everything the appliance can say about itself.
pub mod event;
// The configuration: read, checked whole, then immutable.
pub mod config;
// The only room that says *may*.
pub mod policy;
// Receiving mail, without sockets.
pub mod session;
// Sending mail, without sockets.
pub mod delivery;
// Counter samples in, spikes out.
pub mod watch;
// What is counted, and how Prometheus reads it.
pub mod meter;
// --- rooms below may touch the world: files, sockets, clocks, the kernel ---
// Hosts made of network namespaces, for the demo and for tests; and the relay's own one.
pub mod hosts;
// Files that are read whole, with a limit.
pub mod file;
// Sockets with an address of ours.
pub mod bound;
// One client of HTTP, generous in nothing.
pub mod http;
// Certificates by ACME: ordered, proved on port 80.
pub mod acme;
// The life of each message, kept for `trace`.
pub mod history;
// The same as spans, for a collector of OpenTelemetry.
pub mod traces;
// Events as log lines.
pub mod journal;
// The only owner of messages.
pub mod spool;
// The file of logins and stored keys.
pub mod users;
// The kernel filter: load, attach, pin, fill its tables.
pub mod gate;
// Sockets; each file is one loop.
pub mod net;
// What people are told: troubles, silences, channels.
pub mod alert;
// The local control sockets.
pub mod control;
// What is told over HTTP: health and metrics.
pub mod api;
// Builds the rooms into processes: gate, relay, run.
pub mod appliance;
// Why a client cannot connect, or mail does not leave: it asks every room above, and changes nothing.
pub mod doctor;
// The command line.
pub mod cli;
// Crafted frames at the real gate, in network namespaces.
#[cfg(feature = "xdp")]
pub mod selftest;
// The whole product at work in network namespaces.
pub mod demo;
