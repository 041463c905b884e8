//! Who is connected to the guarded ports, as the kernel sees it (proc(5), `/proc/net/tcp`).

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The tables of this process's network namespace, one for each family.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/// The state of an open connection, as the tables number it.
const ESTABLISHED: &str = "01";
/// The state of a socket that listens.
const LISTEN: &str = "0A";

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Its address, the unspecified one for all of its family, and for IPv6 most often of both.
    pub address: SocketAddr,
    /// How many connections wait to be accepted.
    pub waiting: u32,
    /// The number by which its descriptors are known in `/proc/PID/fd`.
    pub inode: u64,
}

/// Returns the sockets that listen in this network.
///
/// # Errors
///
/// As [`connected`].
pub fn listening() -> io::Result<Vec<Listening>> {
    let mut found = Vec::new();
    lines(|line| found.extend(listener(line)))?;
    Ok(found)
}

/// Reads one line: number, local address, remote address, state, queues, two timers and a count, user,
/// time-out, inode, and more.
fn listener(line: &str) -> Option<Listening> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if *words.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = words[1].rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let (_, waiting) = words.get(4)?.split_once(':')?;
    Some(Listening {
        address: SocketAddr::new(address(ip)?, port),
        waiting: u32::from_str_radix(waiting, 16).ok()?,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// Returns the other ends of the open connections to these ports, each with their number. The host's own are
/// left out.
///
/// # Errors
///
/// If a table cannot be read; a host without IPv6 has no second one, which is no error.
pub fn connected(ports: &[u16]) -> io::Result<BTreeMap<IpAddr, usize>> {
    let mut clients = BTreeMap::new();
    lines(|line| {
        let client = client(line, ports).filter(|client| !client.is_loopback());
        if let Some(client) = client {
            *clients.entry(client).or_default() += 1;
        }
    })?;
    Ok(clients)
}

fn lines(mut take: impl FnMut(&str)) -> io::Result<()> {
    for table in TABLES {
        let file = match std::fs::File::open(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        for line in BufReader::new(file).lines() {
            take(&line?);
        }
    }
    Ok(())
}

/// Reads one line: number, local address, remote address, state, and more.
fn client(line: &str, ports: &[u16]) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip(1);
    let (_, port) = words.next()?.rsplit_once(':')?;
    let (remote, _) = words.next()?.rsplit_once(':')?;
    let is_open = words.next()? == ESTABLISHED;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !is_open || !ports.contains(&port) {
        return None;
    }
    address(remote).map(|address| address.to_canonical())
}

/// Reads an address: words of 32 bits, each in the order of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_listens_is_read_with_what_waits_for_it() {
        let any = "  3: 00000000:09DD 00000000:0000 0A 00000000:00000007 00:00000000 00000000     0        0 4711 1 0 100 0";
        let wanted =
            Listening { address: "0.0.0.0:2525".parse().unwrap(), waiting: 7, inode: 4711 };
        assert_eq!(listener(any), Some(wanted));
        for line in [&any.replace("0A", "01"), "  3: 0:09DD", "", &any.replace("4711", "x")] {
            assert_eq!(listener(line), None, "{line}");
        }
        let mine = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = mine.local_addr().unwrap();
        assert!(listening().unwrap().iter().any(|one| one.address == address));
    }

    #[test]
    fn lines_of_both_tables_are_read() {
        let of = |words: [u32; 4]| -> String {
            let words = words.map(|word| u32::from_ne_bytes(word.to_be_bytes()));
            words.map(|word| format!("{word:08X}")).concat()
        };
        let v4 = format!("{:08X}", u32::from_ne_bytes([192, 0, 2, 7]));
        let v6 = of([0x2001_0db8, 0, 0, 7]);
        let mapped = of([0, 0, 0xffff, 0xc000_0207]);
        let line = |remote: &str, port: u16, state: &str| {
            format!("  1: 00000000:{port:04X} {remote}:C001 {state} 00000000:00000000 00:00000000")
        };
        for (text, wanted) in [
            (line(&v4, 2525, "01"), Some("192.0.2.7")),
            (line(&v6, 2525, "01"), Some("2001:db8::7")),
            (line(&mapped, 2525, "01"), Some("192.0.2.7")),
            (line(&v4, 2525, "0A"), None),
            (line(&v4, 25, "01"), None),
            ("  sl  local_address rem_address   st tx_queue".into(), None),
            (String::new(), None),
            ("1: 0:09DD x:1 01".into(), None),
        ] {
            let wanted = wanted.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(client(&text, &[2525]), wanted, "{text}");
        }
    }

    #[test]
    fn connections_of_the_host_to_itself_are_left_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(connected(&[port]).unwrap(), BTreeMap::new());
    }
}
