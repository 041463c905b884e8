//! A wire of the world: octets are cut anywhere.

use std::rc::Rc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout_at;

use super::clock;
use super::life::Life;
use crate::delivery::action::Action;
use crate::delivery::attempt::Attempt;
use crate::net::conversation::{Conversation, Wire};
use crate::net::memory::{Budget, CARRIED};

pub(super) use crate::net::conversation::{Carried, Ended, Left};

/// A connection to a next hop that has said hello and waits for a message.
pub(super) type Connection = Conversation<Line>;

/// The stream to a next hop.
pub(super) struct Line {
    pub(super) life: Rc<Life>,
    pub(super) stream: DuplexStream,
}

impl Wire for Line {
    fn instant(&self) -> Instant {
        clock::instant()
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn piece(&self) -> usize {
        1 + self.life.world.below(400)
    }

    fn memory(&self) -> &'static Budget {
        &CARRIED
    }

    /// All is sent before the next action is asked for.
    fn is_busy(&self) -> bool {
        false
    }

    async fn obey(&mut self, attempt: &mut Attempt, action: Action) {
        match action {
            Action::Send(octets) => self.send(attempt, &octets).await,
            Action::SendSecret(_) | Action::Derive(_) | Action::Secure => {
                attempt.lost("this world has no secrets");
            }
            Action::Ready
            | Action::MakeRoom(_)
            | Action::ReadBody
            | Action::GoOn
            | Action::Convert(_)
            | Action::Settle(_)
            | Action::Close(_) => {}
        }
    }

    async fn exchange(&mut self, attempt: &mut Attempt) {
        let mut octets = [0; 512];
        let room = 1 + self.life.world.below(octets.len());
        let deadline = attempt.deadline();
        let read = self.stream.read(&mut octets[..room]);
        match timeout_at(deadline.into(), read).await {
            Err(_) => attempt.expire(clock::instant()),
            Ok(Ok(0) | Err(_)) => attempt.lost("the next hop closed the connection"),
            Ok(Ok(count)) => attempt.receive(&octets[..count], clock::instant()),
        }
    }

    /// The stream goes with the wire.
    fn close(&mut self) {}
}

impl Line {
    /// Sends octets, and reads meanwhile: a next hop may answer before it has heard all.
    async fn send(&mut self, attempt: &mut Attempt, mut octets: &[u8]) {
        self.life.powered().await;
        while !octets.is_empty() && !attempt.is_over() {
            let mut answer = [0; 512];
            let (mut reading, mut writing) = tokio::io::split(&mut self.stream);
            let moving = async {
                tokio::select! {
                    biased;
                    written = writing.write(octets) => written.map(Ok),
                    read = reading.read(&mut answer) => read.map(Err),
                }
            };
            let deadline = attempt.deadline();
            match timeout_at(deadline.into(), moving).await {
                Err(_) => attempt.expire(clock::instant()),
                Ok(Ok(Ok(count))) => octets = &octets[count..],
                Ok(Ok(Err(count))) if count > 0 => {
                    attempt.receive(&answer[..count], clock::instant());
                }
                // What the next hop said before it closed may still be there to read.
                Ok(Err(_) | Ok(Err(_))) => return,
            }
        }
        attempt.sent(clock::instant());
    }
}
