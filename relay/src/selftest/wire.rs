//! The end of the wire that crafted frames are sent from, and what comes back.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use super::craft::{ACK, IPV4, IPV6, RST, SYN, TCP};

/// What came back to a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Nothing.
    #[default]
    Silence,
    /// A reset: the host shows that it is there.
    Reset,
    /// A SYN-ACK: the listener answers.
    SynAck,
}

/// A socket that sends and hears whole frames on an interface (packet(7)).
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Opens a socket on the interface called `name` of the calling thread's network.
    ///
    /// # Errors
    ///
    /// What the system said; `NotFound` if there is no such interface.
    pub fn open(name: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = Some(SockProtocol::EthAll);
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &link(name)?)?;
        Ok(Self { socket })
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // A full queue empties itself.
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Err(nix::Error::ENOBUFS | nix::Error::EAGAIN) => std::thread::yield_now(),
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// Listens until there was an answer for every port in `wanted`; returns what came back to which port,
    /// the plainest answer of several.
    ///
    /// # Errors
    ///
    /// `TimedOut` if that takes longer than `patience`, else what the system said.
    pub fn listen(&self, wanted: &[u16], patience: Duration) -> io::Result<BTreeMap<u16, Heard>> {
        let mut heard = BTreeMap::new();
        let deadline = Instant::now() + patience;
        while !wanted.iter().all(|port| heard.contains_key(port)) {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if let Some((port, answer)) = self.hear(deadline)? {
                let known: &mut Heard = heard.entry(port).or_default();
                *known = (*known).max(answer);
            }
        }
        Ok(heard)
    }

    /// Waits for a frame; returns to which port it answers, and how, if it does. None if none came by then, too.
    ///
    /// # Errors
    ///
    /// What the system said, for instance that the interface is gone.
    pub fn hear(&self, deadline: Instant) -> io::Result<Option<(u16, Heard)>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left))? == 0 {
            return Ok(None);
        }
        let mut frame = [0_u8; 2048];
        let (_, length) =
            rustix::net::recv(&self.socket, frame.as_mut_slice(), RecvFlags::empty())?;
        Ok(frame.get(..length).and_then(answer))
    }
}

/// Returns the hardware address of an interface of the calling thread's network.
///
/// # Errors
///
/// What the system said; `NotFound` if there is no such interface.
pub fn hardware(name: &str) -> io::Result<[u8; 6]> {
    link(name)?.addr().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn link(name: &str) -> io::Result<LinkAddr> {
    let mut addresses = getifaddrs()?.filter(|found| found.interface_name == name);
    let link = addresses.find_map(|found| found.address?.as_link_addr().copied());
    link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")))
}

/// Returns to which port a frame answers, and how, if it is a segment that answers.
fn answer(frame: &[u8]) -> Option<(u16, Heard)> {
    let kind = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let packet = frame.get(14..)?;
    let segment = match kind {
        IPV4 if *packet.get(9)? == TCP => packet.get(usize::from(*packet.first()? & 0x0f) * 4..)?,
        IPV6 if *packet.get(6)? == TCP => packet.get(40..)?,
        _ => return None,
    };
    let port = u16::from_be_bytes(*segment.get(2..)?.first_chunk()?);
    let flags = *segment.get(13)?;
    if flags & (SYN | ACK) == SYN | ACK {
        Some((port, Heard::SynAck))
    } else if flags & RST != 0 {
        Some((port, Heard::Reset))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::craft::{Ends, PLAIN, Segment, V4, V6};
    use super::*;

    #[test]
    fn answers_are_known_by_their_flags_and_port() {
        let ends = Ends {
            hardware: [[2; 6], [4; 6]],
            source: (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            target: (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            source_port: 2525,
            port: 20_001,
        };
        let of = |flags| {
            let segment = Segment { flags, ..PLAIN };
            let v4 = V4 { options: &[1; 4], ..V4 }.frame(&ends, &segment.over_v4(&ends));
            [answer(&v4), answer(&V6.frame(&ends, &segment.over_v6(&ends)))]
        };
        assert_eq!(of(SYN | ACK), [Some((20_001, Heard::SynAck)); 2]);
        assert_eq!(of(RST | ACK), [Some((20_001, Heard::Reset)); 2]);
        assert_eq!(of(SYN), [None; 2]);
        let whole = V4.frame(&ends, &PLAIN.over_v4(&ends));
        for cut in 0..whole.len() {
            let _ = answer(&whole[..cut]);
        }
    }
}
