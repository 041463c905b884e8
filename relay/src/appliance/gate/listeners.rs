//! The listening sockets: made before the relay exists, known again when the gate comes back.
//!
//! They belong to the gate, so that ports below 1024 need no right of the relay's, and so that
//! whatever must stand on a socket before it listens can be put there by the process that may. Both
//! processes hold a descriptor. A gate that was killed finds the address taken, by the socket that the
//! relay still serves: it waits until the relay shows it, and knows it by its cookie.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use serde::{Deserialize, Serialize};

use crate::control::attach::{Found, Handed, Handover};

/// Connections that wait until the relay takes them.
const BACKLOG: i32 = 4096;

/// Where the kernel names the boot: a cookie of another boot means nothing.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A listener cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("listener {address}: {problem}")]
pub struct ListenError {
    /// The address.
    address: SocketAddr,
    /// What is wrong, and what to do.
    problem: String,
}

/// What the record in the state folder says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    boot: String,
    sockets: Vec<(SocketAddr, u64)>,
}

/// One configured address.
#[derive(Debug)]
struct Slot {
    address: SocketAddr,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The gate holds the socket.
    Held(OwnedFd),
    /// A relay may still hold the socket with this cookie.
    Awaited { cookie: u64, problem: String },
}

/// Every listening socket of the configuration.
#[derive(Debug)]
pub struct Listeners {
    slots: Vec<Slot>,
    record: PathBuf,
}

impl Listeners {
    /// Makes the sockets. An address that is taken is waited for if an earlier gate left its cookie in
    /// `record`.
    ///
    /// # Errors
    ///
    /// [`ListenError`] if an address is taken by somebody else, or cannot be listened on.
    pub fn open(addresses: &[SocketAddr], record: PathBuf) -> Result<Self, ListenError> {
        let known = known(&record);
        let mut slots = Vec::new();
        for address in addresses.iter().copied() {
            let cookie = known.iter().find(|(of, _)| *of == address).map(|(_, cookie)| *cookie);
            let state = match (listen(address), cookie) {
                (Ok(socket), _) => State::Held(socket),
                (Err(Errno::ADDRINUSE), Some(cookie)) => {
                    State::Awaited { cookie, problem: "the relay has not shown it yet".into() }
                }
                (Err(error), _) => return Err(refused(address, error)),
            };
            slots.push(Slot { address, state });
        }
        let listeners = Self { slots, record };
        listeners.note();
        Ok(listeners)
    }

    /// Decides what a relay serves that shows these sockets. Returns that, and the sockets to send.
    ///
    /// # Errors
    ///
    /// If descriptors run out.
    pub fn hand_over(&mut self, shown: Vec<OwnedFd>) -> io::Result<(Handover, Vec<OwnedFd>)> {
        let mut listeners = Vec::new();
        let mut sent = Vec::new();
        for slot in &mut self.slots {
            let place = slot.place_among(&shown)?;
            slot.try_again();
            let found = match (&slot.state, place) {
                (State::Held(_), Some(place)) => Found::Shown(place),
                (State::Held(socket), None) => {
                    sent.push(socket.try_clone()?);
                    Found::Sent(sent.len() - 1)
                }
                (State::Awaited { .. }, _) => continue,
            };
            listeners.push(Handed { address: slot.address, found });
        }
        self.note();
        Ok((Handover { listeners }, sent))
    }

    /// Tries to make the sockets that are waited for; returns whether one was made.
    pub fn try_again(&mut self) -> bool {
        let made =
            self.slots.iter_mut().filter_map(|slot| slot.try_again().then_some(())).count() > 0;
        if made {
            self.note();
        }
        made
    }

    /// Returns what is wrong with them.
    pub fn problems(&self) -> impl Iterator<Item = String> + '_ {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Held(_) => None,
            State::Awaited { problem, .. } => Some(format!("listener {}: {problem}", slot.address)),
        })
    }

    /// Returns the addresses that the sockets really have.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let real = |slot: &Slot| match &slot.state {
            State::Held(socket) => local(socket.as_fd()).unwrap_or(slot.address),
            State::Awaited { .. } => slot.address,
        };
        self.slots.iter().map(real).collect()
    }

    /// Writes the cookies down. Without them the next gate must be started with its relay, so a failure
    /// costs a restart and no safety.
    fn note(&self) {
        let cookie = |slot: &Slot| match &slot.state {
            State::Held(socket) => {
                sockopt::socket_cookie(socket).ok().map(|cookie| (slot.address, cookie))
            }
            State::Awaited { cookie, .. } => Some((slot.address, *cookie)),
        };
        let record =
            Record { boot: boot(), sockets: self.slots.iter().filter_map(cookie).collect() };
        let beside = self.record.with_extension("new");
        let written = serde_json::to_vec(&record).map_err(io::Error::other);
        let _ = written
            .and_then(|text| fs::write(&beside, text))
            .and_then(|()| fs::rename(&beside, &self.record));
    }
}

impl Slot {
    /// Returns which of the shown sockets is this one, and takes it if it was waited for.
    fn place_among(&mut self, shown: &[OwnedFd]) -> io::Result<Option<usize>> {
        let cookie = match &self.state {
            State::Held(socket) => sockopt::socket_cookie(socket)?,
            State::Awaited { cookie, .. } => *cookie,
        };
        let address = self.address;
        let place = shown.iter().position(|socket| is_ours(socket.as_fd(), cookie, address));
        if let (Some(place), State::Awaited { .. }) = (place, &self.state) {
            self.state = State::Held(shown[place].try_clone()?);
        }
        Ok(place)
    }

    fn try_again(&mut self) -> bool {
        let State::Awaited { problem, .. } = &mut self.state else { return false };
        match listen(self.address) {
            Ok(socket) => {
                self.state = State::Held(socket);
                true
            }
            Err(error) => {
                *problem = refused(self.address, error).problem;
                false
            }
        }
    }
}

/// A socket is ours if the kernel says so (the cookie is the kernel's and unique in a boot), if it
/// listens, and if it does so where it should.
fn is_ours(socket: BorrowedFd<'_>, cookie: u64, address: SocketAddr) -> bool {
    let right_place = local(socket).is_some_and(|local| {
        local == address || (address.port() == 0 && local.ip() == address.ip())
    });
    right_place
        && sockopt::socket_cookie(socket) == Ok(cookie)
        && sockopt::socket_acceptconn(socket) == Ok(true)
}

fn local(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()
}

/// Makes a listening socket. What must stand on it before it listens is put there between `bind` and
/// `listen`: a socket that listens first admits whoever is quick.
fn listen(address: SocketAddr) -> Result<OwnedFd, Errno> {
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
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn refused(address: SocketAddr, error: Errno) -> ListenError {
    let port = address.port();
    let problem = match error {
        Errno::ADDRINUSE => {
            format!("another program listens there; see `ss -ltnp sport = :{port}`")
        }
        Errno::ADDRNOTAVAIL => "no interface has this address; see `ip address`".to_owned(),
        Errno::ACCESS => format!("not permitted: port {port} needs root"),
        other => other.to_string(),
    };
    ListenError { address, problem }
}

fn known(record: &Path) -> Vec<(SocketAddr, u64)> {
    let read = fs::read(record).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    read.filter(|record| record.boot == boot()).map(|record| record.sockets).unwrap_or_default()
}

fn boot() -> String {
    fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    struct Desk {
        _folder: tempfile::TempDir,
        record: PathBuf,
    }

    fn desk() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        Desk { record: folder.path().join("gate.listeners"), _folder: folder }
    }

    /// A gate with one listener on a port of the kernel's choice, and that address.
    fn first(desk: &Desk) -> (Listeners, SocketAddr) {
        let probe = Listeners::open(&[ANY.parse().unwrap()], desk.record.clone()).unwrap();
        let address = probe.addresses()[0];
        drop(probe);
        (Listeners::open(&[address], desk.record.clone()).unwrap(), address)
    }

    fn cookie(socket: &OwnedFd) -> u64 {
        sockopt::socket_cookie(socket).unwrap()
    }

    #[test]
    fn a_new_relay_is_sent_every_socket_and_they_listen() {
        let desk = desk();
        let (mut gate, address) = first(&desk);
        let (handover, sent) = gate.hand_over(Vec::new()).unwrap();
        assert_eq!(handover.listeners, [Handed { address, found: Found::Sent(0) }]);
        assert!(sockopt::socket_acceptconn(&sent[0]).unwrap());
        assert!(sockopt::socket_reuseaddr(&sent[0]).unwrap());
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_gate_that_comes_back_knows_the_relays_socket_again() {
        let desk = desk();
        let (mut gate, address) = first(&desk);
        let (_, mut relay) = gate.hand_over(Vec::new()).unwrap();
        drop(gate);
        let mut gate = Listeners::open(&[address], desk.record.clone()).unwrap();
        assert_eq!(gate.problems().count(), 1, "taken, and waited for");
        assert!(!gate.try_again());
        let stranger = std::net::TcpListener::bind(ANY).unwrap();
        let shown = vec![OwnedFd::from(stranger), relay.remove(0)];
        let before = cookie(&shown[1]);
        let (handover, sent) = gate.hand_over(shown).unwrap();
        assert_eq!(handover.listeners, [Handed { address, found: Found::Shown(1) }]);
        assert!(sent.is_empty());
        assert_eq!(gate.problems().count(), 0);
        let (_, sent) = gate.hand_over(Vec::new()).unwrap();
        assert_eq!(cookie(&sent[0]), before, "a relay that is restarted gets the same socket");
    }

    #[test]
    fn a_socket_that_is_not_the_one_noted_is_not_taken() {
        let desk = desk();
        let (gate, address) = first(&desk);
        drop(gate);
        // Somebody else took the address while no gate was there, and shows it as if it were ours.
        let taker = OwnedFd::from(std::net::TcpListener::bind(address).unwrap());
        let mut gate = Listeners::open(&[address], desk.record.clone()).unwrap();
        let (handover, _) = gate.hand_over(vec![taker.try_clone().unwrap()]).unwrap();
        assert_eq!(handover.listeners, []);
        let problem = gate.problems().next().unwrap();
        assert!(problem.contains("another program listens there"), "{problem}");
        drop(taker);
        assert!(gate.try_again(), "as soon as it is free it is made anew");
        assert_eq!(gate.hand_over(Vec::new()).unwrap().0.listeners.len(), 1);
    }

    #[test]
    fn a_taken_address_that_nobody_noted_is_an_error_with_a_remedy() {
        let desk = desk();
        let taker = std::net::TcpListener::bind(ANY).unwrap();
        let address = taker.local_addr().unwrap();
        let error = Listeners::open(&[address], desk.record.clone()).unwrap_err().to_string();
        assert!(error.contains("ss -ltnp"), "{error}");
    }

    #[test]
    fn a_connected_socket_is_no_listener_even_with_its_cookie() {
        let listener = std::net::TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (served, _) = listener.accept().unwrap();
        let cookie = sockopt::socket_cookie(&served).unwrap();
        assert!(!is_ours(served.as_fd(), cookie, address));
        drop(client);
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_clients() {
        let desk = desk();
        let Ok(gate) = Listeners::open(&["[::]:0".parse().unwrap()], desk.record.clone()) else {
            eprintln!("skipped: this host has no IPv6");
            return;
        };
        let port = gate.addresses()[0].port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn a_record_of_another_boot_or_of_nonsense_is_nothing() {
        let desk = desk();
        for text in ["", "{", "{\"boot\":\"other\",\"sockets\":[[\"127.0.0.1:1\",5]]}"] {
            fs::write(&desk.record, text).unwrap();
            assert_eq!(known(&desk.record), []);
        }
    }
}
