//! Whether what `sallyport doctor` says to do is what helps.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::row::Row;
use super::scene::Scene;

impl Scene {
    /// Runs the command of the first finding, as it is told, and fails unless no fault is left.
    pub fn is_mended(&self, row: &Row, found: &Value) -> Result<()> {
        let remedy = found["findings"][0]["remedy"].as_str().context("a remedy")?;
        // What stands behind it in brackets is for people.
        let pasted = remedy.split_once(" (").map_or(remedy, |(command, _)| command);
        if let Some(words) = pasted.strip_prefix("sallyport ") {
            self.sallyport(&words.split_whitespace().collect::<Vec<_>>())?;
        } else {
            let mut command = Command::new("/bin/sh");
            command.args(["-ec", pasted]).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
            let output = self.world.stage.relay.within(|| command.output())??;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{pasted}: {said}");
        }
        let left = self.doctor(row.words)?.faults;
        ensure!(left.is_empty(), "after {pasted} there is still {left:?}");
        Ok(())
    }
}
