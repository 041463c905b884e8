//! Samples as lines of text: recorded by the gate, replayed by `sallyport alert replay`.
//!
//! ```text
//! sallyport-samples 2
//! @5000 1800000000000 r9000 a120 b0 m0 c118 f3
//! 100 r3 a1 c1 e192.0.2.0/24=1
//! 100
//! 100 n s3,12,40,- p198.51.100.0/24=900
//! ```
//!
//! The first line names the form. A line with `@` says the time in milliseconds on both clocks, and every count
//! since some fixed moment: it stands first, again every minute, and where counts began anew. Every other line
//! says how many milliseconds passed and what came in them; what is zero is left out.
//!
//! | letter | what was counted |
//! | --- | --- |
//! | `r`, `a`, `b`, `m` | refused frames, admitted attempts, attempts around the first door, interfaces without program |
//! | `c`, `f`, `n` | completed handshakes, failed logins; no relay tells them |
//! | `s` | at least how many different sources in 1 s, 10 s, 60 s and 15 min; `-` where not counted |
//! | `p` | a refused network: at least so many frames in the last minute; alone: none was loud |
//! | `e` | an entry of the allowlist: so many completed handshakes |
//!
//! Form 1 had three numbers after `s`: nobody counted the sources of a second.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use relay_common::addr::Net;

use super::distinct::SOURCE_WINDOWS;
use super::{Sample, Told};

/// The first line.
pub const HEAD: &str = "sallyport-samples 2";
/// The first line of the form before, which is read as well.
const FORMER_HEAD: &str = "sallyport-samples 1";
/// The longest line that is read, octets.
pub const LINE_MAX: usize = 64 << 10;
/// After so many lines the counts are said whole again: a reader may begin there.
const WHOLE_EVERY: u32 = 600;
/// By how many milliseconds the wall clock may stray from the other until that is said.
const STRAY_MS: i64 = 500;

/// Writes samples as lines.
#[derive(Debug, Default)]
pub struct Writer {
    last: Option<Sample>,
    /// The lines since the last whole one, and its time on both clocks, milliseconds.
    since: u32,
    anchor: (i64, i64),
}

impl Writer {
    /// Appends the line of a sample, with its end. Times are cut to milliseconds.
    pub fn write(&mut self, sample: &Sample, text: &mut String) {
        let (at, wall) = (millis(sample.at), sample.wall.as_millisecond());
        let strays = (wall - at) - (self.anchor.1 - self.anchor.0);
        let follows = self.since < WHOLE_EVERY && strays.abs() <= STRAY_MS;
        if let Some(last) = self.last.as_ref().filter(|last| follows && is_next(last, sample)) {
            let _ = write!(text, "{}", at - millis(last.at));
            let told = sample.told.unwrap_or_default();
            let told_before = last.told.unwrap_or_default();
            for (letter, now, before) in [
                ('r', sample.refused, last.refused),
                ('a', sample.admitted, last.admitted),
                ('b', sample.bypassed, last.bypassed),
                ('m', sample.missing, last.missing),
                ('c', told.completed, told_before.completed),
                ('f', told.failed_logins, told_before.failed_logins),
            ] {
                if now > before {
                    let _ = write!(text, " {letter}{}", now - before);
                }
            }
            self.since += 1;
        } else {
            let Sample { refused, admitted, bypassed, missing, .. } = sample;
            let _ = write!(text, "@{at} {wall} r{refused} a{admitted} b{bypassed} m{missing}");
            if let Some(Told { completed, failed_logins }) = sample.told {
                let _ = write!(text, " c{completed} f{failed_logins}");
            }
            (self.since, self.anchor) = (0, (at, wall));
        }
        if sample.told.is_none() {
            text.push_str(" n");
        }
        if sample.sources.iter().any(Option::is_some) {
            let word =
                |count: &Option<u64>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let words: Vec<String> = sample.sources.iter().map(word).collect();
            let _ = write!(text, " s{}", words.join(","));
        }
        match &sample.loud {
            Some(loud) if loud.is_empty() => text.push_str(" p"),
            Some(loud) => networks('p', loud, text),
            None => {}
        }
        networks('e', &sample.completed, text);
        text.push('\n');
        let scalars = Sample { loud: None, completed: Vec::new(), ..sample.clone() };
        self.last = Some(scalars);
    }
}

fn networks(letter: char, counts: &[(Net, u64)], text: &mut String) {
    for (net, count) in counts {
        let _ = write!(text, " {letter}{}/{}={count}", IpAddr::from(net.addr()), net.prefix());
    }
}

fn millis(at: Duration) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// Returns whether a sample can be told by what came since the one before.
fn is_next(last: &Sample, sample: &Sample) -> bool {
    let counts = |sample: &Sample| {
        let Told { completed, failed_logins } = sample.told.unwrap_or_default();
        let Sample { refused, admitted, bypassed, missing, .. } = *sample;
        [refused, admitted, bypassed, missing, completed, failed_logins]
    };
    let rises = counts(last).into_iter().zip(counts(sample)).all(|(last, now)| now >= last);
    rises && millis(sample.at) > millis(last.at) && last.told.is_some() == sample.told.is_some()
}

/// Reads lines as samples.
#[derive(Debug, Default)]
pub struct Reader {
    headed: bool,
    last: Option<Sample>,
}

impl Reader {
    /// Reads a line without its end; none if it is the first, or an empty one.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the line.
    pub fn read(&mut self, line: &str) -> Result<Option<Sample>, String> {
        let line = line.trim();
        if line == HEAD || line == FORMER_HEAD {
            self.headed = true;
            return Ok(None);
        }
        if !self.headed {
            return Err(format!("the first line must be {HEAD:?}"));
        }
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let Some(first) = words.next() else { return Ok(None) };
        let mut sample = if let Some(at) = first.strip_prefix('@') {
            let wall = words.next().ok_or("the time of the wall clock is missing")?;
            let wall = wall.parse().map_err(|_| format!("{wall} is no time"))?;
            let wall = Timestamp::from_millisecond(wall).map_err(|error| error.to_string())?;
            let told = Some(Told::default());
            Sample { told, ..Sample::new(Duration::from_millis(number(at)?), wall) }
        } else {
            let last = self.last.clone().ok_or("a line with @ must come first")?;
            let passed = Duration::from_millis(number(first)?);
            let wall = last.wall.checked_add(passed).map_err(|error| error.to_string())?;
            let at = last.at.checked_add(passed).ok_or("the time is too late")?;
            Sample { at, wall, sources: [None; SOURCE_WINDOWS], ..last }
        };
        for word in words {
            take(&mut sample, word)?;
        }
        let scalars = Sample { loud: None, completed: Vec::new(), ..sample.clone() };
        self.last = Some(scalars);
        Ok(Some(sample))
    }
}

fn take(sample: &mut Sample, word: &str) -> Result<(), String> {
    let mut letters = word.chars();
    let letter = letters.next();
    let rest = letters.as_str();
    let told = || sample.told.ok_or_else(|| format!("{word}: no relay tells"));
    let more = |sum: u64| Ok::<u64, String>(sum.saturating_add(number(rest)?));
    match letter {
        Some('r') => sample.refused = more(sample.refused)?,
        Some('a') => sample.admitted = more(sample.admitted)?,
        Some('b') => sample.bypassed = more(sample.bypassed)?,
        Some('m') => sample.missing = more(sample.missing)?,
        Some('c') => {
            let told = told()?;
            sample.told = Some(Told { completed: more(told.completed)?, ..told });
        }
        Some('f') => {
            let told = told()?;
            sample.told = Some(Told { failed_logins: more(told.failed_logins)?, ..told });
        }
        Some('n') if rest.is_empty() => sample.told = None,
        Some('s') => {
            let mut counts: Vec<&str> = rest.split(',').collect();
            if counts.len() + 1 == SOURCE_WINDOWS {
                counts.insert(0, "-");
            }
            if counts.len() != SOURCE_WINDOWS {
                return Err(format!("{word}: four numbers belong here"));
            }
            for (place, count) in sample.sources.iter_mut().zip(counts) {
                *place = if count == "-" { None } else { Some(number(count)?) };
            }
        }
        Some('p') if rest.is_empty() => sample.loud = Some(Vec::new()),
        Some('p') => sample.loud.get_or_insert_default().push(network(rest)?),
        Some('e') => sample.completed.push(network(rest)?),
        _ => return Err(format!("{word} is not known here")),
    }
    Ok(())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn network(text: &str) -> Result<(Net, u64), String> {
    let read = || {
        let (net, count) = text.split_once('=')?;
        let (address, prefix) = net.split_once('/')?;
        let net = Net::new(address.parse::<IpAddr>().ok()?, prefix.parse().ok()?).ok()?;
        Some((net, count.parse().ok()?))
    };
    read().ok_or_else(|| format!("{text} is no network with its number, as in 192.0.2.0/24=7"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(number: u32) -> Net {
        Net::new(IpAddr::from(number.to_be_bytes()), 32).unwrap()
    }

    fn read(text: &str) -> Result<Vec<Sample>, String> {
        let mut reader = Reader::default();
        text.lines().filter_map(|line| reader.read(line).transpose()).collect()
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let whole = "sallyport-samples 2\n@5 6 r1\n";
        for (text, wanted) in [
            ("@5 6 r1", "the first line must be"),
            ("sallyport-samples 2\n100", "a line with @ must come first"),
            ("sallyport-samples 2\n@5", "wall clock is missing"),
            (&format!("{whole}x"), "\"x\" is no number"),
            (&format!("{whole}1 z9"), "z9 is not known here"),
            ("sallyport-samples 3\n@5 6 r1", "the first line must be"),
            (&format!("{whole}1 s1,2"), "four numbers"),
            (&format!("{whole}1 s1,2,3,4,5"), "four numbers"),
            (&format!("{whole}1 e192.0.2.1/8=4"), "is no network"),
            (&format!("{whole}1 n c4"), "no relay tells"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(wanted), "{text}: {problem}");
        }
    }

    #[test]
    fn samples_of_the_former_form_are_read_without_the_sources_of_a_second() {
        for (text, wanted) in [
            ("sallyport-samples 1\n@5 6 s3,12,-\n", [None, Some(3), Some(12), None]),
            ("sallyport-samples 2\n@5 6 s3,12,40,-\n", [Some(3), Some(12), Some(40), None]),
        ] {
            let samples = read(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(samples[0].sources, wanted, "{text}");
        }
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let nets = || prop::collection::vec((0..9_u32, 1..1000_u64), 0..4);
        let one = (
            (1..2_000_u64, 0..1_000_i64, prop::array::uniform4(0..50_u64)),
            prop::option::of((0..9_u64, 0..9_u64)),
            prop::array::uniform4(prop::option::of(0..9_u64)),
            prop::option::of(nets()),
            nets(),
            prop::bool::weighted(0.05),
        );
        prop::collection::vec(one, 0..40).prop_map(|all| {
            let mut sample = Sample::new(Duration::ZERO, Timestamp::UNIX_EPOCH);
            let mut samples = Vec::new();
            for ((passed, _, [r, a, b, m]), told, sources, loud, completed, anew) in all {
                let named = |all: Vec<(u32, u64)>| -> Vec<(Net, u64)> {
                    all.into_iter().map(|(number, count)| (net(number), count)).collect()
                };
                let passed = Duration::from_millis(passed);
                let before = sample.told.unwrap_or_default();
                sample = Sample {
                    at: sample.at + passed,
                    wall: sample.wall + passed,
                    refused: if anew { 0 } else { sample.refused + r },
                    admitted: sample.admitted + a,
                    bypassed: sample.bypassed + b,
                    missing: sample.missing + m,
                    told: told.map(|(completed, failed)| Told {
                        completed: before.completed + completed,
                        failed_logins: before.failed_logins + failed,
                    }),
                    sources,
                    loud: loud.map(named),
                    completed: named(completed),
                };
                samples.push(sample.clone());
            }
            samples
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(samples in samples()) {
            let mut writer = Writer::default();
            let mut text = format!("{HEAD}\n");
            for sample in &samples {
                writer.write(sample, &mut text);
            }
            prop_assert_eq!(read(&text), Ok(samples));
        }

        #[test]
        fn no_line_whatever_panics(lines in prop::collection::vec("[@a-z0-9 =/.,-]{0,40}", 0..8)) {
            let mut reader = Reader { headed: true, last: None };
            let _ = reader.read("@1 1 r18446744073709551615");
            for line in lines {
                let _ = reader.read(&line);
            }
        }
    }
}
