//! What was found, a row a kernel: as a table, and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use tests::machine::Machine;

use crate::guest::PATIENCE;

/// One kernel.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The name by which it was asked for.
    pub kernel: String,
    /// Debian's package and its version.
    pub package: String,
    /// What the kernel calls itself.
    pub release: String,
    /// Whether landlock is among its security modules.
    pub landlock: bool,
    /// Why the product refuses to work on it, in its own words.
    pub refusal: Option<String>,
    /// What `sallyport selftest` said, unless it was refused.
    pub selftest: Option<Selftest>,
    /// How it served, unless it was refused.
    pub served: Option<Served>,
}

/// What `sallyport selftest` said.
#[derive(Debug, Serialize)]
pub struct Selftest {
    /// How many shapes were sent in each round.
    pub shapes: usize,
    /// How many of them this kernel answers if no door stands.
    pub answered_without_a_door: u64,
    /// How long it took, seconds.
    pub seconds: u64,
}

/// How the product served behind the card of the machine.
#[derive(Debug, Serialize)]
pub struct Served {
    /// How the gate is attached to a virtio card: `native` or `generic`.
    pub mode: String,
    /// The pins of its links.
    pub links: usize,
    /// Whether the relay read the pinned tables as a user without any capability.
    pub reads_without_rights: bool,
    /// What `status` finds degraded.
    pub problems: Vec<String>,
    /// What the sandboxes of gate and relay cannot take away on this kernel; none where they are whole.
    pub sandbox_lacks: Vec<String>,
    /// The messages that were acknowledged before the plug was pulled; all arrived after the next boot.
    pub acknowledged: usize,
    /// How many of them arrived more than once.
    pub delivered_again: usize,
}

impl Selftest {
    /// Reads a report that must be as expected.
    pub fn of(report: &Value, took: Duration) -> Result<Self> {
        let rows = report["rows"].as_array().context("a report without rows")?;
        let wrong: Vec<&Value> = rows.iter().filter(|row| row["as_expected"] != true).collect();
        ensure!(
            wrong.is_empty(),
            "selftest: {} shapes are not as expected: {wrong:?}",
            wrong.len()
        );
        ensure!(report["as_expected"] == true, "selftest: this kernel answers no shape at all");
        Ok(Self {
            shapes: rows.len(),
            answered_without_a_door: report["answered_without_a_door"].as_u64().unwrap_or(0),
            seconds: took.as_secs(),
        })
    }
}

impl Served {
    /// Reads `status` of the product that serves on a machine.
    pub fn of(status: &Value, machine: &mut Machine) -> Result<Self> {
        let mode = status["gate"]["interfaces"][0]["mode"].as_str().context("no interface")?;
        let links = machine.must("ls /sys/fs/bpf/sallyport/links", PATIENCE)?;
        let pid = status["relay"]["pid"].as_u64().context("no relay")?;
        let rights = machine.must(&format!("grep CapEff /proc/{pid}/status"), PATIENCE)?;
        let has_none =
            rights.split_whitespace().nth(1).is_some_and(|rights| rights.chars().all(|c| c == '0'));
        let problems = status["problems"].as_array().into_iter().flatten();
        let mut sandbox_lacks = Vec::new();
        for process in ["gate", "relay"] {
            let sandbox = &status[process]["sandbox"];
            ensure!(sandbox["holds"].is_string(), "{process}: no sandbox: {sandbox}");
            let lacks = sandbox["lacks"].as_str();
            sandbox_lacks.extend(lacks.map(|lacks| format!("{process}: sandbox: {lacks}")));
        }
        Ok(Self {
            mode: mode.to_owned(),
            links: links.split_whitespace().count(),
            reads_without_rights: has_none && status["relay"]["guard"] == "guarded",
            problems: problems.filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            sandbox_lacks,
            acknowledged: 0,
            delivered_again: 0,
        })
    }
}

impl Row {
    /// Returns the row in one sentence.
    pub fn sentence(&self) -> String {
        match (&self.refusal, &self.selftest, &self.served) {
            (Some(refusal), _, _) => format!("refused: {refusal}"),
            (None, Some(selftest), Some(served)) => format!(
                "{} shapes as expected in {} s; {} XDP; {} messages outlived the plug",
                selftest.shapes, selftest.seconds, served.mode, served.acknowledged
            ),
            (None, _, _) => "not tried".to_owned(),
        }
    }
}

const HEADS: [&str; 7] =
    ["KERNEL", "SELFTEST", "XDP", "LINKS", "TABLES WITHOUT RIGHTS", "AFTER THE PLUG", "SANDBOX"];

/// Returns the table, and below it what is refused or degraded.
pub fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 7]> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = cells.iter().map(|row| row[column].len());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in [HEADS.map(str::to_owned)].iter().chain(&cells) {
        let line: Vec<String> =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    for row in rows {
        let problems = row
            .served
            .iter()
            .flat_map(|served| served.problems.iter().chain(&served.sandbox_lacks));
        for sentence in row.refusal.iter().chain(problems) {
            let _ = writeln!(text, "{}: {sentence}", row.release);
        }
    }
    text
}

fn cells(row: &Row) -> [String; 7] {
    let none = || "-".to_owned();
    let selftest = row.selftest.as_ref().map(|said| format!("{} of {0}", said.shapes));
    let word = |yes: bool| if yes { "yes" } else { "NO" }.to_owned();
    let served = row.served.as_ref();
    [
        row.release.clone(),
        selftest.unwrap_or_else(|| "refused".to_owned()),
        served.map_or_else(none, |served| served.mode.clone()),
        served.map_or_else(none, |served| served.links.to_string()),
        served.map_or_else(none, |served| word(served.reads_without_rights)),
        served.map_or_else(none, |served| format!("{0} of {0}", served.acknowledged)),
        served.map_or_else(none, |served| {
            if served.sandbox_lacks.is_empty() { "whole" } else { "WEAKER" }.to_owned()
        }),
    ]
}
