//! One listening socket: how it is made, and how it is known.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::io::Errno;
use rustix::net::sockopt;

use super::ListenError;
use crate::bound::{NOT_HERE, bound};
use crate::gate::Door;

/// Connections that wait until the relay takes them.
const BACKLOG: i32 = 4096;

/// A socket is ours if the kernel says so (the cookie is the kernel's and unique in a boot), if it
/// listens, and if it does so where it should.
pub(super) fn is_ours(socket: BorrowedFd<'_>, cookie: u64, address: SocketAddr) -> bool {
    let right_place = local(socket).is_some_and(|local| {
        local == address || (address.port() == 0 && local.ip() == address.ip())
    });
    right_place
        && sockopt::socket_cookie(socket) == Ok(cookie)
        && sockopt::socket_acceptconn(socket) == Ok(true)
}

/// Returns the number of the network namespace that the calling thread is in; none while it cannot be told.
pub(super) fn this_network() -> Option<u64> {
    fs::metadata("/proc/thread-self/ns/net").ok().map(|space| space.ino())
}

pub(super) fn local(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()
}

/// Makes a listening socket. The door is put on it between `bind` and `listen`: a socket that listens first
/// admits whoever is quick.
pub(super) fn listen(address: SocketAddr, door: Option<&Door>) -> Result<OwnedFd, Errno> {
    let socket = bound(address)?;
    if let Some(door) = door {
        let hung = door.hang(&socket);
        hung.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Lets a socket of ours listen again, with its whole backlog. The relay holds it too and may have ended its
/// listening, or shortened its backlog; the door cannot be taken off it.
pub(super) fn listen_again(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::net::listen(socket, BACKLOG)
}

/// Returns the name under which the service manager keeps a socket with this cookie.
pub(super) fn name(cookie: u64) -> String {
    format!("listener-{cookie:x}")
}

pub(super) fn refused(address: SocketAddr, error: Errno) -> ListenError {
    let port = address.port();
    let problem = match error {
        Errno::ADDRINUSE => {
            format!(
                "another program listens there, or a Sallyport of before; see `ss -ltnp sport = :{port}`"
            )
        }
        Errno::ADDRNOTAVAIL => format!("{NOT_HERE}; see `ip address`"),
        Errno::ACCESS => format!("not permitted: port {port} needs root"),
        other => other.to_string(),
    };
    ListenError { address, problem }
}
