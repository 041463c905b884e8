//! Mailboxes and paths.

use relay::smtp::address::{
    Address, Charset, DOMAIN_MAX, LOCAL_MAX, PATH_MAX, is_domain, is_literal,
};
use relay::smtp::command::{Command, Recipient, Verb};
use relay::smtp::extension::Extensions;

/// An address that is accepted is bounded, comes back as it was written, and can be written into a
/// command without becoming another one. US-ASCII is read alike with and without SMTPUTF8.
pub fn is_written_back_as_it_was_read(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let ascii = Address::read(text, Charset::Ascii);
    let found = Address::read(text, Charset::Utf8);
    assert!(!text.is_ascii() || ascii == found, "{ascii:?} and {found:?}");
    assert!(text.is_ascii() || ascii.is_err());
    let Ok(address) = found else { return };
    assert_eq!(address.to_string(), text);
    assert_eq!(format!("{}@{}", address.local(), address.domain()), text);
    assert!(address.local().len() <= LOCAL_MAX && address.domain().len() <= DOMAIN_MAX);
    assert!(text.len() + 2 <= PATH_MAX);
    let hides = |letter: char| letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter);
    assert!(!text.chars().any(hides), "{text:?}");
    let quoted = address.local().starts_with('"');
    assert!(quoted || !text.contains(['<', '>', ' ', '"']), "{text:?}");
    if text.is_ascii() {
        assert!(is_domain(address.domain()) != is_literal(address.domain()), "{text:?}");
        match Command::read(Verb::Rcpt, format!(" TO:<{text}>").as_bytes(), Extensions::NONE) {
            Ok(Command::Rcpt { recipient: Recipient::Mailbox(again), .. }) => {
                assert_eq!(again.to_string(), text);
            }
            other => panic!("{text:?} is read as {other:?} in a command"),
        }
    }
}
