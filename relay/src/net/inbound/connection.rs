//! One client's loop: wait, tell the session, do what it says.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use super::Door;
use super::stream::{Octets, Stream};
use super::tale::Tale;
use crate::config::ClientCertificates;
use crate::event::Event;
use crate::mail::envelope::Envelope;
use crate::mail::fingerprint::Fingerprint;
use crate::meter::Meter;
use crate::net::sessions::{Place, Signal};
use crate::net::way::way_of;
use crate::policy::permit::{Client, Permit};
use crate::session::{Action, Ahead, Proof, Room, Session, StoreFailure, Verdict, Wanted};
use crate::spool::{Draft, StoreError};

/// Replies are held back up to this many octets while there is input to work on.
const HELD_BACK: usize = 16 << 10;
/// The least time that a write is given, also when the session is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) struct Connection<'a> {
    stream: Stream,
    session: Session,
    place: Place,
    signal: watch::Receiver<Signal>,
    certificates: ClientCertificates,
    door: &'a Door,
    draft: Option<Draft>,
    tale: Tale,
    out: String,
}

/// What came first.
enum Came<T> {
    /// What was waited for.
    Done(T),
    /// Word that the process ends; the session has been told.
    Leaving,
    /// Something that ended the wait; the session has been told.
    Broken,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        socket: TcpStream,
        session: Session,
        place: Place,
        certificates: ClientCertificates,
        door: &'a Door,
        tale: Tale,
    ) -> Self {
        let (stream, signal) = (Stream::Clear(socket), place.signal());
        let (draft, out) = (None, String::new());
        Self { stream, session, place, signal, certificates, door, draft, tale, out }
    }

    /// Serves the client to the end. What a session does now and then is boxed while it does it: an
    /// idle one holds no room for that.
    pub(super) async fn run(mut self: Box<Self>) -> io::Result<()> {
        if self.session.is_unheard() && self.stream.early_octets() > 0 {
            self.session.receive(b"\r\n", Instant::now());
        }
        loop {
            while let Some(action) = self.session.next_action() {
                match action {
                    Action::Close => {
                        self.flush().await?;
                        Box::pin(self.stream.close()).await;
                        return Ok(());
                    }
                    Action::Send(text) => {
                        self.meter().replies.count(&[text.get(..3).unwrap_or_default()]);
                        self.out.push_str(&text);
                        if self.out.len() > HELD_BACK {
                            self.flush().await?;
                        }
                    }
                    Action::Confirmed(id) => self.door.spool.confirm(id),
                    action => Box::pin(self.perform(action)).await?,
                }
            }
            self.flush().await?;
            match self.input().await {
                Came::Done(Ok(octets)) if octets.is_empty() => {
                    Box::pin(self.stream.close()).await;
                    return Ok(());
                }
                Came::Done(Ok(octets)) => {
                    self.session.set_room(self.room());
                    self.session.receive(&octets, Instant::now());
                    if self.session.is_behind() {
                        self.session.set_ahead(self.ahead());
                    }
                }
                Came::Done(Err(problem)) => return Err(problem),
                Came::Leaving | Came::Broken => {}
            }
        }
    }

    async fn perform(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::Secure => self.secure().await?,
            Action::Source(source) => {
                if self.place.move_to(source).is_err() {
                    self.session.crowded(Instant::now());
                }
            }
            Action::Lookup(wanted) => self.lookup(wanted).await?,
            Action::Verify(proof) => self.verify(proof).await?,
            Action::Begin(envelope) => self.begin(envelope),
            Action::Amend(envelope) => {
                let envelope = self.tale.amended(envelope);
                if let Some(draft) = &mut self.draft {
                    draft.amend(&envelope);
                }
            }
            Action::Append(octets) => self.append(&octets).await,
            Action::Commit(fingerprint) => self.commit(fingerprint).await?,
            Action::Abandon => self.draft = None,
            Action::Report(event) => {
                self.time(&event);
                self.tale.heard(&event);
                self.door.journal.write(event);
            }
            Action::Offended(offence) => {
                self.meter().offences.count(&[offence.words()]);
                self.door.conduct.offended(self.place.source(), offence);
            }
            Action::Send(_) | Action::Confirmed(_) | Action::Close => {}
        }
        Ok(())
    }

    async fn secure(&mut self) -> io::Result<()> {
        self.flush().await?;
        let Some(config) = self.door.tls.as_ref().and_then(|tls| tls.current(self.certificates))
        else {
            self.stream = Stream::Gone;
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut stream = std::mem::replace(&mut self.stream, Stream::Gone);
        let handshake = self.meanwhile(stream.secure(config)).await;
        self.stream = stream;
        if !matches!(handshake, Came::Done(Ok(_))) {
            self.meter().handshakes_failed.count();
        }
        if let Came::Done(made) = handshake {
            let channel = made?;
            let version = channel.description.split(',').next().unwrap_or_default();
            self.meter().handshakes.count(&[version]);
            self.tale.secured(&channel);
            self.session.secured(channel, Instant::now());
        }
        Ok(())
    }

    async fn lookup(&mut self, wanted: Wanted) -> io::Result<()> {
        self.flush().await?;
        let (door, source) = (self.door, self.place.source());
        if let Came::Done(keys) = self.meanwhile(door.logins.keys(source, wanted)).await {
            self.session.keys_found(keys, Instant::now());
        }
        Ok(())
    }

    async fn verify(&mut self, proof: Proof) -> io::Result<()> {
        self.flush().await?;
        let (door, source) = (self.door, self.place.source());
        if let Came::Done(verdict) = self.meanwhile(door.logins.verify(source, proof)).await {
            let verdict = self.seated(verdict);
            let mechanism = self.session.mechanism().unwrap_or_default();
            self.meter().logins.count(&[mechanism, verdict.word()]);
            if matches!(verdict, Verdict::Granted(_)) {
                self.tale.logged_in(self.session.mechanism());
            }
            // What follows in the same piece is the login's already.
            self.session.set_room(self.room());
            self.session.verified(verdict, Instant::now());
        }
        Ok(())
    }

    /// Takes a place among the sessions of a login that was granted.
    fn seated(&mut self, verdict: Verdict) -> Verdict {
        let Verdict::Granted(login) = verdict else { return verdict };
        let client = Client { login: Some(&login), tag: None };
        let most = Permit::of(&self.door.config, client).sessions_of_login();
        match self.place.log_in(&login, most) {
            Ok(()) => Verdict::Granted(login),
            Err(_) => Verdict::Crowded,
        }
    }

    fn begin(&mut self, envelope: Envelope) {
        let envelope = self.tale.begun(envelope);
        let way = way_of(&self.door.config, &envelope);
        match self.door.spool.draft(envelope).map(|draft| draft.toward(way)) {
            Ok(draft) => {
                self.session.begun(draft.id(), Instant::now());
                self.draft = Some(draft);
            }
            Err(error) => self.session.refused(failure(&error), Instant::now()),
        }
    }

    async fn append(&mut self, octets: &[u8]) {
        let Some(mut draft) = self.draft.take() else { return };
        self.tale.appended(octets);
        if let Came::Done(()) = self.meanwhile(draft.append(octets)).await {
            self.draft = Some(draft);
        }
    }

    /// If the wait is broken the client is told nothing, and asks again: it is then told the id that
    /// the message has.
    async fn commit(&mut self, fingerprint: Fingerprint) -> io::Result<()> {
        self.flush().await?;
        let result = match self.draft.take() {
            None => Err(StoreError::Closed),
            Some(draft) => match self.meanwhile(draft.commit_once(fingerprint)).await {
                Came::Done(result) => result,
                Came::Leaving | Came::Broken => return Ok(()),
            },
        };
        self.session.set_ahead(self.ahead());
        match result {
            Ok(id) => self.session.stored(Ok(id), Instant::now()),
            Err(StoreError::Repeat(first)) => self.session.repeated(first, Instant::now()),
            Err(error) => self.session.stored(Err(failure(&error)), Instant::now()),
        }
        Ok(())
    }

    fn meter(&self) -> &Meter {
        self.door.journal.meter()
    }

    /// Counts how long a client waited, if the event says that its message was accepted.
    fn time(&self, event: &Event) {
        if let (Event::Accepted { .. }, Some(began)) = (event, self.session.mail_at()) {
            self.meter().accepting.observe(began.elapsed());
        }
    }

    fn ahead(&self) -> Ahead {
        if self.stream.has_unread() { Ahead::Something } else { Ahead::Nothing }
    }

    /// Waits for octets from the client.
    async fn input(&mut self) -> Came<io::Result<Octets>> {
        let wants = self.session.wants_input();
        let mut stream = std::mem::replace(&mut self.stream, Stream::Gone);
        let came = self
            .until_broken(async {
                if wants { stream.read().await } else { std::future::pending().await }
            })
            .await;
        self.stream = stream;
        came
    }

    /// Waits for `work`, telling the session of a signal, and not more than until its deadline.
    /// Unlike [`Self::input`] it goes on when the process is about to end.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Came<T> {
        let mut work = pin!(work);
        loop {
            // The word may have come before the wait began: it is heard once, whenever that was.
            match self.until_broken(work.as_mut()).await {
                Came::Leaving if !self.session.is_over() => {}
                came => return came,
            }
        }
    }

    /// Waits for `work`, a signal or the deadline, whichever comes first.
    async fn until_broken<T>(&mut self, work: impl Future<Output = T>) -> Came<T> {
        let deadline = self.session.deadline();
        tokio::select! {
            biased;
            changed = self.signal.changed() => {
                let signal = if changed.is_ok() { *self.signal.borrow() } else { Signal::Cut };
                match signal {
                    Signal::Serve => Came::Broken,
                    Signal::Leave => {
                        self.session.shutdown(Instant::now());
                        Came::Leaving
                    }
                    Signal::Cut => {
                        self.session.cut(Instant::now());
                        Came::Broken
                    }
                }
            }
            done = work => Came::Done(done),
            () = sleep_until(deadline.into()) => {
                self.session.expire(Instant::now());
                Came::Broken
            }
        }
    }

    /// Sends what is held back. A client that does not read is waited for until the session's
    /// deadline, or until it is cut; meanwhile nothing of it is read.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let patience = self.session.deadline().max(Instant::now() + LAST_WORDS);
        let was_cut = *self.signal.borrow() == Signal::Cut;
        let mut signal = self.signal.clone();
        tokio::select! {
            written = timeout_at(patience.into(), self.stream.write_all(out.as_bytes())) => {
                written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            }
            _ = signal.wait_for(|signal| *signal == Signal::Cut), if !was_cut => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    fn room(&self) -> Room {
        match self.door.spool.has_room_for(self.place.login()) {
            Ok(()) => Room::Enough,
            Err(StoreError::ShareUsed) => Room::ShareUsed,
            Err(_) => Room::Short,
        }
    }
}

fn failure(error: &StoreError) -> StoreFailure {
    match error {
        StoreError::Full | StoreError::ShareUsed => StoreFailure::Full,
        StoreError::Failed(_)
        | StoreError::Repeat(_)
        | StoreError::Damaged(_)
        | StoreError::Gone
        | StoreError::Claimed
        | StoreError::TooLarge
        | StoreError::Newer { .. }
        | StoreError::Locked
        | StoreError::Held
        | StoreError::Captured
        | StoreError::Closed => StoreFailure::Failed,
    }
}
