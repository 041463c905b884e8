//! A spool on a simulated disk whose writer is led by a test instead of a thread, and what only a
//! test may look at.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::index::Turn;
use super::order::{Command, QUEUE};
use super::shared::Settings;
use super::simulated::Simulated;
use super::simulation::SETTINGS;
use super::writer::Committer;
use super::{Claim, Place, Spool, StoreError, recovered};
use crate::event::Event;
use crate::mail::message::MessageId;

/// The writer of a spool, without a thread.
#[derive(Debug)]
pub(crate) struct Hand {
    committer: Committer,
    commands: mpsc::Receiver<Command>,
    disk: Simulated,
}

impl Hand {
    /// Writes what is ordered, each time after a `pause` in which more may come, until the power is
    /// out or the spool is closed.
    pub(crate) async fn work(mut self, mut pause: impl FnMut() -> Duration) {
        loop {
            let mut orders = VecDeque::new();
            if !self.committer.has_chores() {
                match self.commands.recv().await {
                    Some(Command::Write(order)) => orders.push_back(order),
                    Some(Command::Look | Command::Compact(_)) | None => return,
                }
            }
            tokio::time::sleep(pause()).await;
            while let Ok(Command::Write(order)) = self.commands.try_recv() {
                orders.push_back(order);
            }
            self.committer.commit(orders);
            if !self.disk.has_power() {
                return;
            }
        }
    }
}

impl Spool {
    /// Opens the spool on `disk`, with small segments and the wall clock `clock`.
    pub(crate) fn unmanned(
        disk: &Simulated,
        clock: fn() -> Timestamp,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<(Self, Hand), StoreError> {
        let settings = Settings { clock, ..SETTINGS };
        let committer = recovered(Arc::new(disk.clone()), settings, report)?;
        let shared = Arc::clone(&committer.shared);
        let (orders, commands) = mpsc::channel(QUEUE);
        let hand = Hand { committer, commands, disk: disk.clone() };
        Ok((Self { shared, orders, writer: None }, hand))
    }

    /// Returns where every message stands, the oldest first.
    pub(crate) fn places(&self) -> Vec<(MessageId, Place)> {
        let index = self.shared.index();
        index.entries.iter().map(|(id, entry)| (*id, Place::of(entry.turn).0)).collect()
    }

    /// Returns a message of the same login that goes the same way, is due and is more urgent than one
    /// that was just claimed.
    pub(crate) fn passed_over(&self, claim: &Claim) -> Option<MessageId> {
        let now = self.shared.now();
        let index = self.shared.index();
        let own = index.entries.get(&claim.id())?.label;
        let is_before = |(_, entry): &(&MessageId, &super::index::Entry)| {
            matches!(entry.turn, Turn::Due(at) if at <= now)
                && (entry.label.owner, entry.label.way) == (own.owner, own.way)
                && entry.label.priority > own.priority
        };
        index.entries.iter().find(is_before).map(|(id, _)| *id)
    }
}
