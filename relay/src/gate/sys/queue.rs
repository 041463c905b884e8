//! Who waits in the queue of a listening socket (tcp(7), `TCP_INFO`).
#![expect(unsafe_code, reason = "a socket option that no safe crate offers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::libc;

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
    // SAFETY: a `tcp_info` of zeros is one: it is made of integers.
    let mut told: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size =
        libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `size` bytes, which is what a `tcp_info` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::from_mut(&mut told).cast(),
            std::ptr::from_mut(&mut size),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if told.tcpi_state != LISTEN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (waiting, most) = (told.tcpi_unacked, told.tcpi_sacked);
    Ok(Queue { waiting: waiting.into(), is_full: waiting > most })
}
