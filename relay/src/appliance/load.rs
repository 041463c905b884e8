//! Reading the configuration file, for every process and verb.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::Config;

/// Reads and checks a configuration file.
///
/// # Errors
///
/// If the file cannot be read, or with every problem in it, one a line: `FILE: line 3, column 1: …`.
pub fn load(file: &Path) -> anyhow::Result<Config> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{name}: cannot be read (name another with --config)"))?;
    Config::parse(&text).or_else(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{name}: {problem}")).collect();
        bail!("{}", lines.join("\n"))
    })
}
