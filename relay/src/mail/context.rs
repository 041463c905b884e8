//! The trace that a message belongs to (W3C Trace Context, level 1, section 3.2), as its sender wrote it into
//! the header field Traceparent. It is read strictly, and never written into the message.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of the version that is known, octets.
const LENGTH: usize = 55;
/// The only flag that is known: the sender records this trace.
const SAMPLED: u8 = 1;

/// A trace, and the span in it that sent the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace: TraceId,
    /// The span; not zero.
    pub parent: SpanId,
    /// The flags as they came.
    flags: u8,
}

/// The name of a trace, written as 32 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

/// The name of a span within its trace, written as 16 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text is no trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: 00-32 digits-16 digits-2 digits are expected, in lower case")]
pub struct NoContext;

impl TraceContext {
    /// Tells whether the sender records this trace, so that spans of it are of use.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl FromStr for TraceContext {
    type Err = NoContext;

    /// Reads a value without the space around it. A later version may go on after the flags, version 00 not.
    fn from_str(text: &str) -> Result<Self, NoContext> {
        let octets = text.as_bytes();
        let (Some(known), rest) = (octets.get(..LENGTH), octets.get(LENGTH..).unwrap_or_default())
        else {
            return Err(NoContext);
        };
        let version = digits(&known[..2])?;
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let ends = rest.is_empty() || (version != 0 && rest[0] == b'-');
        if !dashes || !ends || version == 0xff {
            return Err(NoContext);
        }
        let trace = digits(&known[3..35])?;
        let parent = digits(&known[36..52])? as u64;
        let flags = digits(&known[53..])? as u8;
        if trace == 0 || parent == 0 {
            return Err(NoContext);
        }
        Ok(Self { trace: TraceId(trace), parent: SpanId(parent), flags })
    }
}

/// Reads at most 32 digits of base 16 in lower case.
fn digits(octets: &[u8]) -> Result<u128, NoContext> {
    octets.iter().try_fold(0, |number, octet| {
        let digit = match octet {
            b'0'..=b'9' => octet - b'0',
            b'a'..=b'f' => octet - b'a' + 10,
            _ => return Err(NoContext),
        };
        Ok(number << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.parent, self.flags)
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_context_is_read_strictly_and_written_as_it_came() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let context: TraceContext = good.parse().unwrap();
        assert_eq!(context.to_string(), good);
        assert_eq!(
            (context.trace.to_string(), context.parent.to_string()),
            (TRACE.into(), SPAN.into())
        );
        assert!(context.is_sampled());
        let unsampled: TraceContext = format!("00-{TRACE}-{SPAN}-02").parse().unwrap();
        assert!(!unsampled.is_sampled());
        let later: TraceContext = format!("cc-{TRACE}-{SPAN}-01-of-later").parse().unwrap();
        assert_eq!(later, context);
        let json = serde_json::to_string(&context).unwrap();
        assert_eq!(json, format!("\"{good}\""));
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zero = |count| "0".repeat(count);
        for (row, text) in [
            ("nothing", String::new()),
            ("too short", format!("00-{TRACE}-{SPAN}-0")),
            ("too long for its version", format!("00-{TRACE}-{SPAN}-01-x")),
            ("long and not apart", format!("cc-{TRACE}-{SPAN}-01x")),
            ("the forbidden version", format!("ff-{TRACE}-{SPAN}-01")),
            ("upper case", format!("00-{}-{SPAN}-01", TRACE.to_uppercase())),
            ("a trace of zeroes", format!("00-{}-{SPAN}-01", zero(32))),
            ("a span of zeroes", format!("00-{TRACE}-{}-01", zero(16))),
            ("other separators", format!("00_{TRACE}_{SPAN}_01")),
            ("a sign", format!("00-+{}-{SPAN}-01", &TRACE[1..])),
            ("no digits", "ü".repeat(28)),
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NoContext), "{row}");
        }
    }
}
