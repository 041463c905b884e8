//! Changes of the host that come together or not at all: whatever is not kept is undone in reverse.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, Gid, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use super::accounts::Account;
use crate::appliance::privilege::Identity;
use crate::users::{self, Password, UsersError};

/// Who may read a file or enter a folder besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody.
    All,
    /// Nobody.
    Root,
    /// The relay's group.
    Relay(Identity),
}

impl Readers {
    const fn file_mode(self) -> u32 {
        match self {
            Self::All => 0o644,
            Self::Root => 0o600,
            Self::Relay(_) => 0o640,
        }
    }

    const fn folder_mode(self) -> u32 {
        match self {
            Self::All => 0o755,
            Self::Root => 0o700,
            Self::Relay(_) => 0o750,
        }
    }

    fn group(self) -> Gid {
        match self {
            Self::All | Self::Root => Gid::ROOT,
            Self::Relay(relay) => Gid::from_raw(relay.gid),
        }
    }
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing<'a> {
    /// It is an error.
    Refuse,
    /// It stays beside the new one, with this behind its name.
    Keep(&'a str),
}

/// What a rehearsal writes, octets: more than a key or a chain has.
const REHEARSAL_BYTES: usize = 16 << 10;

/// Tries whether a file could be written by [`Steps::file`], and leaves nothing: before what cannot be undone.
///
/// # Errors
///
/// If it could not, or if its predecessor could not be put aside.
pub fn rehearse(file: &Path, readers: Readers, existing: Existing<'_>) -> anyhow::Result<()> {
    let name = || format!("{} cannot be written", file.display());
    let mut folder = file.parent().unwrap_or(Path::new("/"));
    while let (false, Some(above)) = (folder.try_exists().with_context(name)?, folder.parent()) {
        folder = above;
    }
    let trial = folder.join(format!(".sallyport.new.{}", std::process::id()));
    let written = write(&trial, &" ".repeat(REHEARSAL_BYTES), readers);
    // One that was never made needs no removal.
    let removed = fs::remove_file(&trial);
    written.with_context(name)?;
    removed.with_context(name)?;
    let Existing::Keep(ending) = existing else { return Ok(()) };
    let former = beside(file, ending);
    ensure!(
        !former.is_dir(),
        "{} is a folder, and the file before {} is to be called so",
        former.display(),
        file.display()
    );
    if file.exists() {
        // A second name is refused for a file of somebody else's, or one that may not be changed.
        let second = beside(file, &format!(".new.{}", std::process::id()));
        fs::hard_link(file, &second).and_then(|()| fs::remove_file(&second)).with_context(name)?;
    }
    Ok(())
}

/// Something that was done.
#[derive(Debug)]
enum Done {
    Account(Account),
    Folder(PathBuf),
    /// Whose it was before, and its mode.
    Taken {
        folder: PathBuf,
        uid: u32,
        gid: u32,
        mode: u32,
    },
    Made(PathBuf),
    Replaced {
        file: PathBuf,
        former: PathBuf,
    },
    Login {
        file: PathBuf,
        login: String,
    },
    /// What stood in it before.
    Changed {
        file: PathBuf,
        text: Hidden,
        readers: Readers,
    },
}

/// A text that no message shows.
struct Hidden(Zeroizing<String>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its text")
    }
}

/// What was done so far. It is undone when this is dropped, unless it is [kept](Steps::keep).
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<Done>,
}

impl Steps {
    /// Makes an account.
    ///
    /// # Errors
    ///
    /// As [`Account::make`].
    pub fn account(&mut self, account: Account) -> anyhow::Result<()> {
        account.make()?;
        self.done.push(Done::Account(account));
        Ok(())
    }

    /// Makes a folder and those above it, where they are missing. One that is there stays as it is.
    ///
    /// # Errors
    ///
    /// If one cannot be made.
    pub fn folder(&mut self, folder: &Path, readers: Readers) -> anyhow::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.folder(above, Readers::All)?;
        }
        let name = || format!("folder {}", folder.display());
        fs::create_dir(folder).with_context(name)?;
        self.done.push(Done::Folder(folder.to_owned()));
        // The mask of this process may have taken something away.
        fs::set_permissions(folder, Permissions::from_mode(readers.folder_mode()))
            .with_context(name)?;
        give(folder, readers)
    }

    /// Notes a folder that somebody else is about to make, and those above it; or to take, if it is there.
    pub fn foresee(&mut self, folder: &Path) {
        if let Ok(now) = fs::metadata(folder) {
            let (uid, gid, mode) = (now.uid(), now.gid(), now.mode() & 0o7777);
            self.done.push(Done::Taken { folder: folder.to_owned(), uid, gid, mode });
            return;
        }
        let is_noted = |folder: &Path| {
            self.done.iter().any(|done| matches!(done, Done::Folder(noted) if noted == folder))
        };
        let missing = folder.ancestors().take_while(|folder| !folder.exists() && !is_noted(folder));
        let missing: Vec<_> = missing.map(|folder| Done::Folder(folder.to_owned())).collect();
        self.done.extend(missing.into_iter().rev());
    }

    /// Writes a file at one moment: nobody sees half of it.
    ///
    /// # Errors
    ///
    /// If it is there and must not be, or cannot be written.
    pub fn file(
        &mut self,
        file: &Path,
        text: &str,
        readers: Readers,
        existing: Existing<'_>,
    ) -> anyhow::Result<()> {
        let name = || format!("{} cannot be written", file.display());
        let new = beside(file, &format!(".new.{}", std::process::id()));
        let written = write(&new, text, readers).and_then(|()| match existing {
            Existing::Keep(ending) if file.exists() => {
                let former = beside(file, ending);
                // A second name for it: there is no moment without the file.
                fs::hard_link(file, &former)?;
                fs::rename(&new, file)?;
                Ok(Done::Replaced { file: file.to_owned(), former })
            }
            Existing::Keep(_) | Existing::Refuse => {
                renameat_with(CWD, &new, CWD, file, RenameFlags::NOREPLACE)?;
                Ok(Done::Made(file.to_owned()))
            }
        });
        if written.is_err() {
            // One that was never made needs no removal.
            let _ = fs::remove_file(&new);
        }
        self.done.push(written.with_context(name)?);
        let folder = file.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(name)
    }

    /// Writes a file again that was written before among these steps: whatever undoes that undoes this too.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn again(&self, file: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
        replace(file, text, readers)
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Adds a login whose password is made here, and returns that. One that is there gets another password: it is for
    /// logins that nobody uses yet.
    ///
    /// # Errors
    ///
    /// As [`users::add`] and [`users::change`].
    pub fn login(
        &mut self,
        file: &Path,
        login: &str,
        readers: Readers,
    ) -> anyhow::Result<Zeroizing<String>> {
        let is_new = !file.exists();
        let made = match users::add(file, login, Password::Made) {
            Err(UsersError::Exists(_)) => {
                let text = Hidden(Zeroizing::new(fs::read_to_string(file)?));
                let made = users::change(file, login, Password::Made)?;
                self.done.push(Done::Changed { file: file.to_owned(), text, readers });
                made
            }
            added => {
                let made = added?;
                self.done.push(if is_new {
                    Done::Made(file.to_owned())
                } else {
                    Done::Login { file: file.to_owned(), login: login.to_owned() }
                });
                made
            }
        };
        give(file, readers)?;
        made.context("invariant: a password that nobody chose is made")
    }

    /// Keeps the accounts that were made, whatever comes: files that stay belong to them.
    pub fn keep_accounts(&mut self) {
        self.done.retain(|done| !matches!(done, Done::Account(_)));
    }

    /// Keeps all that was done.
    pub fn keep(mut self) {
        self.done.clear();
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        for done in self.done.drain(..).rev() {
            if let Err(problem) = undo(&done) {
                eprintln!("sallyport: could not be undone: {done:?}: {problem:#}");
            }
        }
    }
}

fn undo(done: &Done) -> anyhow::Result<()> {
    match done {
        Done::Account(account) => account.remove()?,
        Done::Made(file) => fs::remove_file(file)?,
        Done::Replaced { file, former } => fs::rename(former, file)?,
        Done::Login { file, login } => users::remove(file, login)?,
        Done::Changed { file, text, readers } => replace(file, &text.0, *readers)?,
        // Foreseen and never made.
        Done::Folder(folder) if !folder.exists() => {}
        Done::Folder(folder) => match fs::remove_dir(folder) {
            // What was kept is in it.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => removed?,
        },
        Done::Taken { folder, uid, gid, mode } => {
            let now = fs::metadata(folder)?;
            if (now.uid(), now.gid()) != (*uid, *gid) {
                let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), Gid::from_raw(*gid));
                rustix::fs::chown(folder, Some(uid), Some(gid))?;
            }
            fs::set_permissions(folder, Permissions::from_mode(*mode))?;
        }
    }
    Ok(())
}

/// Replaces a file at one moment. When this returns it survives a loss of power.
fn replace(file: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    let new = beside(file, &format!(".new.{}", std::process::id()));
    let replaced = write(&new, text, readers).and_then(|()| Ok(fs::rename(&new, file)?));
    if replaced.is_err() {
        // One that was never made needs no removal.
        let _ = fs::remove_file(&new);
    }
    replaced?;
    Ok(File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()?)
}

fn write(new: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    // Not even for a moment may somebody else read it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text.as_bytes())?;
    give(new, readers)?;
    file.set_permissions(Permissions::from_mode(readers.file_mode()))?;
    Ok(file.sync_all()?)
}

/// Gives a file to root and the group of its readers. Who is not root keeps it, and its group.
fn give(file: &Path, readers: Readers) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        rustix::fs::chown(file, Some(rustix::fs::Uid::ROOT), Some(readers.group()))
            .with_context(|| format!("{} cannot be given away", file.display()))?;
    }
    Ok(())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    file.with_file_name(name)
}

#[cfg(test)]
mod tests;
