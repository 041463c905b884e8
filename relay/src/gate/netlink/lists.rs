//! What the kernel lists: every interface and every address of this network namespace (rtnetlink(7)).

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};

use super::{
    ARPHRD_ETHER, ARPHRD_LOOPBACK, HEADER, IFF_RUNNING, IFF_UP, IFLA_INFO_KIND, IFLA_LINKINFO,
    NLM_F_REQUEST, NLMSG_ERROR, RTM_GETLINK, RTM_NEWLINK, attribute, number, text,
};

const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_DUMP: u16 = 0x300;
/// A flag of an answer: what is listed changed meanwhile, so that something may be missing or be there twice.
const NLM_F_DUMP_INTR: u16 = 0x10;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
/// Asks for no counters of interfaces, which are half of the answer.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_LOOPBACK: u32 = 1 << 3;
/// A flag of an address: another host has it too, so that it is not used (RFC 4862, section 5.4).
const IFA_F_DADFAILED: u8 = 1 << 3;
/// `ifaddrmsg`, in bytes.
const ADDRESS: usize = 8;
/// The most interfaces, and the most addresses, that are looked at.
const LISTED_MAX: usize = 1 << 16;

/// An interface among all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// The index of the bridge, bond or domain of routing that it is a port of.
    pub master: Option<u32>,
    /// The index of the interface of this network that it stands over, as a VLAN does.
    pub below: Option<u32>,
    /// Whether its frames begin with a header of Ethernet.
    pub ethernet: bool,
    /// Whether it only holds addresses of the host, as loopback and `dummy` do: no frame comes by it.
    pub holds_only: bool,
    /// Whether it is on and has a carrier.
    pub carries: bool,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The index of the interface that has it.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
}

/// Returns every interface.
///
/// # Errors
///
/// What the kernel said; `Interrupted` if they changed meanwhile, `EOVERFLOW` if there are more than 65,536.
pub fn links() -> io::Result<Vec<Link>> {
    let mut mask = Vec::with_capacity(8);
    mask.extend(8u16.to_ne_bytes());
    mask.extend(IFLA_EXT_MASK.to_ne_bytes());
    mask.extend(RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    list([RTM_GETLINK, RTM_NEWLINK], &mask, link)
}

/// Returns every address, but for those that another host has too.
///
/// # Errors
///
/// As [`links`].
pub fn addresses() -> io::Result<Vec<Own>> {
    list([RTM_GETADDR, RTM_NEWADDR], &[], own)
}

/// Whether more of an answer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Follows,
    None,
}

/// Asks for a list by one type of message, with these attributes, and reads each message of the other type; what `read`
/// makes nothing of is left out.
fn list<T>(
    [asked, answered]: [u16; 2],
    attributes: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let length = 2 * HEADER + attributes.len();
    let mut question = Vec::with_capacity(length);
    question.extend((length as u32).to_ne_bytes());
    question.extend(asked.to_ne_bytes());
    question.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Of any family, and of any interface.
    question.resize(2 * HEADER, 0);
    question.extend(attributes);
    sendto(&socket, &question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0u8; 64 * 1024];
    let mut listed = Vec::new();
    loop {
        let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
        let part = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
        match take(part, answered, &read, &mut listed)? {
            Rest::Follows => {}
            Rest::None => return Ok(listed),
        }
    }
}

/// Reads a part of an answer, which holds at least one message. What is not whole is an error: it would be taken for all
/// that there is.
fn take<T>(
    mut part: &[u8],
    wanted: u16,
    read: impl Fn(&[u8]) -> Option<T>,
    listed: &mut Vec<T>,
) -> io::Result<Rest> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let code = |message: &[u8]| number::<4>(message, HEADER).map(i32::from_ne_bytes);
    if part.is_empty() {
        return Err(malformed());
    }
    while !part.is_empty() {
        let size = number::<4>(part, 0).map(u32::from_ne_bytes).ok_or_else(malformed)? as usize;
        let message = part.get(..size).filter(|message| message.len() >= HEADER);
        let message = message.ok_or_else(malformed)?;
        let kind = number::<2>(message, 4).map(u16::from_ne_bytes).ok_or_else(malformed)?;
        let flags = number::<2>(message, 6).map(u16::from_ne_bytes).ok_or_else(malformed)?;
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match kind {
            // It says itself whether the list is whole; kernels that do not have nothing to say.
            NLMSG_DONE => {
                return match code(message).unwrap_or_default() {
                    0.. => Ok(Rest::None),
                    code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
                };
            }
            NLMSG_ERROR => {
                let code = code(message).ok_or_else(malformed)?;
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            kind if kind == wanted => listed.extend(read(message)),
            _ => {}
        }
        if listed.len() > LISTED_MAX {
            return Err(Errno::OVERFLOW.into());
        }
        part = part.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Rest::Follows)
}

fn link(message: &[u8]) -> Option<Link> {
    let word = |attributes, wanted| {
        attribute(attributes, wanted).and_then(|word| number::<4>(word, 0)).map(u32::from_ne_bytes)
    };
    let hardware = number::<2>(message, HEADER + 2).map(u16::from_ne_bytes)?;
    let index = number::<4>(message, HEADER + 4).map(u32::from_ne_bytes)?;
    let flags = number::<4>(message, HEADER + 8).map(u32::from_ne_bytes)?;
    let attributes = message.get(2 * HEADER..)?;
    let about = attribute(attributes, IFLA_LINKINFO);
    let kind = about.and_then(|about| attribute(about, IFLA_INFO_KIND)).map(text);
    // Of a pair it is the other end, which is not below it; of another network it is a number of that one's.
    let is_pair = matches!(kind.as_deref(), Some("veth" | "netkit"));
    let is_elsewhere = attribute(attributes, IFLA_LINK_NETNSID).is_some();
    let below = word(attributes, IFLA_LINK).filter(|below| *below != index && *below != 0);
    Some(Link {
        index,
        master: word(attributes, IFLA_MASTER),
        below: below.filter(|_| !is_pair && !is_elsewhere),
        ethernet: matches!(hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK),
        holds_only: flags & IFF_LOOPBACK != 0 || kind.as_deref() == Some("dummy"),
        carries: flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING,
    })
}

fn own(message: &[u8]) -> Option<Own> {
    let [flags] = number::<1>(message, HEADER + 2)?;
    let index = number::<4>(message, HEADER + 4).map(u32::from_ne_bytes)?;
    let attributes = message.get(HEADER + ADDRESS..)?;
    // Of a point-to-point link the other one is that of its other end.
    let octets = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    let ip = match *octets {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    (flags & IFA_F_DADFAILED == 0).then_some(Own { index, ip })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_its_address_are_listed() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.index == 1).unwrap();
        assert!(lo.holds_only && lo.ethernet && lo.master.is_none() && lo.below.is_none());
        let own = Own { index: 1, ip: [127, 0, 0, 1].into() };
        assert!(addresses().unwrap().contains(&own));
    }

    /// Returns a message of this type, with these flags and this number after its header.
    fn message(kind: u16, flags: u16, number: i32) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend((HEADER as u32 + 4).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(number.to_ne_bytes());
        message
    }

    #[test]
    fn a_list_that_is_not_whole_is_an_error_and_no_list() {
        let of = |number| message(RTM_NEWADDR, 2, number);
        let done = |code| message(NLMSG_DONE, 2, code);
        let bare = |kind: u16| {
            let mut bare = message(kind, 2, 0)[..HEADER].to_vec();
            bare[0] = HEADER as u8;
            bare
        };
        let errno = |errno: Errno| Err(io::Error::from(errno).kind());
        let malformed = || Err(io::ErrorKind::InvalidData);
        let endless = vec![of(7); LISTED_MAX + 1].concat();
        for (row, part, wanted) in [
            ("two", [of(7), of(8)].concat(), Ok((Rest::Follows, vec![7, 8]))),
            ("the last", [of(7), done(0)].concat(), Ok((Rest::None, vec![7]))),
            ("nothing", done(0), Ok((Rest::None, vec![]))),
            ("an end without a code", bare(NLMSG_DONE), Ok((Rest::None, vec![]))),
            (
                "of another type",
                [message(RTM_NEWLINK, 2, 1), of(7)].concat(),
                Ok((Rest::Follows, vec![7])),
            ),
            (
                "an end by an error",
                [of(7), done(-Errno::NOMEM.raw_os_error())].concat(),
                errno(Errno::NOMEM),
            ),
            ("an error", message(NLMSG_ERROR, 0, -Errno::PERM.raw_os_error()), errno(Errno::PERM)),
            (
                "it changed meanwhile",
                message(RTM_NEWADDR, NLM_F_DUMP_INTR, 7),
                Err(io::ErrorKind::Interrupted),
            ),
            (
                "it changed, as the end says",
                [of(7), message(NLMSG_DONE, NLM_F_DUMP_INTR, 0)].concat(),
                Err(io::ErrorKind::Interrupted),
            ),
            ("too many", endless, errno(Errno::OVERFLOW)),
            ("length zero", [of(7), vec![0; HEADER]].concat(), malformed()),
            ("longer than it is", of(7)[..HEADER].to_vec(), malformed()),
            ("no octet", vec![], malformed()),
        ] {
            let mut listed = Vec::new();
            let read = |message: &[u8]| number::<4>(message, HEADER).map(i32::from_ne_bytes);
            let found = take(&part, RTM_NEWADDR, read, &mut listed);
            let found = found.map(|rest| (rest, listed)).map_err(|error| error.kind());
            assert_eq!(found, wanted, "{row}");
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let mut message = vec![0u8; HEADER + ADDRESS];
        message[HEADER + 4] = 7;
        message.extend([8, 0, 2, 0, 192, 0, 2, 1]);
        assert_eq!(own(&message), Some(Own { index: 7, ip: [192, 0, 2, 1].into() }));
        for cut in 0..message.len() {
            assert_eq!(own(&message[..cut]), None, "{cut}");
        }
        message[HEADER + 2] = IFA_F_DADFAILED;
        assert_eq!(own(&message), None, "another host has it");
        for cut in 0..2 * HEADER {
            assert_eq!(link(&vec![0; cut]), None, "{cut}");
        }
    }
}
