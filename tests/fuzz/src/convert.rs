//! Messages that are made 7-bit. The first octet of an input says whether the rest is a message, or
//! the plan of one that is well formed.

use relay::mail::convert::{headers_are_ascii, to_seven_bit};
use relay::smtp::address::Charset;
use relay::smtp::body::TEXT_LINE_MAX;

use crate::leaves::leaves;

/// How deep a planned message goes.
const DEPTH: usize = 4;
/// The octets that one number of a plan stands for.
const STEP: usize = 4;

/// Whatever a message is, what is made of it fits and stays as it is the next time; of a well-formed
/// one another reader finds the same.
pub fn is_seven_bit_and_reads_the_same(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    if first % 2 == 0 {
        // The text of its fault is all that is wanted of what has no structure.
        let _ = headers_are_ascii(rest);
        if let Ok(out) = to_seven_bit(rest, Charset::Ascii) {
            assert_fits(&out);
        }
        return;
    }
    let mut plan = rest;
    let mut message = b"MIME-Version: 1.0\r\n".to_vec();
    message.extend(entity(&mut plan, 0));
    message.extend_from_slice(b"\r\n");
    let out = to_seven_bit(&message, Charset::Ascii);
    let out = out.unwrap_or_else(|fault| panic!("{fault}: {}", message.escape_ascii()));
    assert_fits(&out);
    let (before, after) = (leaves(&message), leaves(&out));
    assert!(before == after, "{}\nbecame\n{}", message.escape_ascii(), out.escape_ascii());
}

fn assert_fits(out: &[u8]) {
    for line in out.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= TEXT_LINE_MAX && line.is_ascii(), "{}", line.escape_ascii());
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | 0)), "{}", line.escape_ascii());
    }
    assert_eq!(to_seven_bit(out, Charset::Ascii).as_deref(), Ok(out), "done twice");
}

fn number(plan: &mut &[u8]) -> usize {
    let Some((first, rest)) = plan.split_first() else { return 0 };
    *plan = rest;
    usize::from(*first)
}

/// Builds the next entity of a plan.
fn entity(plan: &mut &[u8], depth: usize) -> Vec<u8> {
    let choice = number(plan);
    let coding = ["8bit", "binary"][choice / 4 % 2];
    let header = |kind: &str| {
        format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {coding}\r\n").into_bytes()
    };
    match choice % 4 {
        0 if depth < DEPTH => {
            let parts: Vec<_> = (0..=choice / 8 % 3).map(|_| entity(plan, depth + 1)).collect();
            let all = parts.concat();
            let free = |name: &String| !all.windows(name.len()).any(|part| part == name.as_bytes());
            let name =
                (0..100_000).map(|number| format!("B{number:05}")).find(free).expect("all are few");
            let mut out = header(&format!("multipart/mixed; boundary={name}"));
            for part in parts {
                out.extend_from_slice(format!("\r\n--{name}\r\n").as_bytes());
                out.extend(part);
            }
            out.extend_from_slice(format!("\r\n--{name}--").as_bytes());
            out
        }
        // Deeper ones the independent reader loses its way in.
        1 if depth == 0 => {
            let mut out = header("message/rfc822");
            out.extend_from_slice(b"\r\nSubject: inside\r\nMIME-Version: 1.0\r\n");
            out.extend(entity(plan, depth + 1));
            out
        }
        kind => {
            let kind = ["text/plain; charset=iso-8859-1", "application/octet-stream"][kind % 2];
            let length = number(plan) * STEP;
            let (content, rest) = plan.split_at(plan.len().min(length));
            *plan = rest;
            let mut out = header(kind);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(content);
            out
        }
    }
}
