//! Whether what `sallyport doctor` says to do is what helps.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, GUARDED};
use relay::demo::steps::attempt;
use relay::hosts::dial::Answer;
use serde_json::Value;

use super::row::Row;
use super::scene::Scene;

/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(3);

impl Scene {
    /// Runs the command of the first finding, as it is told, and fails unless no fault is left.
    pub fn is_mended(&self, row: &Row, found: &Value) -> Result<()> {
        let remedy = found["findings"][0]["remedy"].as_str().context("a remedy")?;
        // A shell passes over what stands behind `#`.
        let command = remedy.split_once("  # ").map_or(remedy, |(command, _)| command);
        if let Some(words) = command.strip_prefix("sallyport ") {
            self.sallyport(&words.split_whitespace().collect::<Vec<_>>())?;
        } else {
            let mut command = Command::new("/bin/sh");
            command.args(["-ec", remedy]).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
            let output = self.world.stage.relay.within(|| command.output())??;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{remedy}: {said}");
        }
        let left = self.doctor(row.words)?.faults;
        ensure!(left.is_empty(), "after {remedy} there is still {left:?}");
        // By a real connection, of the client that is listed and asked for.
        if ["firewall", "banned"].contains(&row.wanted) {
            let answer = attempt(&self.world.stage, CLIENT, GUARDED, PATIENCE)?;
            ensure!(answer == Answer::Connected, "after {remedy} the client's attempt: {answer:?}");
        }
        Ok(())
    }
}
