//! What MAIL and RCPT say behind the path.

use relay::smtp::command::{ArgumentError, Command, Verb};
use relay::smtp::extension::Extensions;

/// Commands up to their parameters.
const STARTS: [(Verb, &[u8]); 2] =
    [(Verb::Mail, b" FROM:<joe@example.net> "), (Verb::Rcpt, b" TO:<a@example.com> ")];

/// Parameters that are accepted mean the same in any order, none may be given twice, and none means
/// something else where less is offered.
pub fn mean_the_same_in_any_order(input: &[u8]) {
    for (verb, start) in STARTS {
        let read =
            |parameters: &[u8]| Command::read(verb, &[start, parameters].concat(), Extensions::ALL);
        let Ok(command) = read(input) else { continue };
        // Space at the end of a line is none between parameters.
        let end = input.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        let mut words: Vec<&[u8]> = input[..end].split(|byte| *byte == b' ').collect();
        words.reverse();
        assert_eq!(read(&words.join(&b' ')).as_ref(), Ok(&command), "{verb:?}");
        match Command::read(verb, &[start, input].concat(), Extensions::NONE) {
            Ok(less) => assert_eq!(less, command, "{verb:?}"),
            Err(error) => assert!(!matches!(error, ArgumentError::Syntax), "{verb:?}: {error}"),
        }
        if end > 0 {
            words.push(words[0]);
            assert!(read(&words.join(&b' ')).is_err(), "{verb:?}: a parameter counted twice");
        }
    }
}
