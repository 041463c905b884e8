//! Frames as text files, `tests/frames/*.txt`, and what should become of them.
//!
//! ```text
//! # A comment.
//! frame first-of-8
//! # A reason.
//!   type 08 00                 a label, then bytes in hexadecimal
//!   tag x3 81 00 00 00         the same bytes three times
//!   => stranger drop unlisted_fragment
//!   => listed pass admitted
//!   => loose pass out_of_scope
//! ```
//!
//! The labels are for readers; the frame is all its bytes in a row. `stranger` is the verdict with an empty
//! allowlist, `listed` that with a list of everybody. `loose` is the stranger's where only SYNs are looked
//! at; it may be left out where it is the same. The guarded port is 2525.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use relay::gate::{Entry, Ruleset};
use relay_common::addr::Net;
use relay_common::state::{OwnHost, Scope};
use relay_common::table::EntryId;
use relay_common::verdict::{Reason, Verdict};

/// The port that is guarded in every case.
pub const PORT: u16 = 2525;

/// A frame and its verdicts.
#[derive(Clone, Debug)]
pub struct Frame {
    /// File and name.
    pub name: String,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    verdicts: [Option<Verdict>; 3],
}

/// Under which rules a frame is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Nobody is listed.
    Stranger,
    /// Everybody is listed.
    Listed,
    /// Nobody is listed, and only SYNs are looked at.
    Loose,
}

impl Case {
    /// Every case.
    pub const ALL: [Self; 3] = [Self::Stranger, Self::Listed, Self::Loose];

    const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Listed => "listed",
            Self::Loose => "loose",
        }
    }

    /// Returns the rules of this case.
    #[must_use]
    pub fn ruleset(self) -> Ruleset {
        let everybody = [(Ipv4Addr::UNSPECIFIED.into(), 1), (Ipv6Addr::UNSPECIFIED.into(), 2)];
        let all = |(address, id): (IpAddr, u32)| Entry {
            net: Net::new(address, 0).expect("invariant: a prefix of zero is a network"),
            id: EntryId(id),
            tag: None,
            rate: None,
            source_rate: None,
            until_ns: None,
        };
        let (entries, scope) = match self {
            Self::Stranger => (Vec::new(), Scope::EverySegment),
            Self::Listed => (everybody.map(all).to_vec(), Scope::EverySegment),
            Self::Loose => (Vec::new(), Scope::SynOnly),
        };
        let (own_host, bans) = (OwnHost::Admitted, Vec::new());
        Ruleset { ports: vec![PORT], scope, own_host, entries, bans }
    }
}

impl Frame {
    /// Returns what should become of the frame.
    #[must_use]
    pub fn expected(&self, case: Case) -> Verdict {
        let stranger = self.verdicts[Case::Stranger as usize];
        let verdict = self.verdicts[case as usize].or(stranger);
        verdict
            .expect("invariant: a frame without a stranger's verdict was refused when it was read")
    }
}

/// Reads every frame of `tests/frames`.
///
/// # Errors
///
/// If a file cannot be read; the message names file and line.
pub fn all() -> Result<Vec<Frame>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let text = fs::read_to_string(&file)?;
        frames.extend(read(stem, &text).with_context(|| file.display().to_string())?);
    }
    Ok(frames)
}

/// Reads the frames of one file.
fn read(file: &str, text: &str) -> Result<Vec<Frame>> {
    let mut frames: Vec<Frame> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["#", ..] => Ok(()),
            ["frame", name] => {
                let name = format!("{file}/{name}");
                frames.push(Frame { name, bytes: Vec::new(), verdicts: [None; 3] });
                Ok(())
            }
            words => frames.last_mut().context("no frame yet").and_then(|frame| take(frame, words)),
        }
        .with_context(|| format!("line {number}: {line:?}"))?;
    }
    for frame in &frames {
        ensure!(frame.verdicts[Case::Stranger as usize].is_some(), "{}: no verdict", frame.name);
        ensure!(
            frame.verdicts[Case::Listed as usize].is_some(),
            "{}: no listed verdict",
            frame.name
        );
    }
    Ok(frames)
}

fn take(frame: &mut Frame, words: &[&str]) -> Result<()> {
    match words {
        ["=>", case, verdict, reason] => {
            let case = Case::ALL
                .into_iter()
                .find(|known| known.name() == *case)
                .context("no such case")?;
            let reason = Reason::ALL.into_iter().find(|known| known.name() == *reason);
            let reason = reason.context("no such reason")?;
            frame.verdicts[case as usize] = Some(match *verdict {
                "pass" => Verdict::Pass(reason),
                "drop" => Verdict::Drop(reason),
                _ => bail!("a verdict is pass or drop"),
            });
        }
        [_label, rest @ ..] => {
            let (times, bytes) = match rest {
                [times, bytes @ ..] if times.starts_with('x') => (times[1..].parse()?, bytes),
                bytes => (1, bytes),
            };
            ensure!(!bytes.is_empty(), "a label without bytes");
            let bytes: Vec<u8> = bytes
                .iter()
                .map(|byte| Ok(u8::from_str_radix(byte, 16)?))
                .collect::<Result<_>>()?;
            frame.bytes.extend(bytes.repeat(times));
        }
        [] => {}
    }
    Ok(())
}
