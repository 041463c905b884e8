//! Sockets of TCP with an address of ours, and which addresses exclude one another.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Makes a socket with an address, which does not listen yet.
///
/// # Errors
///
/// What the operating system says: `EADDRINUSE` if somebody has the address, `EADDRNOTAVAIL` if no interface has it,
/// `EACCES` for a port that takes root.
pub fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
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

/// What is said of an address of this host's that it does not have.
pub const NOT_HERE: &str = "no interface has this address";

/// Tells whether this host takes connections to an address: an interface has it, or it is bound all the same by what the
/// operator set up (`ip_nonlocal_bind`, a route of the type `local`). What cannot be found out is taken for yes.
#[must_use]
pub fn has_address(mut address: SocketAddr) -> bool {
    // Any port of UDP: those of TCP that a sandbox permits are few.
    address.set_port(0);
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC;
    let bound = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))
        .and_then(|socket| rustix::net::bind(&socket, &address));
    bound != Err(Errno::ADDRNOTAVAIL)
}

/// Tells whether nobody can listen on one of the addresses while somebody listens on the other, as [`bound`] makes
/// sockets: `[::]` takes IPv4, too.
#[must_use]
pub fn is_in_the_way(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(wide) if wide.is_unspecified() => true,
        IpAddr::V4(wide) if wide.is_unspecified() => narrow.is_ipv4(),
        IpAddr::V4(_) | IpAddr::V6(_) => wide == narrow,
    };
    one.port() == other.port() && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_loopback_and_no_address_of_a_documentation() {
        for (address, has) in [
            ("127.0.0.1:2525", true),
            ("127.9.9.9:1", true),
            ("0.0.0.0:2525", true),
            ("192.0.2.254:2525", false),
        ] {
            assert_eq!(has_address(address.parse().unwrap()), has, "{address}");
        }
    }
}
