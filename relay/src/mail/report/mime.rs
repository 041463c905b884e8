//! The parts of a report in one message (RFC 2046, section 5.1; RFC 6522).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How the octets of a part are written (RFC 2045, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As they are: US-ASCII.
    SevenBit,
    /// As they are.
    EightBit,
    /// In lines of 76 letters and digits, so that a next hop without 8-bit mail takes them too.
    Base64,
}

/// One part, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    kind: &'static str,
    encoding: Encoding,
    written: Vec<u8>,
}

/// Octets of a part that become one line of 76 characters (RFC 2045, section 6.8).
const BASE64_LINE: usize = 57;

impl Part {
    /// Writes `octets` as a part of this content type.
    pub(super) fn new(kind: &'static str, encoding: Encoding, octets: Vec<u8>) -> Self {
        let written = match encoding {
            Encoding::SevenBit | Encoding::EightBit => octets,
            Encoding::Base64 => {
                let line = |octets: &[u8]| STANDARD.encode(octets) + "\r\n";
                octets.chunks(BASE64_LINE).map(line).collect::<String>().into_bytes()
            }
        };
        Self { kind, encoding, written }
    }

    /// Writes text: as it is if it is US-ASCII, else in base64 and as the other type.
    pub(super) fn text(ascii: &'static str, global: &'static str, text: String) -> Self {
        if text.is_ascii() {
            Self::new(ascii, Encoding::SevenBit, text.into_bytes())
        } else {
            Self::new(global, Encoding::Base64, text.into_bytes())
        }
    }

    /// Tells whether `boundary` stands in it.
    pub(super) fn holds(&self, boundary: &str) -> bool {
        memchr::memmem::find(&self.written, boundary.as_bytes()).is_some()
    }
}

/// Appends `parts` between lines of `boundary`, and its end.
pub(super) fn write(text: &mut Vec<u8>, boundary: &str, parts: &[Part]) {
    for part in parts {
        let encoding = match part.encoding {
            Encoding::SevenBit => "",
            Encoding::EightBit => "Content-Transfer-Encoding: 8bit\r\n",
            Encoding::Base64 => "Content-Transfer-Encoding: base64\r\n",
        };
        let head = format!("--{boundary}\r\nContent-Type: {}\r\n{encoding}\r\n", part.kind);
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(&part.written);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
}
