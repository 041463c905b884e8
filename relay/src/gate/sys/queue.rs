//! Who waits in the queue of a listening socket (tcp(7), `TCP_INFO`).

use std::io;
use std::os::fd::AsFd;

use nix::libc;

use super::option::option;
use crate::gate::Queue;

/// The state of a listening socket (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTEN: u8 = 10;

/// Returns how many connections wait in the queue of a listening socket until somebody accepts them. For such a
/// socket the kernel tells that and the queue's length in place of segments (`tcp_get_info`, net/ipv4/tcp.c).
///
/// # Errors
///
/// What the kernel said; [`io::ErrorKind::InvalidInput`] for a socket that does not listen.
pub fn queue(socket: impl AsFd) -> io::Result<Queue> {
    let told: libc::tcp_info = option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    if told.tcpi_state != LISTEN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (waiting, most) = (told.tcpi_unacked, told.tcpi_sacked);
    Ok(Queue { waiting: waiting.into(), is_full: waiting > most })
}
