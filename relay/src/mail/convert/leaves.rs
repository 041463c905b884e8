//! An independent reader of messages, for tests of this room and of every input.

use mail_parser::{Message, MessageParser, PartType};

/// Returns what it finds in the leaves of a message.
pub(crate) fn leaves(message: &[u8]) -> Vec<Vec<u8>> {
    fn walk(message: &Message<'_>, found: &mut Vec<Vec<u8>>) {
        for part in &message.parts {
            match &part.body {
                PartType::Multipart(_) => {}
                PartType::Message(inner) => walk(inner, found),
                PartType::Text(_)
                | PartType::Html(_)
                | PartType::Binary(_)
                | PartType::InlineBinary(_) => found.push(part.contents().to_vec()),
            }
        }
    }
    let mut found = Vec::new();
    let parsed = MessageParser::default().parse(message);
    walk(&parsed.expect("a message that has a header is read"), &mut found);
    found
}
