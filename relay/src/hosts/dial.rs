//! Connection attempts from one of a host's addresses, and what answers them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

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
pub fn dial(source: IpAddr, target: SocketAddr, patience: Duration) -> io::Result<Answer> {
    match connect(source, target, patience) {
        Ok(_) => Ok(Answer::Connected),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(Answer::Silence),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Answer::Refused),
        Err(error) => Err(error),
    }
}

/// Connects from `source` to `target` as [`dial`] does, and keeps the connection.
///
/// # Errors
///
/// `TimedOut` if nothing answers within `patience`, `ConnectionRefused` after a reset, else what
/// the system said.
pub fn connect(source: IpAddr, target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = begin(source, target)?;
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut ready, Some(&patience))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    sockopt::socket_error(&socket)??;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Sends a SYN from `source` to `target` and forgets it.
///
/// # Errors
///
/// What the system said.
pub fn send_syn(source: IpAddr, target: SocketAddr) -> io::Result<()> {
    begin(source, target).map(drop)
}

/// Makes a socket with a connection attempt under way.
fn begin(source: IpAddr, target: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
