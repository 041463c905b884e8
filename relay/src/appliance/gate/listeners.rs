//! The listening sockets: made before the relay exists, known again when the gate comes back.
//!
//! They belong to the gate, so that ports below 1024 need no right of the relay's, and so that the second
//! door stands on each, and is locked, before it listens. Both processes hold a descriptor, and the service
//! manager keeps one more, if there is one that does: so a socket lives, with the clients that wait in its
//! backlog, as long as one of the three does.
//!
//! A gate that comes back takes its sockets from the service manager. Where that keeps none, it finds the
//! address taken, by the socket that the relay still serves, and waits until the relay shows it. Neither is
//! believed: the relay could show anything, and could have changed what the service manager kept. A socket is
//! ours if it has the cookie (the kernel's number for it, never used again in a boot) that this file's record,
//! which is root's, has for the address; if it was made in the network namespace that the gate is in now; if it
//! listens there; and if a locked filter stands on it whose judge is the one of this gate.

mod record;
mod socket;
mod store;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::sockopt;

use self::record::{Noted, Record, known};
use self::socket::{is_ours, listen, listen_again, local, name, refused, this_network};
use self::store::Store;
use crate::appliance::inherited::Inherited;
use crate::appliance::notify;
use crate::bound::{bound, is_in_the_way};
use crate::control::attach::{Found, Handed, Handover};
use crate::gate::record::this_boot;
use crate::gate::{self, Door, Queue};

/// A listener cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("listener {address}: {problem}")]
pub struct ListenError {
    /// The address.
    address: SocketAddr,
    /// What is wrong, and what to do.
    problem: String,
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
    guarded: Guarded,
    /// The door for its socket; none if it has none.
    door: Option<Door>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The gate holds the socket.
    Held(OwnedFd),
    /// The address is taken: a relay may still hold the socket that was noted, or relay and service manager have
    /// not yet closed one that is in its way.
    Awaited { noted: Option<Noted>, problem: String },
}

/// Every listening socket of the configuration.
#[derive(Debug)]
pub struct Listeners {
    slots: Vec<Slot>,
    /// What an earlier gate noted for addresses that are configured no more. A relay may hold them.
    former: Vec<Noted>,
    record: PathBuf,
    store: Store,
}

impl Listeners {
    /// Looks whether the sockets can be made, and makes none. What the service manager `kept` is looked at,
    /// and left there.
    ///
    /// # Errors
    ///
    /// [`ListenError`] as [`open`](Self::open).
    pub fn examine(
        addresses: &[(SocketAddr, Guarded)],
        kept: &[Inherited],
        record: &Path,
    ) -> Result<(), ListenError> {
        let known = known(record);
        for (address, _) in addresses {
            match bound(*address) {
                Ok(_) => {}
                Err(Errno::ADDRINUSE) if is_taken_by_us(*address, &known, kept) => {}
                Err(error) => return Err(refused(*address, error)),
            }
        }
        Ok(())
    }

    /// Makes the sockets, with `door` on those that are guarded, or takes those of an earlier gate that the
    /// service manager `kept`; what else that kept is closed. An address that is taken is waited for if what
    /// takes it is an earlier gate's, by its `record` or since it was kept.
    ///
    /// # Errors
    ///
    /// [`ListenError`] if an address is taken by somebody else, or cannot be listened on.
    pub fn open(
        addresses: &[(SocketAddr, Guarded)],
        door: Option<Door>,
        kept: Vec<Inherited>,
        record: PathBuf,
    ) -> Result<Self, ListenError> {
        let known = known(&record);
        let mut slots = Vec::new();
        for (address, guarded) in addresses.iter().copied() {
            let noted = known.iter().find(|noted| noted.address == address).copied();
            let door = door.clone().filter(|_| guarded == Guarded::Yes);
            let problem = "the relay has not shown it yet".to_owned();
            let state = State::Awaited { noted, problem };
            let mut slot = Slot { address, guarded, door, state };
            // What cannot be looked at is not ours.
            let _ = slot.place_among(kept.iter().map(|kept| kept.socket.as_fd()));
            slots.push(slot);
        }
        let is_taken = |slot: &Slot| is_taken_by_us(slot.address, &known, &kept);
        let are_taken: Vec<bool> = slots.iter().map(is_taken).collect();
        // Closed here and there before the addresses are listened on.
        let mut store = Store::new(notify::manager(), &kept);
        store.settle(&held(&slots));
        drop(kept);
        for (slot, is_taken) in slots.iter_mut().zip(are_taken) {
            if let State::Held(_) = slot.state {
                continue;
            }
            match listen(slot.address, slot.door.as_ref()) {
                Ok(socket) => slot.state = State::Held(socket),
                Err(Errno::ADDRINUSE) if is_taken => {}
                Err(error) => return Err(refused(slot.address, error)),
            }
        }
        let is_former =
            |noted: &Noted| !addresses.iter().any(|(address, _)| *address == noted.address);
        let former = known.into_iter().filter(is_former).collect();
        let mut listeners = Self { slots, former, record, store };
        listeners.note();
        Ok(listeners)
    }

    /// Returns on how many sockets the second door stands.
    #[must_use]
    pub fn doors(&self) -> usize {
        let has_door = |slot: &&Slot| slot.door.is_some() && matches!(slot.state, State::Held(_));
        self.slots.iter().filter(has_door).count()
    }

    /// Returns who waits for the relay on the guarded sockets.
    #[must_use]
    pub fn queue(&self) -> Queue {
        let guarded = self.slots.iter().filter(|slot| slot.guarded == Guarded::Yes);
        let asked = guarded.filter_map(|slot| match &slot.state {
            State::Held(socket) => gate::queue(socket).ok(),
            State::Awaited { .. } => None,
        });
        asked.fold(Queue::default(), Queue::and)
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
            if slot.listen_again()
                && let Some(name) = slot.name()
            {
                self.store.lost(&name);
            }
            let place = slot.place_among(shown.iter().map(AsFd::as_fd))?;
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

    /// Tries to make the sockets that are waited for; returns whether one was made. The service manager is told
    /// what it had no time for.
    pub fn try_again(&mut self) -> bool {
        let made =
            self.slots.iter_mut().filter_map(|slot| slot.try_again().then_some(())).count() > 0;
        if made {
            self.note();
        } else {
            self.store.settle(&held(&self.slots));
        }
        made
    }

    /// Returns each address, and why it has no socket if it has none.
    pub fn each(&self) -> impl Iterator<Item = (SocketAddr, Option<&str>)> + '_ {
        self.slots.iter().map(|slot| match &slot.state {
            State::Held(_) => (slot.address, None),
            State::Awaited { problem, .. } => (slot.address, Some(problem.as_str())),
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

    /// Writes the cookies down, and has the sockets kept. Without them the next gate must be started with its
    /// relay, so a failure costs a restart and no safety.
    fn note(&mut self) {
        let network = this_network();
        let noted = |slot: &Slot| match &slot.state {
            State::Held(socket) => sockopt::socket_cookie(socket).ok().map(|cookie| Noted {
                address: slot.address,
                cookie,
                network,
                door: slot.door.as_ref().map_or(0, Door::place),
            }),
            State::Awaited { noted, .. } => *noted,
        };
        // Else a gate that ends while it waits would have to be told that by hand.
        let waits_for = |former: &&Noted| {
            let waits = |slot: &Slot| matches!(slot.state, State::Awaited { .. });
            let is_held_up =
                |slot: &Slot| waits(slot) && is_in_the_way(slot.address, former.address);
            self.slots.iter().any(is_held_up)
        };
        let former = self.former.iter().filter(waits_for).copied();
        let sockets = self.slots.iter().filter_map(noted).chain(former).collect();
        let record = Record { boot: this_boot(), sockets };
        let beside = self.record.with_extension("new");
        let written = serde_json::to_vec(&record).map_err(io::Error::other);
        let _ = written
            .and_then(|text| fs::write(&beside, text))
            .and_then(|()| fs::rename(&beside, &self.record));
        self.store.settle(&held(&self.slots));
    }
}

impl Slot {
    /// Returns which of the sockets is this one, and takes it if it was waited for.
    fn place_among<'a>(
        &mut self,
        mut sockets: impl Iterator<Item = BorrowedFd<'a>> + Clone,
    ) -> io::Result<Option<usize>> {
        let cookie = match &self.state {
            State::Held(socket) => sockopt::socket_cookie(socket)?,
            State::Awaited { noted: Some(noted), .. } => noted.cookie,
            State::Awaited { noted: None, .. } => return Ok(None),
        };
        let address = self.address;
        let place = sockets.clone().position(|socket| is_ours(socket, cookie, address));
        if let (Some(place), State::Awaited { noted: Some(noted), .. }) = (place, &self.state)
            && let Some(socket) = sockets.nth(place)
        {
            if !self.take_door(socket, noted.door)? {
                return Ok(None);
            }
            listen_again(socket)?;
            self.state = State::Held(socket.try_clone_to_owned()?);
        }
        Ok(place)
    }

    /// Returns the name under which the service manager keeps its socket; none while there is none.
    fn name(&self) -> Option<String> {
        let State::Held(socket) = &self.state else { return None };
        sockopt::socket_cookie(socket).ok().map(name)
    }

    /// Lets the socket listen again if somebody ended that, and returns whether. If it cannot, it is given up for a
    /// new one.
    fn listen_again(&mut self) -> bool {
        let State::Held(socket) = &self.state else { return false };
        let was_ended = sockopt::socket_acceptconn(socket) != Ok(true);
        if listen_again(socket.as_fd()).is_err() {
            self.state = State::Awaited { noted: None, problem: "it does not listen".into() };
        }
        was_ended
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

/// Returns the sockets that the gate holds, by the names under which the service manager keeps them.
fn held(slots: &[Slot]) -> BTreeMap<String, BorrowedFd<'_>> {
    let held = slots.iter().filter_map(|slot| match &slot.state {
        State::Held(socket) => Some((slot.name()?, socket.as_fd())),
        State::Awaited { .. } => None,
    });
    held.collect()
}

/// Returns whether what takes an address may be a socket of an earlier gate's: the relay and the service manager
/// close it as soon as they hear that it is not served any more.
fn is_taken_by_us(address: SocketAddr, known: &[Noted], kept: &[Inherited]) -> bool {
    let kept = kept.iter().filter_map(|kept| local(kept.socket.as_fd()));
    kept.chain(known.iter().map(|noted| noted.address)).any(|ours| is_in_the_way(address, ours))
}

#[cfg(test)]
mod tests;
