//! One listening socket: how it is made, and how it is known.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::ListenError;
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

/// Tells whether nobody can listen on one of the addresses while somebody listens on the other, as [`bound`] makes
/// sockets: `[::]` takes IPv4, too.
pub(super) fn is_in_the_way(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(wide) if wide.is_unspecified() => true,
        IpAddr::V4(wide) if wide.is_unspecified() => narrow.is_ipv4(),
        IpAddr::V4(_) | IpAddr::V6(_) => wide == narrow,
    };
    one.port() == other.port() && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
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

/// Makes a socket with an address, which does not listen yet.
pub(super) fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of an earlier socket that have not timed out yet must not hold the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 clients too, whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

pub(super) fn refused(address: SocketAddr, error: Errno) -> ListenError {
    let port = address.port();
    let problem = match error {
        Errno::ADDRINUSE => {
            format!(
                "another program listens there, or a Sallyport of before; see `ss -ltnp sport = :{port}`"
            )
        }
        Errno::ADDRNOTAVAIL => "no interface has this address; see `ip address`".to_owned(),
        Errno::ACCESS => format!("not permitted: port {port} needs root"),
        other => other.to_string(),
    };
    ListenError { address, problem }
}
