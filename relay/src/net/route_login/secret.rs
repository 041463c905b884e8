//! Files that hold a secret in their first line, read when it is needed: a changed file counts at
//! once.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::delivery::login::Secret;

/// The longest first line, octets: in base64 it fits the 12288 octets of a line of AUTH (RFC 4954,
/// section 4).
pub(super) const SECRET_MAX: usize = 8192;

/// Returns the first line of a file without its end.
///
/// # Errors
///
/// The file cannot be read, or its first line is empty or nothing that a login can carry, in words
/// that name `key`, the key of the configuration, and the file.
pub(super) fn first_line(key: &str, path: &Path) -> Result<Secret, String> {
    read_first_line(path).map_err(|problem| format!("{key} {}: {problem}", path.display()))
}

fn read_first_line(path: &Path) -> Result<Secret, String> {
    // One allocation of the full size: a buffer that grows would leave copies behind.
    let mut octets = Zeroizing::new(vec![0; SECRET_MAX + 1]);
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
        line if line.len() > SECRET_MAX => Err("the first line is too long".to_owned()),
        line if line.contains(&0) => Err("the first line has a NUL".to_owned()),
        line => Ok(Secret::new(line.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let long = vec![b'x'; SECRET_MAX + 1];
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
