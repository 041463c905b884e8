//! Checks of credentials, away from the threads that serve sessions.
//!
//! A check costs milliseconds on purpose, so at most 64 wait for a worker; the next one is told to
//! come back. The file of users is looked at for each login and read again when it has changed.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::rand;
use tokio::sync::oneshot;

use crate::event::Event;
use crate::journal::Journal;
use crate::policy::conduct::FailedLogins;
use crate::policy::credential::{RecentLogins, is_login};
use crate::session::{Credentials, Verdict};
use crate::users::{Check, Store, UsersError};

/// Checks that wait for a worker at a time.
const QUEUE: usize = 64;
/// The most worker threads.
const WORKERS: usize = 4;

/// The one place where passwords are checked. Clones share everything.
#[derive(Clone, Debug)]
pub struct Logins {
    shared: Arc<Shared>,
    queue: SyncSender<Job>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    journal: Journal,
    live: Mutex<Live>,
    failed: Mutex<FailedLogins>,
    recent: Mutex<RecentLogins>,
}

/// The list of users that is in force.
#[derive(Debug)]
struct Live {
    store: Arc<Store>,
    stamp: Option<Stamp>,
}

/// What changes when a file is replaced: inode, size, seconds and nanoseconds of its change.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug)]
struct Job {
    source: IpAddr,
    shown: Credentials,
    answer: oneshot::Sender<Verdict>,
}

impl Logins {
    /// Reads the file of users and starts the workers, which end with the last clone. A file that
    /// is not there yet holds no users. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What [`Store::load`] fails with, but for a missing file.
    pub fn start(path: &Path, journal: Journal) -> Result<Self, UsersError> {
        let stamp = stamp(path);
        let store = match Store::load(path) {
            Err(UsersError::Missing(_)) => Store::empty(),
            read => read?,
        };
        let mut key = [0; 32];
        rand::fill(&mut key).expect("invariant: the operating system gives random numbers");
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            journal,
            live: Mutex::new(Live { store: Arc::new(store), stamp }),
            failed: Mutex::default(),
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

    /// Checks what a client at `source` has shown. [`Verdict::Later`] if the queue is full, or if
    /// this login has failed too often from this address.
    pub async fn verify(&self, source: IpAddr, shown: Credentials) -> Verdict {
        if self.shared.is_unchanged()
            && let Some(verdict) = self.shared.known(source, &shown, Instant::now())
        {
            return verdict;
        }
        let (answer, answered) = oneshot::channel();
        if self.queue.try_send(Job { source, shown, answer }).is_err() {
            return Verdict::Later;
        }
        answered.await.unwrap_or(Verdict::Later)
    }
}

fn work(shared: &Shared, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let Ok(job) = lock(jobs).recv() else { return };
        if job.answer.is_closed() {
            continue;
        }
        let verdict = shared.decide(job.source, &job.shown);
        // The session may have ended meanwhile.
        let _ = job.answer.send(verdict);
    }
}

impl Shared {
    fn decide(&self, source: IpAddr, shown: &Credentials) -> Verdict {
        let store = self.store();
        if let Some(verdict) = self.known(source, shown, Instant::now()) {
            return verdict;
        }
        let check = store.check(&shown.login, &shown.password);
        let acts_as_itself = shown.acts_as.as_ref().is_none_or(|name| *name == shown.login);
        match check {
            Check::Right if acts_as_itself => {
                lock(&self.recent).remember(&shown.login, &shown.password, Instant::now());
                self.succeeded(source, &shown.login)
            }
            Check::Right | Check::Wrong => self.failed(source, &shown.login),
        }
    }

    /// Notes that `login` proved who it is.
    fn succeeded(&self, source: IpAddr, login: &str) -> Verdict {
        lock(&self.failed).succeeded(source, login);
        Verdict::Granted(login.to_owned())
    }

    /// Notes that `login` did not, by whatever mechanism.
    fn failed(&self, source: IpAddr, login: &str) -> Verdict {
        let login = bounded(login);
        if let Some(failures) = lock(&self.failed).failed(source, login, Instant::now()) {
            let login = login.to_owned();
            self.journal.write(Event::LoginFailed { source, login, failures });
        }
        Verdict::Denied
    }

    /// Returns the verdict if it needs no work: the pair has to wait, or it has just succeeded.
    fn known(&self, source: IpAddr, shown: &Credentials, now: Instant) -> Option<Verdict> {
        if lock(&self.failed).check(source, bounded(&shown.login), now).is_err() {
            return Some(Verdict::Later);
        }
        let acts_as_itself = shown.acts_as.as_ref().is_none_or(|name| *name == shown.login);
        let knows = acts_as_itself
            && is_login(&shown.login)
            && lock(&self.recent).knows(&shown.login, &shown.password, now);
        knows.then(|| Verdict::Granted(shown.login.clone()))
    }

    fn is_unchanged(&self) -> bool {
        lock(&self.live).stamp == stamp(&self.path)
    }

    /// Returns the list in force, read again if its file has changed. A file that cannot be read
    /// leaves the old list in force, and that is said once for each change. A file that is gone
    /// leaves nobody.
    fn store(&self) -> Arc<Store> {
        let mut live = lock(&self.live);
        let stamp = stamp(&self.path);
        if live.stamp != stamp {
            live.stamp = stamp;
            match Store::load(&self.path) {
                Ok(store) => live.store = Arc::new(store),
                Err(UsersError::Missing(_)) => live.store = Arc::new(Store::empty()),
                Err(problem) => self.journal.write(Event::Trouble {
                    room: "users",
                    problem: format!("the old list stays in force: {problem}"),
                }),
            }
            lock(&self.recent).clear();
        }
        Arc::clone(&live.store)
    }
}

/// Names that no login can have share one place in the memory of failures, and no log shows them.
fn bounded(login: &str) -> &str {
    if is_login(login) { login } else { "" }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::users::{self, Password};

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn shown(login: &str, password: &str) -> Credentials {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        Credentials { login: login.to_owned(), password, acts_as: None }
    }

    #[tokio::test]
    async fn logins_are_granted_as_the_file_says_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let logins = Logins::start(&path, Journal::memory()).unwrap();
        assert_eq!(logins.verify(SOURCE, shown("app", "x")).await, Verdict::Denied);
        let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
        let app = || shown("app", &password);
        let granted = Verdict::Granted("app".to_owned());
        assert_eq!(logins.verify(SOURCE, app()).await, granted);
        assert_eq!(logins.verify(SOURCE, app()).await, granted, "from memory");
        let as_other = Credentials { acts_as: Some("web".to_owned()), ..app() };
        assert_eq!(logins.verify(SOURCE, as_other).await, Verdict::Denied);
        users::remove(&path, "app").unwrap();
        assert_eq!(logins.verify(SOURCE, app()).await, Verdict::Denied, "the memory is dropped");
    }

    #[tokio::test]
    async fn five_failures_make_the_pair_wait_and_are_logged_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
        let journal = Journal::memory();
        let logins = Logins::start(&path, journal.clone()).unwrap();
        for _ in 0..5 {
            assert_eq!(logins.verify(SOURCE, shown("app", "wrong")).await, Verdict::Denied);
        }
        assert_eq!(logins.verify(SOURCE, shown("app", &password)).await, Verdict::Later);
        let other = "192.0.2.2".parse().unwrap();
        let granted = Verdict::Granted("app".to_owned());
        assert_eq!(logins.verify(other, shown("app", &password)).await, granted);
        let login = "app".to_owned();
        assert_eq!(journal.take(), [Event::LoginFailed { source: SOURCE, login, failures: 5 }]);
    }
}
