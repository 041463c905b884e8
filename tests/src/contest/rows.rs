//! What is measured: one table of loads, each for every server.

use super::client::{Commands, Handshake};
use super::load::Work;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Nowhere: it is accepted and waits.
    Held,
    /// To a next hop that takes everything at once.
    Sink,
}

impl To {
    /// Returns the command that names the recipient.
    pub const fn rcpt(self) -> &'static str {
        match self {
            Self::Held => "RCPT TO:<customer@held.example>\r\n",
            Self::Sink => "RCPT TO:<customer@sink.example>\r\n",
        }
    }
}

/// One load.
pub struct Row {
    /// For people; it also is the load's name in the JSON.
    pub name: &'static str,
    /// Clients.
    pub at_once: usize,
    /// What each does.
    pub work: Work,
    /// Octets of a message.
    pub size: usize,
    /// Where messages go.
    pub to: To,
    /// How TLS begins.
    pub handshake: Handshake,
}

/// The row of the picture's percentiles, and of the flushes.
pub const ONE_SESSION: &str = "one session";
/// The row with enough clients to share flushes.
pub const PRODUCERS: &str = "64 reused connections";

/// All loads, in the order in which they run.
pub const ROWS: &[Row] = &[
    held("10 reused connections", 10, Work::Message(Commands::Pipelined), 4 << 10),
    held("the same, each command in turn", 10, Work::Message(Commands::InTurn), 4 << 10),
    held("a connection for each, 10 at a time", 10, Work::SessionWithMessage, 4 << 10),
    held("100 KiB, 10 reused connections", 10, Work::Message(Commands::Pipelined), 100 << 10),
    held(PRODUCERS, 64, Work::Message(Commands::Pipelined), 4 << 10),
    held(ONE_SESSION, 1, Work::Message(Commands::Pipelined), 4 << 10),
    held("one session, each command in turn", 1, Work::Message(Commands::InTurn), 4 << 10),
    Row {
        to: To::Sink,
        ..held("end to end, 10 reused connections", 10, Work::Message(Commands::Pipelined), 4 << 10)
    },
    held("sessions, full handshake, 50 at a time", 50, Work::Session, 0),
    Row {
        handshake: Handshake::Resumed,
        ..held("sessions, resumed, 50 at a time", 50, Work::Session, 0)
    },
];

const fn held(name: &'static str, at_once: usize, work: Work, size: usize) -> Row {
    Row { name, at_once, work, size, to: To::Held, handshake: Handshake::Full }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        for (place, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..place].iter().all(|other| other.name != row.name), "{}", row.name);
        }
        for name in [ONE_SESSION, PRODUCERS] {
            assert!(ROWS.iter().any(|row| row.name == name), "{name}");
        }
    }
}
