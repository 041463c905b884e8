//! `sallyport config check`, and how every verb reads its configuration.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::print;
use crate::config::Config;

/// Reads and checks a configuration file.
///
/// # Errors
///
/// If the file cannot be read, or with every problem in it, one a line: `FILE: line 3, column 1: …`.
pub fn load(file: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("{}: cannot be read (name another with --config)", file.display())
    })?;
    match Config::parse(&text) {
        Ok(config) => Ok(config),
        Err(problems) => {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect();
            bail!("{}", lines.join("\n"))
        }
    }
}

/// `sallyport config check FILE`.
///
/// # Errors
///
/// As [`load`].
pub fn check(file: &Path) -> anyhow::Result<()> {
    load(file)?;
    print::say(format!("{}: good", file.display()));
    Ok(())
}
