//! The file that `allow apply` reads and `allow list --file` writes: a line an entry.
//!
//! ```text
//! # a comment
//! 192.0.2.0/24 tag=billing connect-rate=100/s note="the billing cluster"
//! 2001:db8:5::/48 source-rate=5/s ttl=8h
//! 198.51.100.7
//! ```
//!
//! Words are parted by spaces or tabs. A value with a space in it stands between quotes, in which `\"` is a
//! quote and `\\` a backslash. What a line leaves out, its entry does not have.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use ipnetwork::IpNetwork;
use relay_common::addr::Net;
use relay_common::table::ENTRIES_MAX;

use super::allowlist::Wish;
use super::cidr::network;
use crate::config::unit;

/// The largest file that is read, octets: a million long lines.
pub const BYTES_MAX: usize = 256 << 20;
/// The longest line that is read, octets.
const LINE_MAX: usize = 4096;
/// The problems that are told; more would not be read.
const PROBLEMS_MAX: usize = 20;

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// The wishes of a file, and the line of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The wishes, no network twice.
    pub wishes: Vec<Wish>,
    /// The line of each, counted from 1.
    pub lines: Vec<usize>,
}

/// Reads a file. A time to live begins at `now_ns` of the boot clock.
///
/// # Errors
///
/// The first [`Problem`]s of the file, at most twenty.
pub fn read(text: &str, now_ns: u64) -> Result<Wishes, Vec<Problem>> {
    let mut found = Wishes::default();
    let mut problems = Vec::new();
    let mut known: HashMap<Net, usize> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let wish = match entry(line, now_ns) {
            Ok(None) => continue,
            Ok(Some(wish)) => Ok(wish),
            Err(message) => Err(message),
        };
        let wish = wish.and_then(|wish| match known.insert(wish.net, number) {
            Some(earlier) => Err(format!("{} stands in line {earlier} already", network(wish.net))),
            None => Ok(wish),
        });
        match wish {
            Ok(wish) => {
                found.wishes.push(wish);
                found.lines.push(number);
            }
            Err(message) => problems.push(Problem { line: number, message }),
        }
        if problems.len() == PROBLEMS_MAX {
            break;
        }
        if found.wishes.len() > ENTRIES_MAX as usize {
            let message = format!("the allowlist has room for {ENTRIES_MAX} entries");
            problems.push(Problem { line: number, message });
            break;
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// Reads a line; none if it has no entry.
fn entry(line: &str, now_ns: u64) -> Result<Option<Wish>, String> {
    if line.len() > LINE_MAX {
        return Err(format!("{} octets are more than the {LINE_MAX} of a line", line.len()));
    }
    let mut words = words(line)?.into_iter();
    let Some(cidr) = words.next() else { return Ok(None) };
    let net = unit::network(&cidr)
        .and_then(|network| super::net(network).map_err(|error| format!("{cidr}: {error}")))?;
    let mut wish = Wish::plain(net);
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("{word}: expected key=value behind the network"))?;
        let told = |error: String| format!("{key}: {error}");
        let twice = match key {
            "tag" => wish.tag.replace(value.to_owned()).is_some(),
            "note" => wish.note.replace(value.to_owned()).is_some(),
            "connect-rate" => {
                wish.connect_rate.replace(unit::rate_text(value).map_err(told)?).is_some()
            }
            "source-rate" => {
                wish.source_rate.replace(unit::rate_text(value).map_err(told)?).is_some()
            }
            "ttl" => {
                let ttl = unit::time(value).map_err(told)?;
                wish.until_ns.replace(ends(now_ns, ttl).map_err(told)?).is_some()
            }
            _ => {
                return Err(format!(
                    "{key}: no such key; known are tag, note, connect-rate, source-rate and ttl"
                ));
            }
        };
        if twice {
            return Err(format!("{key}: stands there twice"));
        }
    }
    Ok(Some(wish))
}

fn ends(now_ns: u64, ttl: Duration) -> Result<u64, String> {
    if ttl.is_zero() {
        return Err("expected more than nothing".to_owned());
    }
    Ok(now_ns.saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX)))
}

/// Parts a line into words, without its comment.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut begun, mut quoted) = (false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, begun) = (!quoted, true),
            '\\' if quoted => match letters.next() {
                Some(escaped @ ('"' | '\\')) => word.push(escaped),
                _ => return Err("a backslash stands before a quote or a backslash only".into()),
            },
            '#' if !quoted && !begun => break,
            ' ' | '\t' if !quoted => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

/// Writes an entry as a line that [`read`] reads, without its end: its network, and keys with their values.
#[must_use]
pub fn line(cidr: &IpNetwork, words: &[(&str, &Option<String>)]) -> String {
    let mut line = cidr.to_string();
    for (key, value) in words {
        if let Some(value) = value {
            let _ = write!(line, " {key}={}", written(value));
        }
    }
    line
}

fn written(value: &str) -> String {
    if !value.is_empty() && !value.contains([' ', '\t', '"', '\\', '#']) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    fn first_problem(text: &str) -> String {
        read(text, 0).unwrap_err()[0].to_string()
    }

    #[test]
    fn every_key_is_read_and_comments_are_not() {
        let text = "# a list\n\n192.0.2.0/24 tag=billing note=\"the \\\"big\\\" one\" # not this\n\
                    2001:db8::/32\tconnect-rate=100/s source-rate=5/min ttl=2s\n198.51.100.7#x\n";
        let error = first_problem(text);
        assert!(error.starts_with("line 5: \"198.51.100.7#x\" is no"), "{error}");
        let text = text.replace("#x", "");
        let found = read(&text, 1_000).unwrap();
        assert_eq!(found.lines, [3, 4, 5]);
        assert_eq!(found.wishes[0].note.as_deref(), Some("the \"big\" one"));
        assert_eq!(found.wishes[0].tag.as_deref(), Some("billing"));
        assert_eq!(found.wishes[1].until_ns, Some(2_000_001_000));
        let rate = |count, seconds| config::Rate { count, per: Duration::from_secs(seconds) };
        assert_eq!(found.wishes[1].connect_rate, Some(rate(100, 1)));
        assert_eq!(found.wishes[1].source_rate, Some(rate(5, 60)));
        assert_eq!(network(found.wishes[2].net).to_string(), "198.51.100.7/32");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_remedy() {
        for (text, wanted) in [
            (
                "192.0.2.0/24\n192.0.2.1/24",
                "line 2: 192.0.2.1/24 has host bits set: write 192.0.2.0/24",
            ),
            ("192.0.2.300", "line 1: \"192.0.2.300\" is no network"),
            ("192.0.2.1 billing", "line 1: billing: expected key=value"),
            ("192.0.2.1 tagg=x", "line 1: tagg: no such key; known are tag"),
            ("192.0.2.1 tag=a tag=b", "line 1: tag: stands there twice"),
            ("192.0.2.1 ttl=5x", "line 1: ttl: "),
            ("192.0.2.1 ttl=0s", "line 1: ttl: expected more than nothing"),
            ("192.0.2.1 note=\"open", "line 1: a quote is not closed"),
            ("192.0.2.1\n# x\n::ffff:192.0.2.1", "line 3: 192.0.2.1/32 stands in line 1 already"),
        ] {
            let error = first_problem(text);
            assert!(error.starts_with(wanted), "{text}: {error}");
        }
        let long = format!("192.0.2.1 note={}", "x".repeat(5_000));
        assert!(first_problem(&long).contains("more than the 4096"));
    }

    #[test]
    fn all_problems_come_in_one_go_up_to_twenty() {
        let problems = read(&"x\n".repeat(50), 0).unwrap_err();
        assert_eq!(problems.len(), 20);
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_at_its_line() {
        let mut text = String::new();
        for number in 0..=ENTRIES_MAX {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
            writeln!(text, "{address}").unwrap();
        }
        let problems = read(&text, 0).unwrap_err();
        assert_eq!((problems.len(), problems[0].line), (1, ENTRIES_MAX as usize + 1));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            tag in prop::option::of("[!-~]{1,32}"), note in prop::option::of("[ -~]{1,64}"),
        ) {
            let rate = Some("7/min".to_owned());
            let words = [("tag", &tag), ("note", &note), ("connect-rate", &rate)];
            let found = read(&line(&"192.0.2.0/24".parse().unwrap(), &words), 0).unwrap();
            let wish = &found.wishes[0];
            prop_assert_eq!(&wish.tag, &tag);
            prop_assert_eq!(&wish.note, &note);
            prop_assert_eq!(wish.connect_rate.map(|rate| rate.to_string()), rate);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = read(&text, 0);
        }
    }
}
