//! Names and passwords in the form in which both sides of a login compare them (SASLprep, RFC 4013).

use stringprep::saslprep;
use zeroize::Zeroizing;

use super::Secret;

/// Returns a name as PLAIN and SCRAM say it (RFC 4616, section 2; RFC 5802, section 5.1).
pub(super) fn name(name: &str) -> String {
    saslprep(name).map_or_else(|_| name.to_owned(), Into::into)
}

/// Returns a password as PLAIN says it and SCRAM hashes it. One that is no UTF-8, or has characters that
/// SASLprep forbids or that were assigned since Unicode 3.2, stays as it is: those who set it elsewhere had
/// to do something with it, and left it alone.
pub(super) fn password(password: Secret) -> Secret {
    // It is its own form, and no copy is made of it.
    if password.is_ascii() {
        return password;
    }
    let prepared = match std::str::from_utf8(&password).map(saslprep) {
        Ok(Ok(prepared)) => Zeroizing::new(prepared.into_owned()),
        Ok(Err(_)) | Err(_) => return password,
    };
    Secret::new(prepared.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_take_the_form_of_saslprep_where_they_have_one() {
        // The first five are the examples of RFC 4013, section 3.
        let rows: &[(&str, &str)] = &[
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{a0}b", "a b"),
            ("u\u{308}", "\u{fc}"),
            ("a\u{7}b", "a\u{7}b"),
            ("\u{627}1", "\u{627}1"),
            ("\u{1f511}", "\u{1f511}"),
        ];
        for (written, expected) in rows {
            assert_eq!(name(written), *expected, "{written:?}");
            let password = password(Secret::new(written.as_bytes().to_vec()));
            assert_eq!(std::str::from_utf8(&password), Ok(*expected), "{written:?}");
        }
        assert_eq!(password(Secret::new(vec![b'a', 0xff]))[..], [b'a', 0xff], "no UTF-8");
    }
}
