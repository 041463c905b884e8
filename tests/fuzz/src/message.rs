//! Header sections, as they come and as they travel on.

use jiff::Timestamp;
use relay::mail::header::{
    Collected, HeaderCollector, HeaderFault, HeaderLimits, HeaderSection, Trace,
};
use relay::mail::message::MessageId;
use relay::smtp::address::Charset;

use crate::cut::{lengths, pieces};

/// The limits of the target.
const LIMITS: HeaderLimits = HeaderLimits { size_bytes: 4_096, fields: 40, received: 10 };
/// What we add is a trace, a date and an id.
const WIDER: HeaderLimits = HeaderLimits { size_bytes: 8_192, fields: 43, received: 11 };

/// Returns the lines of `octets` as the reader of bodies lets them through: they end in CRLF, and
/// hold no other CR, LF or NUL.
fn lines(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in octets.split(|byte| *byte == b'\n') {
        out.extend(line.iter().filter(|byte| !matches!(byte, b'\r' | 0)));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Returns the section and where the text begins, or nothing if the section has not ended.
fn collect(
    pieces: &[&[u8]],
    limits: HeaderLimits,
) -> Option<(Result<HeaderSection, HeaderFault>, usize)> {
    let mut collector = HeaderCollector::new(limits);
    let mut before = 0;
    for piece in pieces {
        match collector.push(piece) {
            Collected::More => before += piece.len(),
            Collected::Complete(place) => {
                return Some((collector.read(Charset::Utf8), before + place));
            }
            Collected::TooLarge => return Some((Err(HeaderFault::TooLarge), 0)),
        }
    }
    None
}

fn trace() -> Trace<'static> {
    Trace {
        client_name: "client.example.net",
        host_name: None,
        source: std::net::Ipv4Addr::LOCALHOST.into(),
        hostname: "relay.example.net",
        protocol: "ESMTPSA",
        tls: Some("TLSv1.3, TLS13_AES_256_GCM_SHA384"),
        id: MessageId(1),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn authors(section: &HeaderSection) -> Vec<String> {
    section.authors().map(ToString::to_string).collect()
}

/// A section reads the same however it is cut. What is written of it is a section again, from the
/// same authors, with what a submission needs and without what must not travel.
pub fn a_section_travels_on_whole(input: &[u8]) {
    let Some((lengths, octets)) = lengths(input) else { return };
    let message = lines(octets);
    let whole = collect(&[&message], LIMITS);
    let cut = collect(&pieces(&message, lengths), LIMITS);
    let seen = |found: &Option<(Result<HeaderSection, HeaderFault>, usize)>| {
        found.as_ref().map(|(read, place)| (read.as_ref().map(authors).map_err(|e| *e), *place))
    };
    assert_eq!(seen(&cut), seen(&whole), "by {lengths:?}");
    let Some((Ok(section), _)) = whole else { return };
    assert!(section.authors().count() > 0);

    let out = section.write(trace());
    let Some((again, end)) = collect(&[&out], WIDER) else { panic!("the section does not end") };
    assert_eq!(end, out.len(), "an empty line stands inside");
    let again = again.unwrap_or_else(|fault| panic!("{fault}: {}", out.escape_ascii()));
    assert_eq!(authors(&again), authors(&section));
    let lower = out.to_ascii_lowercase();
    for name in ["bcc", "return-path"] {
        let is_name = |line: &[u8]| {
            let end = line.iter().position(|byte| *byte == b':').unwrap_or(0);
            line[..end].trim_ascii_end() == name.as_bytes()
        };
        assert!(!lower.split(|byte| *byte == b'\n').any(is_name), "{name} travels on");
    }
    for name in [&b"\nmessage-id"[..], b"\ndate"] {
        assert!(lower.windows(name.len()).any(|window| window == name), "{}", name.escape_ascii());
    }
    assert!(out.starts_with(b"Received: from client.example.net ([127.0.0.1])\r\n"));
}
