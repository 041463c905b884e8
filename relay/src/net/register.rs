//! What outlives a configuration and its lanes: which routes an operator suspended, on disk; which
//! messages wait for a route to be resumed or are on their way, and what issuers of tokens gave, in memory.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::recall::Recalls;
use super::route_login::Issuers;
use crate::mail::message::MessageId;

/// The name of the file in the folder of the spool.
const FILE: &str = "suspended-routes.json";

/// The longest file that is read, octets.
const FILE_MAX: u64 = 1 << 20;

/// The most suspensions; the names of routes that are gone from the configuration count too.
const SUSPENSIONS_MAX: usize = 1000;

/// The most messages that are remembered for a route. Where there are more, all messages of the
/// spool are tried when the route is resumed.
const HELD_MAX: usize = 100_000;

/// A route that an operator suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Its name.
    pub route: String,
    /// Why, in the operator's words.
    pub note: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The operator.
    pub uid: u32,
}

/// Messages that wait for a route to be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// These.
    These(BTreeSet<MessageId>),
    /// More than are remembered.
    Many,
}

/// Suspensions and what waits for their end.
#[derive(Debug, Default)]
pub struct Register {
    /// None: nothing is kept.
    file: Option<PathBuf>,
    suspensions: Mutex<Vec<Suspension>>,
    held: Mutex<HashMap<String, Held>>,
    issuers: Issuers,
    recalls: Arc<Recalls>,
}

impl Default for Held {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Register {
    /// Reads the register in the folder of the spool.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be read: mail would leave that an operator held back.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE);
        let suspensions = match fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
            Ok(found) if found.len() > FILE_MAX => {
                return Err(unreadable(&file, &"it is too long"));
            }
            Ok(_) => parse(&fs::read(&file)?).map_err(|problem| unreadable(&file, &problem))?,
        };
        Ok(Self { file: Some(file), suspensions: Mutex::new(suspensions), ..Self::default() })
    }

    /// Tells whether an operator suspended a route.
    #[must_use]
    pub fn is_suspended(&self, route: &str) -> bool {
        lock(&self.suspensions).iter().any(|suspension| suspension.route == route)
    }

    /// Returns the suspension of a route.
    #[must_use]
    pub fn suspension(&self, route: &str) -> Option<Suspension> {
        lock(&self.suspensions).iter().find(|suspension| suspension.route == route).cloned()
    }

    /// Enters a suspension, in place of an earlier one of the same route. When this returns it
    /// survives a loss of power. It blocks on the disk.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or there are too many; then nothing is changed.
    pub fn suspend(&self, suspension: Suspension) -> io::Result<()> {
        let mut suspensions = lock(&self.suspensions);
        let mut changed = suspensions.clone();
        changed.retain(|other| other.route != suspension.route);
        if changed.len() >= SUSPENSIONS_MAX {
            let words = format!("at most {SUSPENSIONS_MAX} routes are suspended");
            return Err(io::Error::other(words));
        }
        changed.push(suspension);
        self.write(&changed)?;
        *suspensions = changed;
        Ok(())
    }

    /// Strikes out the suspension of a route; tells whether there was one. As
    /// [`Register::suspend`].
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing is changed.
    pub fn resume(&self, route: &str) -> io::Result<bool> {
        let mut suspensions = lock(&self.suspensions);
        let mut changed = suspensions.clone();
        changed.retain(|other| other.route != route);
        if changed.len() == suspensions.len() {
            return Ok(false);
        }
        self.write(&changed)?;
        *suspensions = changed;
        Ok(true)
    }

    /// Remembers that a message waits for a route.
    pub(super) fn hold(&self, route: &str, id: MessageId) {
        let mut held = lock(&self.held);
        let of_route = held.entry(route.to_owned()).or_default();
        if let Held::These(ids) = of_route {
            ids.insert(id);
            if ids.len() > HELD_MAX {
                *of_route = Held::Many;
            }
        }
    }

    /// Returns the messages that waited for a route, and forgets them.
    pub(super) fn take_held(&self, route: &str) -> Held {
        lock(&self.held).remove(route).unwrap_or_default()
    }

    /// Returns the messages that are on their way.
    pub(super) const fn recalls(&self) -> &Arc<Recalls> {
        &self.recalls
    }

    /// Returns what issuers gave.
    pub(super) const fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    fn write(&self, suspensions: &[Suspension]) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = serde_json::to_vec_pretty(suspensions)?;
        let new = file.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut opened = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        opened.write_all(&text)?;
        opened.sync_all()?;
        fs::rename(&new, file)?;
        fs::File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

/// A file as every later version writes it, too, whatever else is in it. The first version is a list.
#[derive(Deserialize)]
struct Later {
    version: u32,
}

fn parse(text: &[u8]) -> Result<Vec<Suspension>, String> {
    serde_json::from_slice(text).map_err(|error| match serde_json::from_slice(text) {
        Ok(Later { version }) => format!(
            "written in version {version} of its form, this program reads 1; use the program that wrote it"
        ),
        Err(_) => error.to_string(),
    })
}

fn unreadable(file: &Path, problem: &dyn std::fmt::Display) -> io::Error {
    let file = file.display();
    let words = format!("{file}: {problem}; without the file no route is suspended");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspension(route: &str) -> Suspension {
        let (note, since) = (Some("moving house".into()), Timestamp::UNIX_EPOCH);
        Suspension { route: route.into(), note, since, uid: 7 }
    }

    #[test]
    fn a_suspension_survives_a_restart_and_its_end_does_too() {
        let folder = tempfile::tempdir().unwrap();
        let register = Register::open(folder.path()).unwrap();
        register.suspend(suspension("a")).unwrap();
        register.suspend(suspension("b")).unwrap();
        register.suspend(suspension("b")).unwrap();
        let register = Register::open(folder.path()).unwrap();
        assert_eq!(register.suspension("b"), Some(suspension("b")));
        assert!(register.resume("b").unwrap());
        assert!(!register.resume("b").unwrap());
        let register = Register::open(folder.path()).unwrap();
        assert_eq!((register.is_suspended("a"), register.is_suspended("b")), (true, false));
    }

    #[test]
    fn a_register_that_cannot_be_read_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "[{\"route\": \"a\"").unwrap();
        let error = Register::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("without the file no route is suspended"), "{error}");
    }

    #[test]
    fn a_register_of_a_later_version_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (file, text) = (folder.path().join(FILE), r#"{"version":2,"routes":{"a":{}}}"#);
        fs::write(&file, text).unwrap();
        let error = Register::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("written in version 2 of its form, this program reads 1"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }

    #[test]
    fn what_cannot_be_written_is_not_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let register = Register::open(folder.path()).unwrap();
        fs::create_dir(folder.path().join(FILE).with_extension("new")).unwrap();
        register.suspend(suspension("a")).unwrap_err();
        assert!(!register.is_suspended("a"));
    }

    #[test]
    fn messages_that_wait_are_remembered_by_route_up_to_a_limit() {
        let register = Register::default();
        for number in 0..HELD_MAX as u64 {
            register.hold("a", MessageId(number));
        }
        register.hold("b", MessageId(1));
        register.hold("b", MessageId(1));
        assert_eq!(register.take_held("b"), Held::These([MessageId(1)].into()));
        assert_eq!(register.take_held("b"), Held::default());
        register.hold("a", MessageId(u64::from(u32::MAX)));
        assert_eq!(register.take_held("a"), Held::Many);
    }
}
