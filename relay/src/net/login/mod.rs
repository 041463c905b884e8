//! Checks of what clients show, away from the threads that serve sessions.
//!
//! A check of a password costs milliseconds on purpose, so at most 64 wait for a worker; the next one
//! is told to come back. The files of users and of token keys are looked at for each login and read
//! again when they have changed.

mod live;
mod waiting;

use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use tokio::sync::oneshot;

use crate::config::OAuth;
use crate::event::Event;
use crate::journal::Journal;
use crate::net::conduct::Conduct;
use crate::net::tally::Cause;
use crate::policy::conduct::{FailedLogins, FailureLines, LeftOut};
use crate::policy::credential::{RecentLogins, StoredKeys, is_login};
use crate::session::{Credentials, Proof, Token, Tokens, Verdict, Wanted};
use crate::users::token::{TokenError, TokenKeys};
use crate::users::{Check, Store, UsersError};
use live::Live;

pub use waiting::Waiting;

/// Checks that wait for a worker at a time.
const QUEUE: usize = 64;
/// The most worker threads.
const WORKERS: usize = 4;
/// How often a worker that has nothing to do looks whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The one place where logins are checked. Clones share everything.
#[derive(Clone, Debug)]
pub struct Logins {
    shared: Arc<Shared>,
    queue: SyncSender<Job>,
}

#[derive(Debug)]
struct Shared {
    journal: Journal,
    conduct: Conduct,
    users: Live<Store>,
    tokens: Mutex<Option<Arc<Live<TokenKeys>>>>,
    failed: Mutex<FailedLogins>,
    lines: Mutex<FailureLines>,
    recent: Mutex<RecentLogins>,
}

/// Work for which there may be a wait.
#[derive(Debug)]
enum Job {
    Check { source: IpAddr, proof: Proof, answer: oneshot::Sender<Verdict> },
    Keys { wanted: Wanted, answer: oneshot::Sender<StoredKeys> },
}

impl Logins {
    /// Reads the file of users and starts the workers, which end with the last clone. A file that
    /// is not there yet holds no users. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What [`Store::load`] fails with, but for a missing file.
    pub fn start(path: &Path, journal: Journal, conduct: Conduct) -> Result<Self, UsersError> {
        let users = match Live::open(path, Store::load) {
            Err(problem @ UsersError::Missing(_)) => {
                let problem = format!("nobody can log in yet: {problem}");
                journal.write(Event::Trouble { room: "users", problem });
                Live::with(path, Arc::new(Store::empty()), Store::load)
            }
            users => users?,
        };
        let mut key = [0; 32];
        rand::fill(&mut key).expect("invariant: the operating system gives random numbers");
        let shared = Arc::new(Shared {
            journal,
            conduct,
            users,
            tokens: Mutex::default(),
            failed: Mutex::default(),
            lines: Mutex::default(),
            recent: Mutex::new(RecentLogins::new(&key)),
        });
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
        for _ in 0..workers {
            let (shared, jobs) = (Arc::clone(&shared), Arc::clone(&jobs));
            let thread = std::thread::Builder::new().name("login".to_owned());
            let started = thread.spawn(move || work(&shared, &jobs));
            started.map_err(|cause| UsersError::Io { path: path.to_owned(), cause })?;
        }
        Ok(Self { shared, queue })
    }

    /// Trusts the issuer of tokens that the configuration names from now on, or none. Blocks on the
    /// disk.
    ///
    /// # Errors
    ///
    /// Its keys cannot be read; whom it trusted before it still trusts.
    pub fn trust(&self, oauth: Option<&OAuth>) -> Result<(), TokenError> {
        let live = match oauth {
            None => None,
            Some(oauth) => {
                let oauth = oauth.clone();
                let keys = oauth.keys.clone();
                Some(Arc::new(Live::open(&keys, move |_| TokenKeys::load(&oauth))?))
            }
        };
        *lock(&self.shared.tokens) = live;
        Ok(())
    }

    /// Says which of the files of users and of token keys could not be read at the last login.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let tokens = lock(&self.shared.tokens).clone();
        let users = self.shared.users.problem().map(|words| format!("the users: {words}"));
        let keys = tokens.and_then(|keys| keys.problem());
        let keys = keys.map(|words| format!("the keys that [oauth] names: {words}"));
        users.into_iter().chain(keys).map(|words| format!("{words}; the old ones count")).collect()
    }

    /// Tells whether tokens can be checked.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        if lock(&self.shared.tokens).is_some() { Tokens::Checked } else { Tokens::Unknown }
    }

    /// Tells whether `login` has failed too often from this address; then [`Verdict::Later`] is about that.
    #[must_use]
    pub fn has_to_wait(&self, source: IpAddr, login: &str) -> bool {
        self.shared.must_wait(source, login)
    }

    /// Returns the keys of a login, false ones if it does not exist; none if the login has failed
    /// too often from this address, or the queue is full.
    pub async fn keys(&self, source: IpAddr, wanted: Wanted) -> Option<StoredKeys> {
        if self.shared.puts_off(source, &wanted.login) {
            return None;
        }
        if let Some(store) = self.shared.users.current() {
            return Some(store.keys(&wanted.login, wanted.hash));
        }
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Job::Keys { wanted, answer }).ok()?;
        answered.await.ok()
    }

    /// Checks what a client at `source` has shown. [`Verdict::Later`] if the queue is full, or if
    /// this login has failed too often from this address.
    pub async fn verify(&self, source: IpAddr, proof: Proof) -> Verdict {
        let shared = &self.shared;
        if let Proof::Password(shown) = &proof
            && shared.users.current().is_some()
            && let Some(verdict) = shared.known(source, shown, Instant::now())
        {
            return verdict;
        }
        let (answer, answered) = oneshot::channel();
        if self.queue.try_send(Job::Check { source, proof, answer }).is_err() {
            return Verdict::Later;
        }
        answered.await.unwrap_or(Verdict::Later)
    }
}

fn work(shared: &Shared, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = lock(jobs).recv_timeout(LOOK_EVERY);
        shared.tell_left_out(Instant::now());
        let job = match job {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                let left_out = std::mem::take(&mut *lock(&shared.lines)).left_out();
                return shared.tell_of(left_out);
            }
        };
        // The session may have ended meanwhile.
        match job {
            Job::Check { answer, .. } if answer.is_closed() => {}
            Job::Check { source, proof, answer } => {
                let _ = answer.send(shared.decide(source, proof));
            }
            Job::Keys { wanted, answer } => {
                let _ = answer.send(shared.store().keys(&wanted.login, wanted.hash));
            }
        }
    }
}

impl Shared {
    fn decide(&self, source: IpAddr, proof: Proof) -> Verdict {
        match proof {
            Proof::Password(shown) => self.decide_password(source, &shown),
            Proof::Keys { login, acts_as } => {
                let acts_as_itself = acts_as.is_none_or(|name| name == login);
                self.settle(source, &login, acts_as_itself.then_some(()).ok_or(Cause::OtherLogin))
            }
            Proof::NoKeys { login } => self.settle(source, &login, Err(Cause::WrongPassword)),
            Proof::Certificate { names, acts_as } => {
                let wanted = acts_as.as_deref().or(names.first().map(String::as_str));
                let login = wanted.unwrap_or_default();
                let granted = is_login(login) && names.iter().any(|name| name == login);
                self.settle(source, login, granted.then_some(()).ok_or(Cause::OtherLogin))
            }
            Proof::Token(token) => self.decide_token(source, &token),
        }
    }

    fn decide_password(&self, source: IpAddr, shown: &Credentials) -> Verdict {
        let store = self.store();
        if let Some(verdict) = self.known(source, shown, Instant::now()) {
            return verdict;
        }
        let check = store.check(&shown.login, &shown.password);
        let acts_as_itself = shown.acts_as.as_ref().is_none_or(|name| *name == shown.login);
        match check {
            Check::Right if acts_as_itself => {
                let mut recent = lock(&self.recent);
                // The list may have changed while this was checked by the old one.
                if self.users.current().is_some_and(|now| Arc::ptr_eq(&now, &store)) {
                    recent.remember(&shown.login, &shown.password, Instant::now());
                }
                drop(recent);
                self.succeeded(source, &shown.login)
            }
            Check::Right => self.failed(source, &shown.login, Cause::OtherLogin),
            Check::Wrong => self.failed(source, &shown.login, Cause::WrongPassword),
        }
    }

    fn decide_token(&self, source: IpAddr, token: &Token) -> Verdict {
        let claimed = token.claims.as_deref().unwrap_or_default();
        // Who claims no name waits by the name in the token, which nobody else can spend.
        if !claimed.is_empty() && self.puts_off(source, claimed) {
            return Verdict::Later;
        }
        let Some(live) = lock(&self.tokens).clone() else { return Verdict::Later };
        let (keys, problem) = live.read();
        self.tell("users", problem);
        match keys.check(&token.text) {
            Ok(login) if is_login(&login) && (claimed.is_empty() || claimed == login) => {
                self.settle(source, &login, Ok(()))
            }
            Ok(_) => self.failed(source, claimed, Cause::OtherLogin),
            Err(_) => self.failed(source, claimed, Cause::WrongToken),
        }
    }

    /// Grants or denies what is decided, unless the login has to wait.
    fn settle(&self, source: IpAddr, login: &str, granted: Result<(), Cause>) -> Verdict {
        if self.puts_off(source, login) {
            return Verdict::Later;
        }
        match granted {
            Ok(()) => self.succeeded(source, login),
            Err(cause) => self.failed(source, login, cause),
        }
    }

    fn must_wait(&self, source: IpAddr, login: &str) -> bool {
        lock(&self.failed).check(source, bounded(login), Instant::now()).is_err()
    }

    /// Tells whether a try has to wait, and counts it for the gate if so: who guesses is put off and goes on.
    fn puts_off(&self, source: IpAddr, login: &str) -> bool {
        let waits = self.must_wait(source, login);
        if waits {
            self.conduct.tallies().failed(source, bounded(login), Cause::PutOff);
        }
        waits
    }

    /// Notes that `login` proved who it is.
    fn succeeded(&self, source: IpAddr, login: &str) -> Verdict {
        lock(&self.failed).succeeded(source, login);
        self.conduct.succeeded(source);
        Verdict::Granted(login.to_owned())
    }

    /// Notes that `login` did not, by whatever mechanism. Who asked is not told why.
    fn failed(&self, source: IpAddr, login: &str, cause: Cause) -> Verdict {
        let login = bounded(login);
        let is_known = self.store().knows(login);
        let cause = match cause {
            Cause::WrongPassword if !is_known => Cause::UnknownLogin,
            Cause::WrongPassword
            | Cause::UnknownLogin
            | Cause::OtherLogin
            | Cause::WrongToken
            | Cause::PutOff => cause,
        };
        self.conduct.tallies().failed(source, login, cause);
        self.conduct.failed(source, login);
        let now = Instant::now();
        self.tell_left_out(now);
        let counted = lock(&self.failed).failed(source, login, now);
        if let Some(failures) = counted
            && lock(&self.lines).has_line(source, failures, now)
        {
            let (login, cause) = (login.to_owned(), cause.name());
            self.journal.write(Event::LoginFailed { source, login, cause, failures });
        }
        Verdict::Denied
    }

    /// Tells what had no line in the last minute.
    fn tell_left_out(&self, now: Instant) {
        let left_out = lock(&self.lines).over(now);
        self.tell_of(left_out);
    }

    fn tell_of(&self, left_out: Option<LeftOut>) {
        if let Some(LeftOut { logins, failures, last: source }) = left_out {
            self.journal.write(Event::LoginFailedMore { logins, failures, source });
        }
    }

    /// Returns the verdict if it needs no work: the pair has to wait, or it has just succeeded.
    fn known(&self, source: IpAddr, shown: &Credentials, now: Instant) -> Option<Verdict> {
        if self.puts_off(source, &shown.login) {
            return Some(Verdict::Later);
        }
        let acts_as_itself = shown.acts_as.as_ref().is_none_or(|name| *name == shown.login);
        let knows = acts_as_itself
            && is_login(&shown.login)
            && lock(&self.recent).knows(&shown.login, &shown.password, now);
        knows.then(|| self.succeeded(source, &shown.login))
    }

    /// Returns the list of users in force, read again if its file has changed. A file that cannot be
    /// read, or is gone for the moment in which somebody writes it anew, leaves the old list in force.
    fn store(&self) -> Arc<Store> {
        if let Some(store) = self.users.current() {
            return store;
        }
        // Held over both: nobody is to find an old password beside the new list.
        let mut recent = lock(&self.recent);
        let (store, problem) = self.users.read();
        recent.clear();
        drop(recent);
        self.tell("users", problem);
        store
    }

    /// Writes down that a file cannot be read; once for each change of it.
    fn tell(&self, room: &'static str, problem: Option<String>) {
        if let Some(problem) = problem {
            let problem = format!("what was read before stays in force: {problem}");
            self.journal.write(Event::Trouble { room, problem });
        }
    }
}

/// Names that no login can have share one place in the memory of failures, and no log shows them.
fn bounded(login: &str) -> &str {
    if is_login(login) { login } else { "" }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
