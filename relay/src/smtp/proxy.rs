//! The PROXY protocol, versions 1 and 2: what a load balancer says of its client before the client's own
//! octets (haproxy.org, proxy-protocol.txt of 2020/03/05, sections 2.1 and 2.2).
//!
//! Not here: who may say so. Only a connection from an address that the configuration names is read by this,
//! for whoever may send such a header chooses the address that everything after it goes by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header of version 1 with its CRLF, octets (section 2.1).
const LINE_MAX: usize = 107;
/// What a header of version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// What a header of version 2 begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;
/// The longest that may follow them, addresses and attributes together, octets. The specification knows no
/// limit but the 65,535 of the field; a balancer that adds the client's certificate stays below this one.
const BLOCK_MAX: usize = 2_048;
/// Two addresses and two ports of IPv4.
const INET: usize = 12;
/// Two addresses and two ports of IPv6.
const INET6: usize = 36;
/// Two paths of AF_UNIX.
const UNIX: usize = 216;
/// The type of the attribute that holds the checksum of the header (section 2.2.3).
const CRC32C: u8 = 3;

/// For whom a proxy opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// For the client at this address; IPv4 is never written as IPv6.
    Client(SocketAddr),
    /// For itself, as for a health check, or for somebody whose address is none of TCP: the address of the
    /// connection is the one to go by.
    Connection,
}

/// Why a connection does not begin with a header: it is to be closed, and nothing is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The first octets are those of neither version.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It is longer than 107 octets in version 1, or than 2,064 in version 2.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It does not follow the grammar of its version.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// Its checksum is another than the one it holds.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Collects the header out of input that may be cut anywhere. Holds at most 2,064 octets.
#[derive(Debug, Default)]
pub struct HeaderReader {
    held: Vec<u8>,
}

impl HeaderReader {
    /// Takes octets off the front of `input` until the header ends, and returns what it says; none if
    /// `input` ran out first. What follows the header stays in `input`.
    ///
    /// # Errors
    ///
    /// As soon as it shows that no good header comes. The connection is of no use then.
    pub fn read(&mut self, input: &mut &[u8]) -> Option<Result<Origin, HeaderFault>> {
        while let Some((octet, rest)) = input.split_first() {
            self.held.push(*octet);
            *input = rest;
            if let Some(found) = judge(&self.held).transpose() {
                return Some(found);
            }
        }
        None
    }
}

/// Judges what was read so far; none: more is to come.
fn judge(held: &[u8]) -> Result<Option<Origin>, HeaderFault> {
    if WORD.starts_with(held) || SIGNATURE.starts_with(held) {
        Ok(None)
    } else if let Some(text) = held.strip_prefix(WORD) {
        line(held, text)
    } else if held.starts_with(SIGNATURE) {
        binary(held)
    } else {
        Err(HeaderFault::Missing)
    }
}

/// Judges version 1: `text` is what follows the first word.
fn line(held: &[u8], text: &[u8]) -> Result<Option<Origin>, HeaderFault> {
    match text.strip_suffix(b"\r\n") {
        Some(text) => origin_of_line(text).map(Some).ok_or(HeaderFault::Malformed),
        None if held.ends_with(b"\n") => Err(HeaderFault::Malformed),
        None if held.len() >= LINE_MAX => Err(HeaderFault::TooLong),
        None => Ok(None),
    }
}

fn origin_of_line(text: &[u8]) -> Option<Origin> {
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        // Whatever else the line says then is to be ignored.
        return Some(Origin::Connection);
    }
    match std::str::from_utf8(text).ok()?.split_once(' ')? {
        ("TCP4", rest) => endpoints::<Ipv4Addr>(rest),
        ("TCP6", rest) => endpoints::<Ipv6Addr>(rest),
        _ => None,
    }
}

/// Reads both addresses, then both ports: those of the client come first.
fn endpoints<A: FromStr + Into<IpAddr>>(text: &str) -> Option<Origin> {
    let mut words = text.split(' ');
    let source: A = words.next()?.parse().ok()?;
    let _: A = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    words.next().is_none().then(|| client(source.into(), source_port))
}

/// Reads a port without leading zeros: other readers could take them for octal.
fn port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || !text.starts_with('0');
    let digits = is_plain && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn client(address: IpAddr, port: u16) -> Origin {
    Origin::Client(SocketAddr::new(address.to_canonical(), port))
}

/// Judges version 2, each field as soon as it is there.
fn binary(held: &[u8]) -> Result<Option<Origin>, HeaderFault> {
    match held.get(SIGNATURE.len()) {
        Some(0x20 | 0x21) | None => {}
        Some(_) => return Err(HeaderFault::Malformed),
    }
    let Some(length) = held.get(FIXED - 2..FIXED) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > BLOCK_MAX {
        return Err(HeaderFault::TooLong);
    }
    if held.len() < FIXED + length {
        return Ok(None);
    }
    origin_of_block(held, &held[FIXED..]).map(Some)
}

/// Reads the whole header of version 2; `block` is what follows its length.
fn origin_of_block(header: &[u8], block: &[u8]) -> Result<Origin, HeaderFault> {
    let is_local = header[SIGNATURE.len()] == 0x20;
    let (addresses, origin) = match header[SIGNATURE.len() + 1] {
        // The family is to be ignored then, so nobody knows where attributes would begin. Nothing of the
        // block is used.
        _ if is_local => return Ok(Origin::Connection),
        0x00 => return Ok(Origin::Connection),
        0x11 => (INET, inet::<4>(block, INET)),
        0x21 => (INET6, inet::<16>(block, INET6)),
        // UDP, and sockets of the proxy's own host: real, and no address of TCP.
        0x12 => (INET, Some(Origin::Connection)),
        0x22 => (INET6, Some(Origin::Connection)),
        0x31 | 0x32 => (UNIX, Some(Origin::Connection)),
        _ => return Err(HeaderFault::Malformed),
    };
    let origin = origin.ok_or(HeaderFault::Malformed)?;
    attributes(header, FIXED + addresses)?;
    Ok(origin)
}

/// Reads the source out of two addresses of `N` octets and two ports, `length` octets together.
fn inet<const N: usize>(block: &[u8], length: usize) -> Option<Origin>
where
    IpAddr: From<[u8; N]>,
{
    let block = block.get(..length)?;
    let source: [u8; N] = *block.first_chunk()?;
    let port: [u8; 2] = *block[2 * N..].first_chunk()?;
    Some(client(source.into(), u16::from_be_bytes(port)))
}

/// Walks over type, length and value from `at` to the end, and verifies the checksum if one is there.
/// Nothing else of them is used.
fn attributes(header: &[u8], mut at: usize) -> Result<(), HeaderFault> {
    let mut checksum = None;
    while at < header.len() {
        let [kind, high, low] = *header.get(at..at + 3).ok_or(HeaderFault::Malformed)? else {
            return Err(HeaderFault::Malformed);
        };
        let (begin, length) = (at + 3, usize::from(u16::from_be_bytes([high, low])));
        let value = header.get(begin..begin + length).ok_or(HeaderFault::Malformed)?;
        if kind == CRC32C {
            let found: [u8; 4] = value.try_into().map_err(|_| HeaderFault::Malformed)?;
            if checksum.replace((begin, u32::from_be_bytes(found))).is_some() {
                return Err(HeaderFault::Malformed);
            }
        }
        at = begin + length;
    }
    // An address block that is longer than the header leaves `at` beyond its end.
    if at > header.len() {
        return Err(HeaderFault::Malformed);
    }
    match checksum {
        Some((begin, found)) if found != checksum_of(header, begin) => Err(HeaderFault::Checksum),
        Some(_) | None => Ok(()),
    }
}

/// Returns the CRC32C of the header with zeros in place of the four octets at `begin` that hold it
/// (section 2.2.3; RFC 9260, appendix A).
fn checksum_of(header: &[u8], begin: usize) -> u32 {
    let before = crc32c::crc32c(&header[..begin]);
    let zeros = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(zeros, &header[begin + 4..])
}

#[cfg(test)]
mod tests;
