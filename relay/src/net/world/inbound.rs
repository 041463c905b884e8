//! The loop around one [`Session`], reduced to what `net::inbound` does: no sockets, and a handshake
//! that is a moment in which nothing is said.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::clock;
use super::life::Life;
use crate::delivery;
use crate::mail::fingerprint::Fingerprint;
use crate::net::way::way_of;
use crate::session::{
    Action, Ahead, Channel, Facts, Proof, Room, Session, StoreFailure, TlsStart, Tokens, Verdict,
    Xclient,
};
use crate::spool::{Draft, StoreError};

/// The least time that a write is given.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The logins of the clients, in turn.
pub(super) const LOGINS: [&str; 2] = ["app", "web"];

pub(super) struct Connection {
    life: Rc<Life>,
    stream: DuplexStream,
    session: Session,
    login: Option<String>,
    draft: Option<Draft>,
    out: String,
    /// Read to see whether the client sends ahead.
    early: Vec<u8>,
}

/// The connection is of no use any more.
struct Ended;

impl Connection {
    pub(super) fn new(life: Rc<Life>, stream: DuplexStream) -> Self {
        let source = "192.0.2.1".parse().unwrap();
        let facts = Facts {
            config: life.world.config.clone(),
            rates: life.rates.clone(),
            source,
            peer: source,
            tag: None,
            tls: TlsStart::Starttls,
            xclient: Xclient::Refused,
            extensions: delivery::KEPT,
            tokens: Tokens::Unknown,
            connected_at: clock::now(),
            greet_after: Duration::ZERO,
        };
        let session = Session::new(facts, clock::instant());
        Self {
            life,
            stream,
            session,
            login: None,
            draft: None,
            out: String::new(),
            early: Vec::new(),
        }
    }

    /// Serves the client to the end.
    pub(super) async fn run(mut self) {
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        loop {
            while let Some(action) = self.session.next_action() {
                self.perform(action).await?;
            }
            self.flush().await?;
            let deadline = self.session.deadline();
            if !self.session.wants_input() {
                sleep_until(deadline.into()).await;
                self.session.expire(clock::instant());
                continue;
            }
            if !self.early.is_empty() {
                let early = std::mem::take(&mut self.early);
                self.session.set_room(self.room());
                self.session.receive(&early, clock::instant());
                continue;
            }
            let mut octets = [0; 700];
            let room = 1 + self.life.world.below(octets.len());
            let read = self.stream.read(&mut octets[..room]);
            match timeout_at(deadline.into(), read).await {
                Ok(Ok(0) | Err(_)) => return Err(Ended),
                Ok(Ok(count)) => {
                    self.session.set_room(self.room());
                    self.session.receive(&octets[..count], clock::instant());
                }
                Err(_) => self.session.expire(clock::instant()),
            }
        }
    }

    async fn perform(&mut self, action: Action) -> Result<(), Ended> {
        match action {
            Action::Send(text) => self.out.push_str(&text),
            Action::Close => {
                self.flush().await?;
                return Err(Ended);
            }
            Action::Secure => {
                self.flush().await?;
                sleep(self.life.world.pause(500)).await;
                self.session.secured(Channel::default(), clock::instant());
            }
            Action::Verify(proof) => {
                let Proof::Password(shown) = proof else { panic!("a client logs in by PLAIN") };
                self.login = Some(shown.login.clone());
                self.session.set_room(self.room());
                self.session.verified(Verdict::Granted(shown.login), clock::instant());
            }
            Action::Begin(envelope) => {
                let way = way_of(&self.life.world.config, &envelope);
                match self.life.spool.draft(envelope).map(|draft| draft.toward(way)) {
                    Ok(draft) => {
                        self.session.begun(draft.id(), clock::instant());
                        self.draft = Some(draft);
                    }
                    Err(error) => self.session.refused(failure(&error), clock::instant()),
                }
            }
            Action::Amend(envelope) => {
                if let Some(draft) = &mut self.draft {
                    draft.amend(&envelope);
                }
            }
            Action::Append(octets) => self.append(&octets).await,
            Action::Commit(fingerprint) => self.commit(fingerprint).await?,
            Action::Confirmed(id) => self.life.spool.confirm(id),
            Action::Abandon => self.draft = None,
            Action::Source(_) | Action::Lookup(_) | Action::Report(_) | Action::Offended(_) => {}
        }
        Ok(())
    }

    async fn append(&mut self, octets: &[u8]) {
        let Some(mut draft) = self.draft.take() else { return };
        let deadline = self.session.deadline();
        match timeout_at(deadline.into(), draft.append(octets)).await {
            Ok(()) => self.draft = Some(draft),
            Err(_) => self.session.expire(clock::instant()),
        }
    }

    async fn commit(&mut self, fingerprint: Fingerprint) -> Result<(), Ended> {
        self.flush().await?;
        let deadline = self.session.deadline();
        let result = match self.draft.take() {
            None => Err(StoreError::Closed),
            Some(draft) => {
                let Ok(result) = timeout_at(deadline.into(), draft.commit_once(fingerprint)).await
                else {
                    self.session.expire(clock::instant());
                    return Ok(());
                };
                result
            }
        };
        let ahead = if self.has_unread() { Ahead::Something } else { Ahead::Nothing };
        self.session.set_ahead(ahead);
        match result {
            Ok(id) => self.session.stored(Ok(id), clock::instant()),
            Err(StoreError::Repeat(first)) => self.session.repeated(first, clock::instant()),
            Err(error) => self.session.stored(Err(failure(&error)), clock::instant()),
        }
        Ok(())
    }

    /// Tells whether the client has sent something that nobody has read.
    fn has_unread(&mut self) -> bool {
        let (mut octets, mut context) = ([0; 64], Context::from_waker(Waker::noop()));
        let mut buffer = ReadBuf::new(&mut octets);
        if Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_ready() {
            self.early.extend_from_slice(buffer.filled());
        }
        !self.early.is_empty()
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.life.powered().await;
        let patience = self.session.deadline().max(clock::instant() + LAST_WORDS);
        match timeout_at(patience.into(), self.stream.write_all(out.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended),
        }
    }

    fn room(&self) -> Room {
        match self.life.spool.has_room_for(self.login.as_deref()) {
            Ok(()) => Room::Enough,
            Err(StoreError::ShareUsed) => Room::ShareUsed,
            Err(_) => Room::Short,
        }
    }
}

fn failure(error: &StoreError) -> StoreFailure {
    if matches!(error, StoreError::Full | StoreError::ShareUsed) {
        StoreFailure::Full
    } else {
        StoreFailure::Failed
    }
}
