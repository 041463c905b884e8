//! Addresses for next hops without SMTPUTF8: what can be said in US-ASCII.
//!
//! A label of a domain has two forms that mean the same, and one of them is US-ASCII (RFC 5890, section
//! 2.3.2.1). A local part has only the form in which it is written: nobody but its host may change it.

use std::borrow::Cow;

use crate::smtp::address::{Address, Charset};

/// Returns an address in US-ASCII: as it is, or with A-labels in its domain; none if its local part is in
/// UTF-8, its domain none of IDNA, or the whole too long then.
#[must_use]
pub fn in_ascii(address: &Address) -> Option<Cow<'_, Address>> {
    match address.charset() {
        Charset::Ascii => Some(Cow::Borrowed(address)),
        Charset::Utf8 => {
            let domain = idna::domain_to_ascii_strict(address.domain()).ok()?;
            let text = format!("{}@{domain}", address.local());
            Address::read(&text, Charset::Ascii).ok().map(Cow::Owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_domain_is_written_in_another_way() {
        let long = format!("a@{}.example", "\u{fc}".repeat(31));
        let rows: &[(&str, Option<&str>)] = &[
            ("Jo@Example.com", Some("Jo@Example.com")),
            ("Jo@b\u{fc}cher.example", Some("Jo@xn--bcher-kva.example")),
            ("Jo@B\u{dc}CHER.example", Some("Jo@xn--bcher-kva.example")),
            ("\"a b\"@stra\u{df}e.example", Some("\"a b\"@xn--strae-oqa.example")),
            ("jo@xn--bcher-kva.\u{4f8b}", Some("jo@xn--bcher-kva.xn--fsq")),
            ("j\u{f6}@b\u{fc}cher.example", None),
            ("j\u{f6}@example.com", None),
            ("jo@\u{308}a.example", None),
            (&long, Some("a@xn--tdaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example")),
        ];
        for (written, expected) in rows {
            let address = Address::read(written, Charset::Utf8).unwrap();
            let said = in_ascii(&address).map(|said| said.as_str().to_owned());
            assert_eq!(said.as_deref(), *expected, "{written}");
        }
    }
}
