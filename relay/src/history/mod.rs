//! The life of each message, kept for `sallyport trace`: who sent what to whom over which connection, every
//! attempt and what the next hops said, what operators did.
//!
//! ```text
//! fact    what can happen            day      which days are kept
//! keeper  the writer                 files    one file a day
//! search  the lines of one message
//! ```
//!
//! The lines are JSON, appended to one file a day that only the relay's user and root can read. They are no
//! promise: nothing is flushed, nobody waits for them, and what finds no room is counted and told in the next
//! line. Not here: what the journal says (`journal`), and what the spool knows (`spool`).

mod day;
mod fact;
mod files;
mod keeper;
mod search;

use std::fmt;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config;
use crate::event::Event;
use crate::mail::message::MessageId;

pub use fact::{Act, Became, Ended, Fact, Line, Told, told};
pub use search::{Cursor, Found, search};

use files::Files;
use keeper::Keeper;

/// Where facts go. Clones enter into the same one; the last one that is dropped writes what waits.
#[derive(Clone, Debug, Default)]
pub struct History {
    keeper: Option<Arc<Keeper>>,
    ear: Option<Ear>,
}

/// Something that hears every line.
#[derive(Clone)]
struct Ear(Arc<dyn Fn(&Line) + Send + Sync>);

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ear")
    }
}

impl History {
    /// Returns a history that keeps nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self { keeper: None, ear: None }
    }

    /// Opens the history of the configuration; one that keeps nothing if that says so.
    ///
    /// `report` is told why lines cannot be written, once for each reason.
    ///
    /// # Errors
    ///
    /// If the folder or the file of today cannot be opened.
    pub fn open(
        config: &config::History,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        if config.keep.is_zero() {
            return Ok(Self::off());
        }
        let keeper = Keeper::start(Files::open(config.clone())?, report)?;
        Ok(Self { keeper: Some(Arc::new(keeper)), ear: None })
    }

    /// Has every fact heard by `hear`, also where none is kept. Whoever enters one waits for it, so it must not
    /// block.
    #[must_use]
    pub fn heard_by(self, hear: impl Fn(&Line) + Send + Sync + 'static) -> Self {
        Self { ear: Some(Ear(Arc::new(hear))), ..self }
    }

    /// Tells whether facts are kept or heard: without that nobody need gather them.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.keeper.is_some() || self.ear.is_some()
    }

    /// Enters a fact about a message. It never waits for the disk.
    pub fn enter(&self, id: MessageId, fact: Fact) {
        let line = Line { id: Some(id), at: Timestamp::now(), fact };
        if let Some(Ear(hear)) = &self.ear {
            hear(&line);
        }
        if let Some(keeper) = &self.keeper {
            keeper.enter(&line);
        }
    }

    /// Looks for the lines of a message: one slice, from `from` on. None if nothing is kept.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub async fn search(&self, id: MessageId, from: Option<Cursor>) -> Option<io::Result<Found>> {
        let keeper = self.keeper.clone()?;
        let look = move || search(&keeper.settle(), id, from);
        Some(
            tokio::task::spawn_blocking(look)
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error))),
        )
    }
}

#[cfg(test)]
mod tests;
