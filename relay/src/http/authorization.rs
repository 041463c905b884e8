//! Who we are to a receiver, from a file.

use std::path::Path;

use ureq::http::HeaderValue;

use crate::file;

/// The longest line, octets: tokens with many claims are long.
const LINE_MAX: u64 = 16 << 10;

/// Reads the value of the header field Authorization from a file of one line: a scheme and what it takes, as in
/// `Bearer TOKEN` (RFC 9110, section 11.4). White space at its end is no part of it, and nobody who prints the
/// value sees it. Blocks on the disk.
///
/// # Errors
///
/// If the file cannot be read or holds something else, a sentence that names it.
pub fn authorization(path: &Path) -> Result<HeaderValue, String> {
    let name = path.display();
    let octets = file::read(path, LINE_MAX)
        .map_err(|error| format!("authorization-file {name} cannot be read: {error}"))?;
    let mut value = value(octets.trim_ascii_end()).ok_or_else(|| {
        format!("authorization-file {name} holds no authorization: one line, as in Bearer TOKEN")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn value(line: &[u8]) -> Option<HeaderValue> {
    let space = line.iter().position(|octet| *octet == b' ')?;
    let (scheme, credentials) = line.split_at(space);
    let is_scheme = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let is_text = |octet: &u8| octet.is_ascii_graphic() || *octet == b' ';
    let is_fine = !scheme.is_empty()
        && scheme.iter().all(is_scheme)
        && !credentials.trim_ascii().is_empty()
        && credentials.iter().all(is_text);
    is_fine.then(|| HeaderValue::from_bytes(line).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_scheme_and_credentials_is_an_authorization_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otel");
        for (row, text, read) in [
            ("a token", "Bearer abc.def", Some("Bearer abc.def")),
            ("a line's end", "Basic dXNlcjpw \r\n", Some("Basic dXNlcjpw")),
            ("parameters", "Digest a=\"b\", c=d", Some("Digest a=\"b\", c=d")),
            ("no scheme", "abc.def", None),
            ("no credentials", "Bearer ", None),
            ("empty", "\n", None),
            ("two lines", "Bearer a\nX-Other: b", None),
            ("a header", "Authorization: Bearer a", None),
            ("not ASCII", "Bearer \u{e9}", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let value = authorization(&path);
            let shown = value.as_ref().ok().and_then(|value| value.to_str().ok());
            assert_eq!(shown, read, "{row}");
            match value {
                Ok(value) => assert_eq!(format!("{value:?}"), "Sensitive", "{row}"),
                Err(problem) => assert!(problem.contains("holds no authorization"), "{problem}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(authorization(&path).unwrap_err().contains("cannot be read"));
    }
}
