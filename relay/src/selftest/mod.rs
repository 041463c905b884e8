//! `sallyport selftest`: does anything get around the gate on this kernel?
//!
//! More than a hundred shapes of a connection attempt are sent at the real kernel program, between two hosts
//! made of network namespaces: by a stranger, with either door alone and with both; then by somebody who is
//! listed; and once with no door at all, which shows what this kernel answers by itself. Nothing of the host
//! is changed.

pub mod craft;
mod rounds;
mod shapes;
pub mod wire;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::cli::print::{self, Output};
use crate::gate::XdpMode;
use crate::hosts::private_bpf;
use rounds::{Doors, Sender};
use shapes::Shape;
use wire::Heard;

/// A column of the table.
struct Round {
    name: &'static str,
    doors: Doors,
    sender: Sender,
}

const NO_DOOR: Doors = Doors { first: None, second: false };
const DRIVER: Option<XdpMode> = Some(XdpMode::Native);
const STACK: Option<XdpMode> = Some(XdpMode::Generic);

/// What is tried. The first round is what the others are measured by.
const ROUNDS: [Round; 9] = [
    stranger("no door", NO_DOOR),
    stranger("driver", Doors { first: DRIVER, second: false }),
    stranger("stack", Doors { first: STACK, second: false }),
    stranger("2nd door", Doors { first: None, second: true }),
    stranger("driver+2nd", Doors { first: DRIVER, second: true }),
    stranger("stack+2nd", Doors { first: STACK, second: true }),
    listed("driver+2nd", Doors { first: DRIVER, second: true }),
    listed("stack+2nd", Doors { first: STACK, second: true }),
    listed("2nd door", Doors { first: None, second: true }),
];

const fn stranger(name: &'static str, doors: Doors) -> Round {
    Round { name, doors, sender: Sender::Stranger }
}

const fn listed(name: &'static str, doors: Doors) -> Round {
    Round { name, doors, sender: Sender::Listed }
}

/// What came back for one shape.
#[derive(Debug, Serialize)]
struct Row {
    shape: String,
    /// Per round, in their order.
    expected: Vec<&'static str>,
    seen: Vec<&'static str>,
    as_expected: bool,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    rounds: Vec<String>,
    rows: Vec<Row>,
    /// How many shapes this kernel answers by itself.
    answered_without_a_door: usize,
    as_expected: bool,
}

/// Runs the battery and prints a table; returns 0 if all was as expected.
///
/// # Errors
///
/// Without root, or if a round cannot be played.
pub fn run(output: Output) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the self-test makes network namespaces and loads a kernel program: run it with sudo"
        );
    }
    let folder = std::env::temp_dir().join(format!("sallyport-selftest-{}", std::process::id()));
    std::fs::create_dir(&folder)
        .with_context(|| format!("{}: make the folder", folder.display()))?;
    let report = play(&folder.join("bpf"));
    let removed = std::fs::remove_dir_all(&folder);
    let report = report?;
    removed.with_context(|| format!("{} was left behind", folder.display()))?;
    match output {
        Output::Json => print::json(&report),
        Output::Text => print::say(table(&report)),
    }
    Ok(if report.as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays every round, with a BPF file system at `bpf`.
fn play(bpf: &Path) -> anyhow::Result<Report> {
    let _mounted = private_bpf(bpf).context("a private BPF file system cannot be mounted")?;
    let shapes = shapes::all();
    let mut columns = Vec::new();
    for round in &ROUNDS {
        let column = rounds::play(&shapes, round.doors, round.sender, bpf);
        columns.push(column.with_context(|| format!("round \"{}\"", round.name))?);
    }
    let without = &columns[0];
    let answered = without.iter().filter(|heard| **heard == Heard::SynAck).count();
    let rows: Vec<Row> =
        shapes.iter().enumerate().map(|(at, shape)| row(shape, at, &columns)).collect();
    Ok(Report {
        rounds: ROUNDS.iter().map(Round::title).collect(),
        as_expected: answered > 0 && rows.iter().all(|row| row.as_expected),
        answered_without_a_door: answered,
        rows,
    })
}

impl Round {
    fn title(&self) -> String {
        let sender = match self.sender {
            Sender::Stranger => "stranger",
            Sender::Listed => "listed",
        };
        format!("{sender}: {}", self.name)
    }

    /// Returns what should be heard of a shape, given what is heard without a door.
    fn expects(&self, shape: &Shape, without: Heard) -> Heard {
        match self.sender {
            Sender::Stranger if self.doors != NO_DOOR => Heard::Silence,
            Sender::Listed if shape.is_too_deep && self.doors.first.is_some() => Heard::Silence,
            Sender::Stranger | Sender::Listed => without,
        }
    }
}

fn row(shape: &Shape, at: usize, columns: &[Vec<Heard>]) -> Row {
    let seen = || columns.iter().map(|column| column[at]);
    let expected = || ROUNDS.iter().map(|round| round.expects(shape, columns[0][at]));
    Row {
        shape: shape.name.clone(),
        as_expected: seen().eq(expected()),
        expected: expected().map(word).collect(),
        seen: seen().map(word).collect(),
    }
}

const fn word(heard: Heard) -> &'static str {
    match heard {
        Heard::Silence => "silence",
        Heard::Reset => "reset",
        Heard::SynAck => "SYN-ACK",
    }
}

fn table(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .rounds
        .iter()
        .enumerate()
        .map(|(at, title)| format!("{:>4}  {title}", format!("[{}]", at + 1)))
        .collect();
    lines.push(String::new());
    let wide = report.rows.iter().map(|row| row.shape.len()).max().unwrap_or(0);
    let heads: Vec<String> = (1..=report.rounds.len()).map(|at| format!("[{at}]")).collect();
    let line = |shape: &str, cells: &[String]| {
        let mut line = format!("{shape:<wide$} ");
        for cell in cells {
            // Writing to a string cannot fail.
            let _ = write!(line, " {cell:<8}");
        }
        line.trim_end().to_owned()
    };
    lines.push(line("shape", &heads));
    for row in &report.rows {
        let cells: Vec<String> = row
            .seen
            .iter()
            .zip(&row.expected)
            .map(|(seen, expected)| match *seen {
                seen if seen != *expected => format!("{seen}!"),
                "silence" => "-".to_owned(),
                seen => seen.to_owned(),
            })
            .collect();
        lines.push(line(&row.shape, &cells));
    }
    let wrong = report.rows.iter().filter(|row| !row.as_expected).count();
    lines.push(String::new());
    lines.push(format!(
        "{} shapes. Without a door this kernel answers {} of them. Not as expected: {wrong}.",
        report.rows.len(),
        report.answered_without_a_door
    ));
    lines.push(if report.as_expected {
        "A stranger hears nothing through either door; who is listed hears what he would without."
            .to_owned()
    } else {
        "Marked with \"!\": what was seen is not what was expected. Please report it with this table \
         and `uname -r`."
            .to_owned()
    });
    lines.join("\n")
}
