//! `sallyport doctor`: why a client cannot connect, or mail does not leave.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::print::{self, Output};
use crate::appliance::load::load;
use crate::doctor::{Asked, Finding, Place, Report, Severity, Stops, UNSEEN, Walked, examine};
use crate::hosts::own;

/// The widest name of a place.
const PLACE: usize = 9;

/// What is left out where the relay has a network namespace of its own.
const AROUND: &str = "the host around the relay's own network namespace, from inside of which this looked: its \
     firewall, and what sends clients in (systemctl status sallyport-netns-rules; nft list ruleset)";

/// Looks at everything and prints what it found, the most likely cause on top. Where the relay has a network
/// namespace of its own, it looks from inside. The exit code tells: 0 no fault, 1 faults.
///
/// # Errors
///
/// If that namespace cannot be entered.
pub fn doctor(file: &Path, asked: Asked, output: Output) -> anyhow::Result<ExitCode> {
    let is_inside = own::enter().with_context(|| {
        format!(
            "the relay has a network namespace of its own, {}: run this as root",
            own::NAMESPACE
        )
    })?;
    let mut report = match load(file) {
        Ok(config) => examine(config, asked),
        Err(problem) => Report::of_unreadable(&format!("{problem:#}")),
    };
    if is_inside {
        report.left_out.push(AROUND.to_owned());
    }
    match output {
        Output::Json => print::json(&Written::of(&report)),
        Output::Text => print::say(text(&report)),
    }
    Ok(if report.faults() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report as programs read it.
#[derive(Serialize)]
struct Written<'a> {
    faults: usize,
    findings: Vec<Line<'a>>,
    walk: &'a [Walked],
    left_out: &'a [String],
    unseen: [&'static str; UNSEEN.len()],
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'static str,
    place: Place,
    severity: Severity,
    stops: Stops,
    says: &'a str,
    remedy: &'a str,
}

impl<'a> Written<'a> {
    fn of(report: &'a Report) -> Self {
        let line = |found: &'a Finding| Line {
            id: found.cause.id(),
            place: found.cause.place(),
            severity: found.cause.severity(),
            stops: found.cause.stops(),
            says: &found.says,
            remedy: &found.remedy,
        };
        Self {
            faults: report.faults(),
            findings: report.findings.iter().map(line).collect(),
            walk: &report.walk,
            left_out: &report.left_out,
            unseen: UNSEEN,
        }
    }
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    let faults = report.faults();
    let known = report.findings.len() - faults;
    let besides = if known > 0 { format!("; {}", worth_knowing(known)) } else { String::new() };
    lines.push(match faults {
        0 => format!("nothing is wrong that can be seen from here{besides}"),
        _ => format!("{}{besides}", print::count(faults, "fault")),
    });
    for (number, found) in report.findings.iter().enumerate() {
        let mark = match found.cause.severity() {
            Severity::Fault => format!("{}.", number + 1),
            Severity::WorthKnowing => "-".to_owned(),
        };
        let head = format!("{mark:<3} {} ({}):", found.cause.id(), found.cause.place().name());
        lines.extend([String::new(), head, format!("    {}", print::shown(&found.says))]);
        if !found.remedy.is_empty() {
            lines.push(format!("    -> {}", print::shown(&found.remedy)));
        }
    }
    if !report.walk.is_empty() {
        lines.extend([String::new(), "From the wire to the next hop:".to_owned()]);
        lines.extend(report.walk.iter().map(|walked| {
            format!("  {:<PLACE$}  {}: {}", walked.place.name(), walked.name, walked.result)
        }));
    }
    if !report.left_out.is_empty() {
        lines.extend([String::new(), "Not looked at:".to_owned()]);
        lines.extend(report.left_out.iter().map(|why| format!("  {}", print::shown(why))));
    }
    lines.extend([String::new(), "What cannot be seen from here:".to_owned()]);
    lines.extend(UNSEEN.iter().map(|what| format!("  {what}")));
    lines.join("\n")
}

fn worth_knowing(count: usize) -> String {
    format!("{} worth knowing", print::count(count, "thing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Cause;

    #[test]
    fn faults_are_numbered_and_each_line_of_a_stranger_is_harmless() {
        let found =
            |cause, says: &str| Finding { cause, says: says.into(), remedy: "do this".into() };
        let report = Report {
            findings: vec![
                found(Cause::InterfaceDown, "eth0 is switched off"),
                found(Cause::HopGreeting, "554 \u{1b}[2J no"),
                found(Cause::GateGeneric, "slow"),
            ],
            walk: Vec::new(),
            left_out: vec!["x: needs root".into()],
        };
        let text = text(&report);
        let wanted = "2 faults; 1 thing worth knowing\n\n1.  interface-down (interface):\n    eth0 is switched \
            off\n    -> do this\n\n2.  hop-greeting (next hop):\n    554 ?[2J no\n    -> do this\n\n-   \
            gate-generic (gate):\n    slow\n    -> do this\n\nNot looked at:\n  x: needs root\n";
        assert!(text.starts_with(wanted), "{text}");
        assert!(text.contains("security groups"), "{text}");
    }
}
