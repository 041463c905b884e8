//! Connections that have not said what they want.
//!
//! Everybody on the host may open some, and saying nothing costs him nothing. So they are few, and where there would be
//! more the one that waits for longest gives way: whoever means to ask does so at once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// The connections that wait, the one that waits for longest first.
#[derive(Debug)]
pub(super) struct Lobby {
    most: usize,
    /// Each hears when it has to go: then its half is dropped.
    waiting: Mutex<VecDeque<oneshot::Sender<Infallible>>>,
}

impl Lobby {
    /// Makes room for so many, at least one.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::new(VecDeque::new()) }
    }

    /// Waits, from the first poll on, until this connection has to give way. To drop the future is to leave.
    pub(super) async fn wait(&self) {
        let told = self.enter();
        // Nothing is ever sent: the other half is dropped.
        let _ = told.await;
    }

    fn enter(&self) -> oneshot::Receiver<Infallible> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.most {
            waiting.retain(|one| !one.is_closed());
        }
        while waiting.len() >= self.most {
            waiting.pop_front();
        }
        waiting.push_back(tell);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_wait_the_one_that_waits_for_longest_gives_way() {
        let lobby = Lobby::new(2);
        let mut told: Vec<_> = (0..4).map(|_| lobby.enter()).collect();
        let has_to_go: Vec<_> = told
            .iter_mut()
            .map(|one| one.try_recv() == Err(oneshot::error::TryRecvError::Closed))
            .collect();
        assert_eq!(has_to_go, [true, true, false, false]);
    }

    #[test]
    fn who_has_left_takes_no_room() {
        let lobby = Lobby::new(2);
        let mut first = lobby.enter();
        for _ in 0..10 {
            drop(lobby.enter());
        }
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(lobby.waiting.lock().unwrap().len() <= 2);
    }
}
