//! How the list of logins stands on disk, and how it is replaced.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use base64::{Engine as _, decoded_len_estimate};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Store, User, UsersError};
use crate::file::END_ROOM;
use crate::policy::credential::{Hash, Keys, is_login};

/// The most logins in one file.
pub(super) const USERS_MAX: usize = 100_000;
/// The longest file that is read, octets.
const FILE_MAX: u64 = 64 << 20;
/// The form of the file.
const FORMAT: u32 = 1;
/// The fewest iterations (RFC 7677, section 4).
const ITERATIONS_MIN: u32 = 4_096;
/// The most iterations: more would let one login hold a worker up for seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

const HEAD: &str = "# Logins and their stored keys (RFC 5802). Written by `sallyport user`; there \
                    is no password in here.\n";

/// What every later form says too.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    iterations: u32,
    secret: Zeroizing<String>,
    #[serde(default)]
    user: BTreeMap<String, WrittenUser>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUser {
    salt: String,
    sha256: WrittenKeys,
    sha512: WrittenKeys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKeys {
    stored: Zeroizing<String>,
    server: Zeroizing<String>,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Store, UsersError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => UsersError::Missing(path.to_owned()),
        _ => UsersError::Io { path: path.to_owned(), cause },
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len().min(FILE_MAX);
    let room = usize::try_from(size).unwrap_or_default() + END_ROOM;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    let malformed = |problem: String| UsersError::Malformed { path: path.to_owned(), problem };
    if text.len() as u64 > FILE_MAX {
        return Err(malformed(format!("longer than {FILE_MAX} octets")));
    }
    // First the form alone: of a later one nothing else would be understood.
    if let Ok(Form { format: found }) = toml::from_str(&text)
        && found > FORMAT
    {
        return Err(UsersError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    let written: Written = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    written.into_store().map_err(malformed)
}

impl Written {
    fn into_store(self) -> Result<Store, String> {
        if self.format != FORMAT {
            return Err(format!(
                "format {} is not known, this program reads {FORMAT}",
                self.format
            ));
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&self.iterations) {
            return Err(format!("iterations is not within {ITERATIONS_MIN} to {ITERATIONS_MAX}"));
        }
        if self.user.len() > USERS_MAX {
            return Err(format!("more than {USERS_MAX} logins"));
        }
        let iterations = NonZeroU32::new(self.iterations).ok_or("iterations is zero")?;
        let secret = decode(&self.secret, 16..=64).ok_or("secret is malformed")?;
        let mut users = BTreeMap::new();
        for (login, user) in self.user {
            let user = user.into_user().filter(|_| is_login(&login));
            let user = user.ok_or_else(|| format!("the login {login:?} is malformed"))?;
            users.insert(login, user);
        }
        Ok(Store { iterations, secret, users })
    }

    fn of(store: &Store) -> Self {
        let user = |(login, user): (&String, &User)| (login.clone(), WrittenUser::of(user));
        Self {
            format: FORMAT,
            iterations: store.iterations.get(),
            secret: encode(&store.secret),
            user: store.users.iter().map(user).collect(),
        }
    }
}

impl WrittenUser {
    fn into_user(self) -> Option<User> {
        Some(User {
            salt: decode(&self.salt, 8..=64)?.to_vec(),
            sha256: self.sha256.into_keys(Hash::Sha256)?,
            sha512: self.sha512.into_keys(Hash::Sha512)?,
        })
    }

    fn of(user: &User) -> Self {
        Self {
            salt: STANDARD.encode(&user.salt),
            sha256: WrittenKeys::of(&user.sha256),
            sha512: WrittenKeys::of(&user.sha512),
        }
    }
}

impl WrittenKeys {
    fn into_keys(self, hash: Hash) -> Option<Keys> {
        let octets = hash.octets()..=hash.octets();
        Some(Keys {
            stored: decode(&self.stored, octets.clone())?,
            server: decode(&self.server, octets)?,
        })
    }

    fn of(keys: &Keys) -> Self {
        Self { stored: encode(&keys.stored), server: encode(&keys.server) }
    }
}

/// ServerKey and the secret of all logins are wiped in every form.
fn encode(octets: &[u8]) -> Zeroizing<String> {
    STANDARD.encode(octets).into()
}

fn decode(text: &str, octets: std::ops::RangeInclusive<usize>) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(decoded_len_estimate(text.len())));
    STANDARD.decode_vec(text, &mut decoded).ok()?;
    octets.contains(&decoded.len()).then_some(decoded)
}

/// Reads the file, changes it and replaces it. A second editor waits for the first.
pub(super) fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Store) -> Result<T, UsersError>,
) -> Result<T, UsersError> {
    let failed = |cause: io::Error| UsersError::Io { path: path.to_owned(), cause };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).map_err(failed)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let mut store = match read(path) {
        Err(UsersError::Missing(_)) => Store::empty(),
        read => read?,
    };
    let result = change(&mut store)?;
    replace(path, &folder, &Written::of(&store)).map_err(failed)?;
    Ok(result)
}

/// Writes beside the file, flushes, and renames: a reader sees the old list or the new one, and a
/// crash leaves one of them. The group of the folder may read it: that is the relay.
fn replace(path: &Path, folder: &File, written: &Written) -> io::Result<()> {
    let text = Zeroizing::new(toml::to_string(written).map_err(io::Error::other)?);
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let group = fs::metadata(path).or_else(|_| folder.metadata())?.gid();
    if file.metadata()?.gid() != group {
        std::os::unix::fs::fchown(&file, None, Some(group))?;
    }
    file.set_permissions(fs::Permissions::from_mode(0o640))?;
    file.write_all(HEAD.as_bytes())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    folder.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{Password, add, remove};
    use super::*;

    #[test]
    fn a_file_of_a_later_format_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let later = "format = 2\niterations = \"many\"\n[login.app]\nargon = \"x\"\n";
        fs::write(&path, later).unwrap();
        let errors = [
            read(&path).unwrap_err(),
            add(&path, "web", Password::Made).unwrap_err(),
            remove(&path, "app").unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            let words = "users.toml: written in format 2, this program reads 1; use the program that wrote it";
            assert!(error.ends_with(words), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), later);
    }
}
