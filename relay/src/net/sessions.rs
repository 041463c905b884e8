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
    source: IpAddr,
    entrance: Entrance,
    signal: watch::Sender<Signal>,
}

/// The place of one session; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    number: u64,
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

    /// Takes a place for a client at `source`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn enter(&self, source: IpAddr, entrance: Entrance) -> Result<Place, NoSession> {
        let mut table = self.shared.table();
        if *self.shared.leaving.borrow() {
            return Err(NoSession::Leaving);
        }
        if table.live.len() >= self.shared.caps.in_all {
            return Err(NoSession::InAll);
        }
        let from = table.from.get(&source).copied().unwrap_or(0);
        if from >= self.shared.caps.from_source {
            return Err(NoSession::FromSource);
        }
        table.from.insert(source, from + 1);
        let number = table.next;
        table.next += 1;
        let (sender, signal) = watch::channel(Signal::Serve);
        table.live.insert(number, Live { source, entrance, signal: sender });
        self.shared.count.send_replace(table.live.len());
        drop(table);
        Ok(Place { number, source, signal, shared: Arc::clone(&self.shared) })
    }

    /// Cuts every session behind the gate whose source `is_admitted` does not admit any more, and returns
    /// how many: 421, then closed; what is not acknowledged vanishes.
    pub fn cut(&self, is_admitted: impl Fn(IpAddr) -> bool) -> usize {
        let table = self.shared.table();
        let mut strangers = 0;
        let guarded = table.live.values().filter(|live| live.entrance == Entrance::Guarded);
        for live in guarded.filter(|live| !is_admitted(live.source)) {
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

impl Place {
    /// Returns where the client is.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
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
        if let Some(count) = table.from.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                table.from.remove(&self.source);
            }
        }
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
    fn who_came_past_the_gate_is_never_cut() {
        let sessions = Sessions::new(Caps { in_all: 3, from_source: 2 });
        let guarded = sessions.enter(address(1), Entrance::Guarded).unwrap();
        let open = sessions.enter(address(1), Entrance::Open).unwrap();
        assert_eq!(sessions.cut(|_| false), 1);
        assert_eq!(*guarded.signal().borrow(), Signal::Cut);
        assert_eq!(*open.signal().borrow(), Signal::Serve);
    }
}
