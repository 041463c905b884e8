//! The order of the steps and what is told about them.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::stage::Stage;
use super::steps;
use crate::cli::print;

/// A step: what it shows, and the deed, which returns what was observed.
struct Step {
    name: &'static str,
    deed: fn(&mut Stage) -> anyhow::Result<String>,
}

const STEPS: [Step; 7] = [
    Step { name: "the gate stands", deed: steps::stands },
    Step { name: "a client delivers", deed: steps::delivers },
    Step { name: "a stranger gets silence", deed: steps::silence },
    Step { name: "allow add lets him in", deed: steps::lets_in },
    Step { name: "allow remove shuts him out", deed: steps::shuts_out },
    Step { name: "a burst raises an alert", deed: steps::burst },
    Step { name: "SIGKILL opens nothing", deed: steps::killed },
];

/// Plays all steps and prints each as a sentence, then a table. A step that fails does not stop
/// those after it.
pub(super) fn play(folder: &Path) -> anyhow::Result<ExitCode> {
    print::say("Setting the stage: two hosts on one wire, a next hop, a configuration.");
    let program = std::env::current_exe().context("the path of this program")?;
    let mut stage = Stage::set(folder, &program)?;
    let mut rows = Vec::new();
    for (place, step) in STEPS.iter().enumerate() {
        let begin = Instant::now();
        let result = (step.deed)(&mut stage);
        let took = begin.elapsed();
        let number = place + 1;
        let word = match &result {
            Ok(seen) => {
                print::say(format!("{number}. {seen}"));
                "yes"
            }
            Err(error) => {
                print::say(format!("{number}. It did not happen that {}: {error:#}", step.name));
                "NO"
            }
        };
        rows.push([number.to_string(), step.name.to_owned(), word.to_owned(), seconds(took)]);
    }
    print::say("");
    print::table(["STEP", "CLAIM", "SEEN", "TOOK"], &rows);
    let all = rows.iter().all(|row| row[2] == "yes");
    if !all {
        print::say(format!("\nThe product's log:\n{}", stage.log()));
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
