//! The live sessions: how many there are and from where, and the way to end them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::config::Limits;

/// What a live session has to know from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Go on.
    Serve,
    /// The process ends: close when idle, take no new transaction.
    Leave,
    /// The source is no longer admitted: close now.
    Cut,
}

/// By which kind of door a client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Through the gate: the session ends when the gate admits its source no more.
    Guarded,
    /// Past the gate, as the configuration permits: what the gate admits is nothing to it.
    Open,
}

/// Why a client gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    /// There are as many from its address as there may be.
    #[error("too many sessions from this address")]
    FromSource,
    /// There are as many from its network as there may be.
    #[error("too many sessions from this network")]
    FromNetwork,
    /// There are as many of its tag as its policy permits.
    #[error("too many sessions of clients like this one")]
    OfTag,
    /// There are as many as there may be.
    #[error("too many sessions")]
    InAll,
    /// The process ends.
    #[error("shutting down")]
    Leaving,
}

impl NoSession {
    /// Returns the word that metrics have for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::FromSource => "source",
            Self::FromNetwork => "network",
            Self::OfTag => "tag",
            Self::InAll => "all",
            Self::Leaving => "leaving",
        }
    }
}

/// The login has as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sessions of this login")]
pub struct Crowded;

/// The sessions at a time, in all and by where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In all.
    pub in_all: usize,
    /// From one address.
    pub from_source: usize,
    /// From one network: an IPv4 /24, an IPv6 /64.
    pub from_network: usize,
}

impl Caps {
    /// Returns those of a configuration.
    #[must_use]
    pub const fn of(limits: &Limits) -> Self {
        Self {
            in_all: limits.sessions,
            from_source: limits.sessions_per_source,
            from_network: limits.sessions_per_network,
        }
    }
}

/// Whose clients come by the same tag, and how many sessions they may have; none: no limit of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The tag.
    pub tag: String,
    /// The sessions at a time.
    pub most: Option<usize>,
}

/// What sessions have in common and are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Group {
    Source(IpAddr),
    Network(IpAddr),
    Tag(String),
    Login(String),
}

/// All live sessions of the process. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    leaving: watch::Sender<bool>,
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct Table {
    caps: Caps,
    next: u64,
    live: HashMap<u64, Live>,
    /// How many sessions each group has that has any: at most four entries a session.
    counts: HashMap<Group, usize>,
}

#[derive(Debug)]
struct Live {
    /// The address at the other end of the connection, which the gate judges.
    peer: IpAddr,
    entrance: Entrance,
    signal: watch::Sender<Signal>,
}

/// The place of one session; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    number: u64,
    /// The address that it counts for.
    source: IpAddr,
    /// The groups that it counts in.
    groups: Vec<Group>,
    signal: watch::Receiver<Signal>,
    shared: Arc<Shared>,
}

impl Sessions {
    /// Returns an empty registry.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        let (live, counts) = (HashMap::new(), HashMap::new());
        let table = Mutex::new(Table { caps, next: 0, live, counts });
        let (leaving, count) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { shared: Arc::new(Shared { table, leaving, count }) }
    }

    /// Changes the caps. Who is in stays, also if there are more than may be.
    pub fn limit(&self, caps: Caps) {
        self.shared.table().caps = caps;
    }

    /// Takes a place for a connection from `peer`, with the tag of its entry. It counts for that
    /// address until [`Place::move_to`] names another.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn enter(
        &self,
        peer: IpAddr,
        entrance: Entrance,
        tagged: Option<Tagged>,
    ) -> Result<Place, NoSession> {
        let mut table = self.shared.table();
        if *self.shared.leaving.borrow() {
            return Err(NoSession::Leaving);
        }
        if table.live.len() >= table.caps.in_all {
            return Err(NoSession::InAll);
        }
        table.admit_from(peer)?;
        let mut groups = vec![Group::Source(peer), Group::Network(network(peer))];
        if let Some(Tagged { tag, most }) = tagged {
            let group = Group::Tag(tag);
            if most.is_some_and(|most| table.has(&group) >= most) {
                return Err(NoSession::OfTag);
            }
            groups.push(group);
        }
        for group in &groups {
            table.count(group.clone());
        }
        let number = table.next;
        table.next += 1;
        let (sender, signal) = watch::channel(Signal::Serve);
        table.live.insert(number, Live { peer, entrance, signal: sender });
        self.shared.count.send_replace(table.live.len());
        drop(table);
        Ok(Place { number, source: peer, groups, signal, shared: Arc::clone(&self.shared) })
    }

    /// Cuts every session behind the gate whose peer `is_admitted` does not admit any more, and returns
    /// how many: 421, then closed; what is not acknowledged vanishes. For whom a proxy speaks is nothing to
    /// the gate.
    pub fn cut(&self, is_admitted: impl Fn(IpAddr) -> bool) -> usize {
        let table = self.shared.table();
        let mut strangers = 0;
        let guarded = table.live.values().filter(|live| live.entrance == Entrance::Guarded);
        for live in guarded.filter(|live| !is_admitted(live.peer)) {
            live.signal.send_replace(Signal::Cut);
            strangers += 1;
        }
        strangers
    }

    /// Lets the accept loops end and every session with its transaction.
    pub fn leave(&self) {
        let table = self.shared.table();
        self.shared.leaving.send_replace(true);
        for live in table.live.values() {
            live.signal.send_if_modified(|signal| {
                let serves = *signal == Signal::Serve;
                if serves {
                    *signal = Signal::Leave;
                }
                serves
            });
        }
    }

    /// Waits until [`Sessions::leave`] was called.
    pub async fn leaving(&self) {
        let mut leaving = self.shared.leaving.subscribe();
        // The sender is in `self`, so this cannot fail.
        let _ = leaving.wait_for(|leaving| *leaving).await;
    }

    /// Tells whether [`Sessions::leave`] was called.
    #[must_use]
    pub fn is_left(&self) -> bool {
        *self.shared.leaving.borrow()
    }

    /// Waits until no session is left.
    pub async fn empty(&self) {
        let mut count = self.shared.count.subscribe();
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Returns how many sessions there are.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Tells whether there is no place for one more session, whoever comes.
    pub fn is_full(&self) -> bool {
        let table = self.shared.table();
        table.live.len() >= table.caps.in_all
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Tells whether there is room for one more session from `source`.
    fn admit_from(&self, source: IpAddr) -> Result<(), NoSession> {
        if self.has(&Group::Source(source)) >= self.caps.from_source {
            return Err(NoSession::FromSource);
        }
        if self.has(&Group::Network(network(source))) >= self.caps.from_network {
            return Err(NoSession::FromNetwork);
        }
        Ok(())
    }

    fn has(&self, group: &Group) -> usize {
        self.counts.get(group).copied().unwrap_or(0)
    }

    fn count(&mut self, group: Group) {
        *self.counts.entry(group).or_insert(0) += 1;
    }

    fn forget(&mut self, group: &Group) {
        if let Some(count) = self.counts.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(group);
            }
        }
    }
}

/// Returns what clients share that come from one network: the first 24 bits of IPv4, the first 64
/// of IPv6, since whoever has one address of such a network usually has all.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Place {
    /// Returns where the client is.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// Counts the session for `source` from now on: a proxy has said who the client is.
    ///
    /// # Errors
    ///
    /// There are as many from there as there may be. The session still counts where it did.
    pub fn move_to(&mut self, source: IpAddr) -> Result<(), NoSession> {
        if source == self.source {
            return Ok(());
        }
        let mut table = self.shared.table();
        let stays = network(source) == network(self.source);
        match table.admit_from(source) {
            // It counts there already.
            Err(NoSession::FromNetwork) if stays => {}
            admitted => admitted?,
        }
        let moved = self.groups.iter_mut().map(|group| match group {
            Group::Source(_) => (Group::Source(source), group),
            Group::Network(_) => (Group::Network(network(source)), group),
            Group::Tag(_) | Group::Login(_) => (group.clone(), group),
        });
        for (next, group) in moved {
            table.count(next.clone());
            table.forget(group);
            *group = next;
        }
        drop(table);
        self.source = source;
        Ok(())
    }

    /// Returns the way to hear what the process has to say.
    #[must_use]
    pub fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.clone()
    }

    /// Returns who has logged in.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.groups.iter().find_map(|group| match group {
            Group::Login(login) => Some(login.as_str()),
            Group::Source(_) | Group::Network(_) | Group::Tag(_) => None,
        })
    }

    /// Counts the session among those of `login`, which may have `most`, and among those of no other.
    ///
    /// # Errors
    ///
    /// It has as many already; the place is not counted among them.
    pub fn log_in(&mut self, login: &str, most: usize) -> Result<(), Crowded> {
        let group = Group::Login(login.to_owned());
        let mut table = self.shared.table();
        // One that was granted before and not confirmed (SCRAM) may be tried again.
        let before = self.groups.iter().position(|group| matches!(group, Group::Login(_)));
        if let Some(place) = before {
            table.forget(&self.groups.swap_remove(place));
        }
        if table.has(&group) >= most {
            return Err(Crowded);
        }
        table.count(group.clone());
        self.groups.push(group);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        table.live.remove(&self.number);
        for group in &self.groups {
            table.forget(group);
        }
        self.shared.count.send_replace(table.live.len());
    }
}

#[cfg(test)]
mod tests;
