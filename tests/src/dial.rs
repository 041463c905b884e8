//! One connection attempt from one of a host's addresses, and what answers it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

/// What answers a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A connection, which is closed again.
    Connected,
    /// A reset: the host is there, the port is not open.
    Refused,
    /// Nothing within the time that was waited.
    Silence,
}

/// Tries to connect from `source` to `target`, both of one family, in the calling thread's network.
///
/// # Errors
///
/// What the system said, other than that nobody answers or that nobody listens.
pub fn dial(source: SocketAddr, target: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    bind(&socket, &source)?;
    match connect(&socket, &target) {
        Ok(()) => return Ok(Answer::Connected),
        Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut ready, Some(&patience))? == 0 {
        return Ok(Answer::Silence);
    }
    match sockopt::socket_error(&socket)? {
        Ok(()) => Ok(Answer::Connected),
        Err(Errno::CONNREFUSED) => Ok(Answer::Refused),
        Err(error) => Err(error.into()),
    }
}
