//! Passwords for next hops, read when they are needed: a changed file counts at once.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::config::RouteLogin;
use crate::delivery::health::Fingerprint;
use crate::delivery::login::Credentials;

/// The longest first line of a password file, octets.
const PASSWORD_MAX: usize = 4096;

/// Reads the login of a route with the password in the first line of its file.
///
/// # Errors
///
/// The file cannot be read, is empty, or holds what no login can carry, in words.
pub(super) async fn read(login: &RouteLogin) -> Result<Credentials, String> {
    let path = login.password_file.clone();
    let read = tokio::task::spawn_blocking(move || read_first_line(&path)).await;
    let password = read.map_err(|error| error.to_string())?;
    let password = password
        .map_err(|problem| format!("password-file {}: {problem}", login.password_file.display()))?;
    Ok(Credentials { user: login.user.clone(), password })
}

/// Returns the fingerprint of the password as it is now; none if it cannot be read.
pub(super) async fn fingerprint_of_file(login: &RouteLogin) -> Option<Fingerprint> {
    let credentials = read(login).await.ok()?;
    let hash = digest::digest(&digest::SHA256, &credentials.password);
    hash.as_ref().try_into().ok()
}

fn read_first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    // One allocation of the full size: a buffer that grows would leave copies behind.
    let mut octets = Zeroizing::new(vec![0; PASSWORD_MAX + 1]);
    let mut file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut length = 0;
    while length < octets.len() {
        match file.read(&mut octets[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) => return Err(error.to_string()),
        }
    }
    let end = octets[..length].iter().position(|octet| *octet == b'\n').unwrap_or(length);
    let line = &octets[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [] => Err("the first line is empty".to_owned()),
        line if line.len() > PASSWORD_MAX => Err("the first line is too long".to_owned()),
        line if line.contains(&0) => Err("the first line has a NUL".to_owned()),
        line => Ok(Zeroizing::new(line.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let long = vec![b'x'; PASSWORD_MAX + 1];
        let rows: &[(&[u8], Option<&[u8]>)] = &[
            (b"secret", Some(b"secret")),
            (b"secret\n", Some(b"secret")),
            (b"secret\r\nnot this\n", Some(b"secret")),
            (b" with spaces \n", Some(b" with spaces ")),
            (b"", None),
            (b"\nsecret\n", None),
            (b"sec\0ret\n", None),
            (&long, None),
        ];
        for (octets, expected) in rows {
            fs::write(&path, octets).unwrap();
            let read = read_first_line(&path).ok();
            assert_eq!(read.as_ref().map(|read| &read[..]), *expected);
        }
        assert!(read_first_line(&folder.path().join("missing")).is_err());
    }
}
