//! Asks the kernel about interfaces by rtnetlink(7): one question, one answer. And listens to what changes.
//!
//! A link can say which program it holds, but not that another stands on the interface, nor how it is
//! attached; rtnetlink says both (`IFLA_XDP`).

mod lists;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use super::XdpMode;

pub use lists::{Link, Own, addresses, links};

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// The upper two bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;
/// Kinds of hardware whose frames begin with a header of Ethernet.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// Flags of an interface: it is switched on; it is, and there is a carrier.
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 1 << 6;
/// `nlmsghdr` and `ifinfomsg`, in bytes each.
const HEADER: usize = 16;
/// The longest name of an interface, in bytes (`IFNAMSIZ` without its zero).
const NAME_MAX: usize = 15;

/// An interface as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What the kernel calls its kind, for instance `veth`, `vlan`, `wireguard`, `ipip`; none for hardware.
    pub kind: Option<String>,
    /// Whether its frames begin with a header of Ethernet: those of tunnels and the like do not.
    pub ethernet: bool,
    /// Whether it is up and can carry frames.
    pub carries: Carries,
    /// The XDP program on it and how it is attached; none if there is none. `None` as the mode stands for
    /// ways that the gate never uses.
    pub program: Option<(u32, Option<XdpMode>)>,
}

/// Whether frames come and go by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// They do.
    Frames,
    /// It is switched off.
    Off,
    /// It is on, and nothing is at the other end.
    NoCarrier,
}

/// Returns the interface called `name` in this network namespace; `None` if there is none.
///
/// # Errors
///
/// What the kernel said.
pub fn interface(name: &str) -> io::Result<Option<Interface>> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
        return Ok(None);
    }
    ask(&question(0, name))
}

/// Returns the interface with this index in this network namespace; `None` if there is none.
///
/// # Errors
///
/// What the kernel said.
pub fn by_index(index: u32) -> io::Result<Option<Interface>> {
    if index == 0 { Ok(None) } else { ask(&question(index, "")) }
}

fn ask(question: &[u8]) -> io::Result<Option<Interface>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0u8; 64 * 1024];
    let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
    let answer = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
    read_answer(answer)
}

/// Listens to changes of interfaces in this network namespace.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
}

/// The group of interfaces that come, go and change (`RTMGRP_LINK`).
const LINK_GROUP: u32 = 1;

impl Changes {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn open() -> io::Result<Self> {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, LINK_GROUP))?;
        Ok(Self { socket })
    }

    /// Waits for the next change. What it was must be asked; several may be told as one.
    ///
    /// # Errors
    ///
    /// What the kernel said. More changes than fit are one change and no error.
    pub fn wait(&self) -> io::Result<()> {
        let mut buffer = vec![0u8; 64 * 1024];
        match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes the question: a header, an `ifinfomsg` with the index, the name if one is given.
fn question(index: u32, name: &str) -> Vec<u8> {
    let attribute = if name.is_empty() { 0 } else { 4 + name.len() + 1 };
    let total = 2 * HEADER + attribute.next_multiple_of(4);
    let length =
        |bytes: usize| u32::try_from(bytes).expect("invariant: a name has at most 15 bytes");
    let mut message = Vec::with_capacity(total);
    message.extend(length(total).to_ne_bytes());
    message.extend(RTM_GETLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8 + 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    if attribute > 0 {
        message.extend((length(attribute) as u16).to_ne_bytes());
        message.extend(IFLA_IFNAME.to_ne_bytes());
        message.extend(name.as_bytes());
    }
    message.resize(total, 0);
    message
}

fn read_answer(answer: &[u8]) -> io::Result<Option<Interface>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = number::<2>(answer, 4).map(u16::from_ne_bytes).ok_or_else(malformed)?;
    match kind {
        NLMSG_ERROR => {
            let code = number::<4>(answer, HEADER).map(i32::from_ne_bytes).ok_or_else(malformed)?;
            let error = io::Error::from_raw_os_error(code.wrapping_neg());
            if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) {
                Ok(None)
            } else {
                Err(error)
            }
        }
        RTM_NEWLINK => {
            let index =
                number::<4>(answer, HEADER + 4).map(u32::from_ne_bytes).ok_or_else(malformed)?;
            let attributes = answer.get(2 * HEADER..).ok_or_else(malformed)?;
            let xdp = attribute(attributes, IFLA_XDP).unwrap_or_default();
            let id = attribute(xdp, IFLA_XDP_PROG_ID).and_then(|id| number::<4>(id, 0));
            let mode = match attribute(xdp, IFLA_XDP_ATTACHED) {
                Some([1, ..]) => Some(XdpMode::Native),
                Some([2, ..]) => Some(XdpMode::Generic),
                _ => None,
            };
            let program = id.map(u32::from_ne_bytes).filter(|id| *id != 0).map(|id| (id, mode));
            let name = attribute(attributes, IFLA_IFNAME).map(text).unwrap_or_default();
            let about = attribute(attributes, IFLA_LINKINFO);
            let kind = about.and_then(|about| attribute(about, IFLA_INFO_KIND)).map(text);
            let hardware =
                number::<2>(answer, HEADER + 2).map(u16::from_ne_bytes).ok_or_else(malformed)?;
            let ethernet = matches!(hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK);
            let flags =
                number::<4>(answer, HEADER + 8).map(u32::from_ne_bytes).ok_or_else(malformed)?;
            let carries = match (flags & IFF_UP != 0, flags & IFF_RUNNING != 0) {
                (false, _) => Carries::Off,
                (true, false) => Carries::NoCarrier,
                (true, true) => Carries::Frames,
            };
            Ok(Some(Interface { index, name, kind, ethernet, carries, program }))
        }
        _ => Err(malformed()),
    }
}

/// Returns a text that may end with a zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Returns the value of the first attribute of type `wanted`.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(number(attributes, 0)?));
        let kind = u16::from_ne_bytes(number(attributes, 2)?);
        let value = attributes.get(4..length)?;
        if kind & TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_and_a_name_that_nobody_has_is_not() {
        let loopback = interface("lo").unwrap().unwrap();
        assert_eq!((loopback.index, loopback.name.as_str(), loopback.program), (1, "lo", None));
        assert_eq!(by_index(1).unwrap().unwrap(), interface("lo").unwrap().unwrap());
        assert_eq!(by_index(0).unwrap(), None);
        assert_eq!(by_index(u32::MAX / 2).unwrap(), None);
        for name in ["no-such-device", "", "a-name-that-is-far-too-long", "lo\0x"] {
            assert_eq!(interface(name).unwrap(), None, "{name:?}");
        }
    }

    #[test]
    fn broken_answers_are_errors_or_end() {
        let mut answer = vec![0u8; 2 * HEADER];
        answer[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        answer[HEADER + 4] = 7;
        let bare = Interface {
            index: 7,
            name: String::new(),
            kind: None,
            ethernet: false,
            carries: Carries::Off,
            program: None,
        };
        assert_eq!(read_answer(&answer).unwrap(), Some(bare.clone()));
        for cut in 0..2 * HEADER {
            assert!(read_answer(&answer[..cut]).is_err(), "{cut}");
        }
        for (flags, carries) in [
            (IFF_UP, Carries::NoCarrier),
            (IFF_RUNNING, Carries::Off),
            (IFF_UP | IFF_RUNNING, Carries::Frames),
        ] {
            let mut answer = answer.clone();
            answer[HEADER + 8..HEADER + 12].copy_from_slice(&flags.to_ne_bytes());
            assert_eq!(read_answer(&answer).unwrap().unwrap().carries, carries, "{flags}");
        }
        // An attribute of length zero must not be walked over for ever.
        answer.extend([0, 0, 1, 0]);
        assert_eq!(read_answer(&answer).unwrap(), Some(bare));
    }
}
