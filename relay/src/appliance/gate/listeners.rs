//! The listening sockets: made before the relay exists, known again when the gate comes back.
//!
//! They belong to the gate, so that ports below 1024 need no right of the relay's, and so that the second
//! door stands on each, and is locked, before it listens. Both processes hold a descriptor. A gate that was killed finds the address taken, by the socket that the
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
use crate::gate::Door;
use crate::gate::record::this_boot;

/// Connections that wait until the relay takes them.
const BACKLOG: i32 = 4096;

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
    sockets: Vec<Noted>,
}

/// A socket as the record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    address: SocketAddr,
    cookie: u64,
    /// The number of the table in which its door finds the judge; 0 for a socket without a door.
    door: u32,
}

/// Whether the second door belongs on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// It does.
    Yes,
    /// It does not: the configuration says `gate = false`.
    No,
}

/// One configured address.
#[derive(Debug)]
struct Slot {
    address: SocketAddr,
    /// The door for its socket; none if it has none.
    door: Option<Door>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The gate holds the socket.
    Held(OwnedFd),
    /// A relay may still hold the socket with this cookie.
    Awaited { noted: Noted, problem: String },
}

/// Every listening socket of the configuration.
#[derive(Debug)]
pub struct Listeners {
    slots: Vec<Slot>,
    record: PathBuf,
}

impl Listeners {
    /// Looks whether the sockets can be made, and makes none.
    ///
    /// # Errors
    ///
    /// [`ListenError`] as [`open`](Self::open).
    pub fn examine(addresses: &[(SocketAddr, Guarded)], record: &Path) -> Result<(), ListenError> {
        let known = known(record);
        for (address, _) in addresses {
            let is_noted = known.iter().any(|noted| noted.address == *address);
            match bound(*address) {
                Ok(_) => {}
                Err(Errno::ADDRINUSE) if is_noted => {}
                Err(error) => return Err(refused(*address, error)),
            }
        }
        Ok(())
    }

    /// Makes the sockets, with `door` on those that are guarded. An address that is taken is waited for if an
    /// earlier gate left its cookie in `record`.
    ///
    /// # Errors
    ///
    /// [`ListenError`] if an address is taken by somebody else, or cannot be listened on.
    pub fn open(
        addresses: &[(SocketAddr, Guarded)],
        door: Option<Door>,
        record: PathBuf,
    ) -> Result<Self, ListenError> {
        let known = known(&record);
        let mut slots = Vec::new();
        for (address, guarded) in addresses.iter().copied() {
            let noted = known.iter().find(|noted| noted.address == address).copied();
            let door = door.clone().filter(|_| guarded == Guarded::Yes);
            let state = match (listen(address, door.as_ref()), noted) {
                (Ok(socket), _) => State::Held(socket),
                (Err(Errno::ADDRINUSE), Some(noted)) => {
                    State::Awaited { noted, problem: "the relay has not shown it yet".into() }
                }
                (Err(error), _) => return Err(refused(address, error)),
            };
            slots.push(Slot { address, door, state });
        }
        let listeners = Self { slots, record };
        listeners.note();
        Ok(listeners)
    }

    /// Returns on how many sockets the second door stands.
    #[must_use]
    pub fn doors(&self) -> usize {
        let held = self.slots.iter().filter(|slot| matches!(slot.state, State::Held(_)));
        held.filter(|slot| slot.door.is_some()).count()
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
        Ok((Handover { listeners, hears: true }, sent))
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
        let noted = |slot: &Slot| match &slot.state {
            State::Held(socket) => sockopt::socket_cookie(socket).ok().map(|cookie| Noted {
                address: slot.address,
                cookie,
                door: slot.door.as_ref().map_or(0, Door::place),
            }),
            State::Awaited { noted, .. } => Some(*noted),
        };
        let record =
            Record { boot: this_boot(), sockets: self.slots.iter().filter_map(noted).collect() };
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
            State::Awaited { noted, .. } => noted.cookie,
        };
        let address = self.address;
        let place = shown.iter().position(|socket| is_ours(socket.as_fd(), cookie, address));
        if let (Some(place), State::Awaited { noted, .. }) = (place, &self.state) {
            if !self.take_door(shown[place].as_fd(), noted.door)? {
                return Ok(None);
            }
            self.state = State::Held(shown[place].try_clone()?);
        }
        Ok(place)
    }

    /// Returns whether the right door stands on a socket that was made by an earlier gate, which it does not
    /// if the pins were taken away since: such a socket lets nobody in any more, and is made anew when the
    /// relay has closed it. One that an earlier version made gets its door now.
    fn take_door(&self, socket: BorrowedFd<'_>, noted: u32) -> io::Result<bool> {
        match &self.door {
            None => Ok(!Door::hangs(socket)?),
            Some(door) if Door::hangs(socket)? => Ok(door.place() == noted),
            Some(door) => door.hang(socket).map(|()| true),
        }
    }

    fn try_again(&mut self) -> bool {
        let State::Awaited { problem, .. } = &mut self.state else { return false };
        match listen(self.address, self.door.as_ref()) {
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

/// Makes a listening socket. The door is put on it between `bind` and `listen`: a socket that listens first
/// admits whoever is quick.
fn listen(address: SocketAddr, door: Option<&Door>) -> Result<OwnedFd, Errno> {
    let socket = bound(address)?;
    if let Some(door) = door {
        let hung = door.hang(&socket);
        hung.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Makes a socket with an address, which does not listen yet.
fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
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

/// Returns what an earlier gate noted. A cookie of another boot means nothing.
fn known(record: &Path) -> Vec<Noted> {
    let read = fs::read(record).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let this = read.filter(|record| record.boot == this_boot());
    this.map(|record| record.sockets).unwrap_or_default()
}

#[cfg(test)]
mod tests;
