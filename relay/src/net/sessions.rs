//! The live sessions: how many there are and from where, and the way to end them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

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
    /// There are as many as there may be.
    #[error("too many sessions")]
    InAll,
    /// The process ends.
    #[error("shutting down")]
    Leaving,
}

/// The sessions at a time, in all and from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In all.
    pub in_all: usize,
    /// From one address.
    pub from_source: usize,
}

/// All live sessions of the process. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    caps: Caps,
    table: Mutex<Table>,
    leaving: watch::Sender<bool>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    live: HashMap<u64, Live>,
    from: HashMap<IpAddr, usize>,
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
    signal: watch::Receiver<Signal>,
    shared: Arc<Shared>,
}

impl Sessions {
    /// Returns an empty registry.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        let table = Mutex::default();
        let (leaving, count) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { shared: Arc::new(Shared { caps, table, leaving, count }) }
    }

    /// Takes a place for a connection from `peer`. It counts for that address until
    /// [`Place::move_to`] names another.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn enter(&self, peer: IpAddr, entrance: Entrance) -> Result<Place, NoSession> {
        let mut table = self.shared.table();
        if *self.shared.leaving.borrow() {
            return Err(NoSession::Leaving);
        }
        if table.live.len() >= self.shared.caps.in_all {
            return Err(NoSession::InAll);
        }
        table.count_one(peer, self.shared.caps.from_source)?;
        let number = table.next;
        table.next += 1;
        let (sender, signal) = watch::channel(Signal::Serve);
        table.live.insert(number, Live { peer, entrance, signal: sender });
        self.shared.count.send_replace(table.live.len());
        drop(table);
        Ok(Place { number, source: peer, signal, shared: Arc::clone(&self.shared) })
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

    /// Waits until no session is left.
    pub async fn empty(&self) {
        let mut count = self.shared.count.subscribe();
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Returns how many sessions there are.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Counts one more session from `source`.
    fn count_one(&mut self, source: IpAddr, most: usize) -> Result<(), NoSession> {
        let from = self.from.get(&source).copied().unwrap_or(0);
        if from >= most {
            return Err(NoSession::FromSource);
        }
        self.from.insert(source, from + 1);
        Ok(())
    }

    /// Counts one session less.
    fn discount_one(&mut self, source: IpAddr) {
        if let Some(count) = self.from.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.from.remove(&source);
            }
        }
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
    /// There are as many from that address as there may be. The session still counts where it did.
    pub fn move_to(&mut self, source: IpAddr) -> Result<(), NoSession> {
        if source != self.source {
            let mut table = self.shared.table();
            table.count_one(source, self.shared.caps.from_source)?;
            table.discount_one(self.source);
            drop(table);
            self.source = source;
        }
        Ok(())
    }

    /// Returns the way to hear what the process has to say.
    #[must_use]
    pub fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        table.live.remove(&self.number);
        table.discount_one(self.source);
        self.shared.count.send_replace(table.live.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn places_are_counted_by_source_and_in_all_and_given_back() {
        let sessions = Sessions::new(Caps { in_all: 3, from_source: 2 });
        let one = sessions.enter(address(1), Entrance::Guarded).unwrap();
        let _two = sessions.enter(address(1), Entrance::Guarded).unwrap();
        assert_eq!(
            sessions.enter(address(1), Entrance::Guarded).unwrap_err(),
            NoSession::FromSource
        );
        let _three = sessions.enter(address(2), Entrance::Guarded).unwrap();
        assert_eq!(sessions.enter(address(3), Entrance::Guarded).unwrap_err(), NoSession::InAll);
        drop(one);
        assert_eq!(sessions.count(), 2);
        let again = sessions.enter(address(1), Entrance::Guarded).unwrap();
        sessions.leave();
        assert_eq!(sessions.enter(address(3), Entrance::Guarded).unwrap_err(), NoSession::Leaving);
        assert_eq!(*again.signal().borrow(), Signal::Leave);
    }

    #[test]
    fn only_sources_that_are_not_admitted_are_cut() {
        let sessions = Sessions::new(Caps { in_all: 3, from_source: 2 });
        let (one, two) = (
            sessions.enter(address(1), Entrance::Guarded).unwrap(),
            sessions.enter(address(2), Entrance::Guarded).unwrap(),
        );
        assert_eq!(sessions.cut(|source| source == address(1)), 1);
        assert_eq!(*one.signal().borrow(), Signal::Serve);
        assert_eq!(*two.signal().borrow(), Signal::Cut);
        sessions.leave();
        assert_eq!(*two.signal().borrow(), Signal::Cut, "leaving does not undo a cut");
    }

    #[test]
    fn a_session_behind_a_proxy_counts_for_its_client_and_is_cut_with_the_proxy() {
        let sessions = Sessions::new(Caps { in_all: 9, from_source: 1 });
        let (proxy, client) = (address(8), address(1));
        let mut first = sessions.enter(proxy, Entrance::Guarded).unwrap();
        assert_eq!(sessions.enter(proxy, Entrance::Guarded).unwrap_err(), NoSession::FromSource);
        first.move_to(client).unwrap();
        assert_eq!(first.source(), client);
        let mut second = sessions.enter(proxy, Entrance::Guarded).unwrap();
        assert_eq!(second.move_to(client), Err(NoSession::FromSource));
        assert_eq!(second.source(), proxy);
        assert_eq!(sessions.cut(|peer| peer == client), 2, "the gate knows the proxy only");
        drop(first);
        second.move_to(client).unwrap();
        drop(second);
        assert_eq!(sessions.shared.table().from.len(), 0);
        let direct = sessions.enter(client, Entrance::Guarded).unwrap();
        assert_eq!(*direct.signal().borrow(), Signal::Serve);
    }

    #[test]
    fn who_came_past_the_gate_is_never_cut() {
        let sessions = Sessions::new(Caps { in_all: 3, from_source: 2 });
        let guarded = sessions.enter(address(1), Entrance::Guarded).unwrap();
        let open = sessions.enter(address(1), Entrance::Open).unwrap();
        assert_eq!(sessions.cut(|_| false), 1);
        assert_eq!(*guarded.signal().borrow(), Signal::Cut);
        assert_eq!(*open.signal().borrow(), Signal::Serve);
    }
}
