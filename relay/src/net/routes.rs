//! The routes of one configuration at work, as operators see and stop them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::lane::Lane;
use super::recall::Recalls;
use super::register::{Held, Register, Suspension};
use super::signing::Keys;
use crate::config::Config;
use crate::event::Event;
use crate::journal::Journal;
use crate::mail::message::MessageId;
use crate::spool::{Filter, Spool, StoreError, Stretch, Way};

pub use super::lane::{FINAL_DOT, HostState, RouteState, Standing};

/// The routes of one configuration.
pub struct Routes {
    /// In the order of the configuration.
    lanes: Vec<(String, Arc<Lane>)>,
    /// What signs their mail.
    keys: Keys,
    register: Arc<Register>,
    journal: Journal,
}

impl Routes {
    /// Puts the routes of `config` to work; what was suspended stays so. Reads the keys that sign mail.
    #[must_use]
    pub fn new(config: &Config, journal: &Journal, register: &Arc<Register>) -> Arc<Self> {
        Self::following(None, config, journal, register)
    }

    /// Puts the routes of another configuration to work in place of these. Those that are the same in both
    /// begin with what is known of their hosts and logins.
    #[must_use]
    pub fn renewed(&self, config: &Config) -> Arc<Self> {
        Self::following(Some(self), config, &self.journal, &self.register)
    }

    fn following(
        before: Option<&Self>,
        config: &Config,
        journal: &Journal,
        register: &Arc<Register>,
    ) -> Arc<Self> {
        let lanes = config.routes.iter().map(|route| {
            let before = before.and_then(|before| before.lane(&route.name)).map(|lane| &**lane);
            let (own, register) = (route.clone(), Arc::clone(register));
            (route.name.clone(), Lane::new(own, config, journal.clone(), register, before))
        });
        let (lanes, register) = (lanes.collect(), Arc::clone(register));
        let keys = Keys::load(config);
        let routes = Self { lanes, keys, register, journal: journal.clone() };
        routes.tell(before);
        Arc::new(routes)
    }

    /// Tells what the routes before these leave behind, and which are suspended that were not there.
    fn tell(&self, before: Option<&Self>) {
        for (name, lane) in before.iter().flat_map(|before| before.named()) {
            let after = self.lane(name).map(|lane| &**lane);
            if let Some(event) = lane.renewed_by(after) {
                self.journal.write(event);
            }
        }
        for (name, _) in
            self.named().filter(|(name, _)| before.is_none_or(|before| before.lane(name).is_none()))
        {
            if let Some(Suspension { route, note, uid, .. }) = self.register.suspension(name) {
                self.journal.write(Event::RouteHeld { route, note, uid });
            }
        }
    }

    /// Returns the keys that sign their mail, as they were read once.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the messages that are on their way, by these routes or those of an earlier configuration.
    #[must_use]
    pub fn recalls(&self) -> Arc<Recalls> {
        Arc::clone(self.register.recalls())
    }

    pub(super) fn lane(&self, name: &str) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|(of, _)| of == name).map(|(_, lane)| lane)
    }

    pub(super) fn named(&self) -> impl Iterator<Item = &(String, Arc<Lane>)> {
        self.lanes.iter()
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().map(|(_, lane)| &**lane)
    }

    /// Returns how every route stands, in the order of the configuration.
    #[must_use]
    pub fn list(&self) -> Vec<RouteState> {
        let (now, time) = (std::time::Instant::now(), Timestamp::now());
        self.lanes().map(|lane| lane.state(now, time)).collect()
    }

    /// Returns how every route stands, as [`Routes::list`], with the messages that wait for each.
    #[must_use]
    pub fn list_with(&self, spool: &Spool) -> Vec<RouteState> {
        let count = |state: RouteState| {
            let waiting = Some(spool.waiting(Way::of(&state.name)));
            RouteState { waiting, ..state }
        };
        self.list().into_iter().map(count).collect()
    }

    /// Takes it that a host of a route has been down for so long, for this reason, since before the process began:
    /// it is tried by the next message. What is no host of these routes is passed by.
    pub fn was_down(&self, route: &str, host: &str, down_for: Duration, reason: &str) {
        if let Some(lane) = self.lane(route) {
            lane.was_down(host, down_for, reason);
        }
    }

    /// Looks whether there is a route of this name.
    ///
    /// # Errors
    ///
    /// There is none; a sentence for the operator.
    pub fn check(&self, name: &str) -> Result<(), String> {
        self.known(name).map(drop)
    }

    /// Suspends a route: its mail waits, untouched, until it is resumed, also over a restart.
    /// Messages that are under way arrive.
    ///
    /// # Errors
    ///
    /// There is no such route, or it cannot be written down; a sentence for the operator.
    pub async fn suspend(&self, name: &str, note: Option<String>, uid: u32) -> Result<(), String> {
        let lane = self.known(name)?;
        let (register, since) = (Arc::clone(&self.register), Timestamp::now());
        let suspension = Suspension { route: name.to_owned(), note: note.clone(), since, uid };
        let written = spawn_blocking(move || register.suspend(suspension)).await;
        written.map_err(|error| error.to_string())?.map_err(|error| unwritten(name, &error))?;
        self.journal.write(Event::RouteHeld { route: name.to_owned(), note, uid });
        lane.wake();
        Ok(())
    }

    /// Ends the suspension of a route, also that by a refused login, and has its mail tried at
    /// once. Returns how many messages are due for it before their time; none: more than are
    /// remembered, so that all messages of the spool are that were tried before.
    ///
    /// # Errors
    ///
    /// As [`Routes::suspend`].
    pub async fn resume(
        &self,
        name: &str,
        spool: &Arc<Spool>,
        uid: u32,
    ) -> Result<Option<usize>, String> {
        let lane = self.known(name)?;
        let (register, route) = (Arc::clone(&self.register), name.to_owned());
        let written = spawn_blocking(move || register.resume(&route)).await;
        written.map_err(|error| error.to_string())?.map_err(|error| unwritten(name, &error))?;
        self.journal.write(Event::RouteResumed { route: name.to_owned(), uid: Some(uid) });
        let was_down = lane.is_down();
        lane.hurry();
        spool.look_again();
        let pushed = self.push(name, spool).await.map_err(|error| error.to_string())?;
        match pushed {
            // What waits for hosts waits for its time, and nobody noted which it is.
            Some(pushed) if was_down => {
                let more = retry_tried(name, spool).await.map_err(|error| error.to_string())?;
                Ok(Some(pushed.max(more)))
            }
            pushed => Ok(pushed),
        }
    }

    /// Has the mail tried at once that waits for a route which can be used again. Returns as
    /// [`Routes::resume`].
    ///
    /// # Errors
    ///
    /// As [`Spool::retry_all`].
    pub(super) async fn push(
        &self,
        name: &str,
        spool: &Arc<Spool>,
    ) -> Result<Option<usize>, StoreError> {
        Ok(match self.register.take_held(name) {
            Held::Many => {
                spool.retry_all().await?;
                None
            }
            // They are many, and the spool is asked about each.
            Held::These(ids) => Some(retry(spool, ids).await?),
        })
    }

    fn known(&self, name: &str) -> Result<&Lane, String> {
        self.lane(name).map(|lane| &**lane).ok_or_else(|| {
            let names: Vec<_> = self.lanes.iter().map(|(name, _)| name.as_str()).collect();
            format!("there is no route \"{name}\"; there are: {}", names.join(", "))
        })
    }
}

/// The most messages of a route that are looked for at a time.
const TOGETHER: usize = 1000;

/// Has every message of a route that was tried before tried at once; returns how many. It goes through the spool.
async fn retry_tried(name: &str, spool: &Arc<Spool>) -> Result<usize, StoreError> {
    let filter = Filter { route: Some(name.to_owned()), ..Filter::default() };
    let filter = filter.to_retry(Timestamp::now());
    let (mut stretch, mut pushed) = (Some(Stretch::default()), 0);
    while let Some(next) = stretch {
        let found = spool.find(filter.clone(), next, TOGETHER).await?;
        stretch = found.next;
        pushed += retry(spool, found.ids).await?;
    }
    Ok(pushed)
}

/// Has messages tried at once; returns how many. Those that are gone, or on their way already, need no push.
async fn retry(
    spool: &Arc<Spool>,
    ids: impl IntoIterator<Item = MessageId> + Send + 'static,
) -> Result<usize, StoreError> {
    let spool = Arc::clone(spool);
    let push = move || ids.into_iter().filter(|id| spool.retry(*id).is_ok()).count();
    spawn_blocking(push).await.map_err(|error| StoreError::Failed(error.to_string()))
}

fn unwritten(name: &str, error: &std::io::Error) -> String {
    format!("{name} stays as it was: {error}")
}
