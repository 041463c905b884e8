//! The file of logins and stored keys. It holds no password.
//!
//! Operators change it with [`add`], [`change`] and [`remove`]; the relay reads it with
//! [`Store::load`]. Every change replaces the file in one step, so that a reader sees the old list
//! or the new one. Not here: the check of a login as it happens (`net::login`).

mod file;
pub mod token;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::policy::credential::{
    Hash, Keys, LOGIN_MAX, SALT_OCTETS, StoredKeys, fake_keys, fake_salt, is_login,
};

/// Iterations for every login of a new file: RFC 7677, section 4, asks for 4,096 at least. The
/// passwords made here have 160 random bits, which no number of iterations could add to.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).expect("15,000 is not zero");
/// Octets of the secret behind the salts of logins that do not exist.
const SECRET_OCTETS: usize = 32;
/// The shortest password that an operator may choose, octets.
pub const PASSWORD_MIN: usize = 12;
/// The longest password, octets.
pub const PASSWORD_MAX: usize = 256;
/// Digits of made passwords: 32, without those that look like others.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why the file of users could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// There is no file yet: `sallyport user add` makes it.
    #[error("{0}: there is no file of users; `sallyport user add` makes it")]
    Missing(PathBuf),
    /// The operating system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
    /// The file is not one that we wrote.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where the text is no TOML.
        problem: String,
    },
    /// A later version of the program wrote the file.
    #[error(
        "{path}: written in format {found}, this program reads {known}; use the program that wrote it"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u32,
        /// The format known here.
        known: u32,
    },
    /// The login is there already.
    #[error("the login {0} is there already; `sallyport user passwd` gives it a new password")]
    Exists(String),
    /// There is no such login.
    #[error("there is no login {0}")]
    Unknown(String),
    /// The name cannot be a login.
    #[error("a login has 1 to {LOGIN_MAX} visible US-ASCII characters and no space")]
    Login,
    /// The password cannot be used.
    #[error(
        "a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters of US-ASCII; leave it out to \
         have one made"
    )]
    Password,
    /// There are as many logins as a file may hold.
    #[error("the file holds {} logins, which is the limit", file::USERS_MAX)]
    TooMany,
}

/// The logins of one installation.
#[derive(Debug)]
pub struct Store {
    iterations: NonZeroU32,
    secret: Zeroizing<Vec<u8>>,
    users: BTreeMap<String, User>,
}

/// The keys of one login, of one password under both hashes (RFC 5802, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    salt: Vec<u8>,
    sha256: Keys,
    sha512: Keys,
}

/// Where a password comes from.
#[derive(Debug)]
pub enum Password {
    /// Made here: 160 random bits.
    Made,
    /// Chosen by somebody: 12 to 256 characters of US-ASCII, space included.
    Chosen(Zeroizing<String>),
}

/// Whether a password is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is the password of this login.
    Right,
    /// It is not, or there is no such login.
    Wrong,
}

impl Store {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`UsersError::Missing`], [`UsersError::Io`], [`UsersError::Malformed`].
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        file::read(path)
    }

    /// Returns a store without logins, for the time before the file is made. Its secret is lost
    /// with the process.
    #[must_use]
    pub fn empty() -> Self {
        let secret = Zeroizing::new(random::<SECRET_OCTETS>().to_vec());
        Self { iterations: ITERATIONS, secret, users: BTreeMap::new() }
    }

    /// Returns all logins in the order of their names.
    pub fn logins(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Returns whether there is such a login. For the operator's eyes: no client is to learn it.
    #[must_use]
    pub fn knows(&self, login: &str) -> bool {
        self.users.contains_key(login)
    }

    /// Checks a password. Costs the same for every login, whether it exists or not; takes some
    /// milliseconds on purpose.
    #[must_use]
    pub fn check(&self, login: &str, password: &[u8]) -> Check {
        let fake = || User {
            salt: fake_salt(&self.secret, login).to_vec(),
            sha256: Keys { stored: vec![0; 32].into(), server: Zeroizing::default() },
            sha512: Keys { stored: Zeroizing::default(), server: Zeroizing::default() },
        };
        let (user, exists) = match self.users.get(login) {
            Some(user) => (user.clone(), true),
            None => (fake(), false),
        };
        let shown = Keys::derive(Hash::Sha256, password, &user.salt, self.iterations);
        if shown.agrees(&user.sha256) && exists { Check::Right } else { Check::Wrong }
    }

    /// Returns what SCRAM needs of a login. One that does not exist has salt and keys all the same,
    /// always those, and of no password; they cost the same, so that it looks like any other.
    #[must_use]
    pub fn keys(&self, login: &str, hash: Hash) -> StoredKeys {
        let fake = (fake_salt(&self.secret, login).to_vec(), fake_keys(&self.secret, login, hash));
        let (salt, keys) = match (self.users.get(login), hash) {
            (Some(user), Hash::Sha256) => (user.salt.clone(), user.sha256.clone()),
            (Some(user), Hash::Sha512) => (user.salt.clone(), user.sha512.clone()),
            (None, _) => fake,
        };
        StoredKeys { iterations: self.iterations, salt, keys }
    }

    /// Sets the password of a login and returns it if it was made here.
    fn set(
        &mut self,
        login: &str,
        password: Password,
    ) -> Result<Option<Zeroizing<String>>, UsersError> {
        let (password, made) = match password {
            Password::Made => (make_password(), true),
            Password::Chosen(password) if is_password(&password) => (password, false),
            Password::Chosen(_) => return Err(UsersError::Password),
        };
        let salt = random::<SALT_OCTETS>().to_vec();
        let keys = |hash| Keys::derive(hash, password.as_bytes(), &salt, self.iterations);
        let user =
            User { sha256: keys(Hash::Sha256), sha512: keys(Hash::Sha512), salt: salt.clone() };
        self.users.insert(login.to_owned(), user);
        Ok(made.then_some(password))
    }
}

/// Adds a login to the file, making the file if there is none. Returns the password if it was made
/// here: this is the only time that anybody sees it.
///
/// # Errors
///
/// [`UsersError::Exists`], [`UsersError::Login`], [`UsersError::Password`],
/// [`UsersError::TooMany`], and what [`Store::load`] fails with.
pub fn add(
    path: &Path,
    login: &str,
    password: Password,
) -> Result<Option<Zeroizing<String>>, UsersError> {
    if !is_login(login) {
        return Err(UsersError::Login);
    }
    file::edit(path, |store| {
        if store.users.contains_key(login) {
            return Err(UsersError::Exists(login.to_owned()));
        }
        if store.users.len() >= file::USERS_MAX {
            return Err(UsersError::TooMany);
        }
        store.set(login, password)
    })
}

/// Gives a login of the file another password; returns it if it was made here.
///
/// # Errors
///
/// [`UsersError::Unknown`], [`UsersError::Password`], and what [`Store::load`] fails with.
pub fn change(
    path: &Path,
    login: &str,
    password: Password,
) -> Result<Option<Zeroizing<String>>, UsersError> {
    file::edit(path, |store| {
        if !store.users.contains_key(login) {
            return Err(UsersError::Unknown(login.to_owned()));
        }
        store.set(login, password)
    })
}

/// Removes a login from the file.
///
/// # Errors
///
/// [`UsersError::Unknown`], and what [`Store::load`] fails with.
pub fn remove(path: &Path, login: &str) -> Result<(), UsersError> {
    file::edit(path, |store| match store.users.remove(login) {
        Some(_) => Ok(()),
        None => Err(UsersError::Unknown(login.to_owned())),
    })
}

/// US-ASCII is its own normal form (RFC 4013), so that every mechanism sees the same password.
fn is_password(password: &str) -> bool {
    (PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len())
        && password.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// 32 digits of 5 random bits each.
fn make_password() -> Zeroizing<String> {
    let random = Zeroizing::new(random::<32>());
    let digits = random.iter().map(|byte| char::from(DIGITS[usize::from(byte % 32)]));
    Zeroizing::new(digits.collect())
}

fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    rand::fill(&mut octets).expect("invariant: the operating system gives random numbers");
    octets
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chosen(password: &str) -> Password {
        Password::Chosen(Zeroizing::new(password.to_owned()))
    }

    #[test]
    fn a_made_password_is_right_for_its_login_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let app = add(&path, "app", Password::Made).unwrap().unwrap();
        let web = add(&path, "web", Password::Made).unwrap().unwrap();
        assert_eq!(app.len(), 32);
        assert_ne!(app, web);
        let store = Store::load(&path).unwrap();
        assert_eq!(store.logins().collect::<Vec<_>>(), ["app", "web"]);
        assert_eq!(store.check("app", app.as_bytes()), Check::Right);
        for (login, password) in
            [("app", web.as_str()), ("App", app.as_str()), ("none", app.as_str()), ("app", "")]
        {
            assert_eq!(store.check(login, password.as_bytes()), Check::Wrong, "{login}");
        }
    }

    #[test]
    fn the_file_holds_no_password_and_is_not_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        add(&path, "app", chosen("correct horse battery")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse"), "{text}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left");
    }

    #[test]
    fn logins_are_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        assert!(matches!(remove(&path, "app"), Err(UsersError::Unknown(_))));
        assert!(matches!(Store::load(&path), Err(UsersError::Missing(_))));
        assert!(add(&path, "app", chosen("correct horse battery")).unwrap().is_none());
        assert!(matches!(add(&path, "app", Password::Made), Err(UsersError::Exists(_))));
        let new = change(&path, "app", Password::Made).unwrap().unwrap();
        let store = Store::load(&path).unwrap();
        assert_eq!(store.check("app", b"correct horse battery"), Check::Wrong);
        assert_eq!(store.check("app", new.as_bytes()), Check::Right);
        remove(&path, "app").unwrap();
        assert_eq!(Store::load(&path).unwrap().check("app", new.as_bytes()), Check::Wrong);
    }

    #[test]
    fn bad_names_and_passwords_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let long = "x".repeat(LOGIN_MAX + 1);
        for login in ["", "two words", "\u{fc}", "line\n", &long] {
            assert!(matches!(add(&path, login, Password::Made), Err(UsersError::Login)), "{login}");
        }
        for password in ["", "too short", "correct h\u{f6}rse battery"] {
            let added = add(&path, "app", chosen(password));
            assert!(matches!(added, Err(UsersError::Password)), "{password}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        for text in
            ["format = 1\nuser = 3\n", "nonsense", "format = 0\n", "format = 1\niterations = 1\n"]
        {
            std::fs::write(&path, text).unwrap();
            let problem = Store::load(&path).unwrap_err();
            assert!(matches!(problem, UsersError::Malformed { .. }), "{text}: {problem}");
            assert!(problem.to_string().contains("users.toml"));
        }
    }

    #[test]
    fn a_count_below_4096_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        add(&path, "app", Password::Made).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let count = |count: u32| {
            let written = format!("iterations = {ITERATIONS}");
            assert!(text.contains(&written));
            std::fs::write(&path, text.replace(&written, &format!("iterations = {count}")))
                .unwrap();
            Store::load(&path).map(|store| store.iterations.get()).map_err(|e| e.to_string())
        };
        assert_eq!(count(4096), Ok(4096));
        assert!(count(4095).unwrap_err().contains("iterations is not within 4096"));
    }

    #[test]
    fn what_the_file_holds_is_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        add(&path, "app", Password::Made).unwrap();
        let store = Store::load(&path).unwrap();
        for hash in [Hash::Sha256, Hash::Sha512] {
            let StoredKeys { salt, keys, .. } = store.keys("app", hash);
            for held in [salt, keys.stored.to_vec(), keys.server.to_vec()] {
                assert_eq!(store.check("app", &held), Check::Wrong);
            }
        }
    }
}
