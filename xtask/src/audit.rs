//! cargo-audit: a second reader of the advisories, which also reads the list of crates that the shipped binary
//! carries.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::caller::{run, top};
use crate::place::Place;
use crate::program::built;

/// Crates that every list of ours must have: TLS, its cryptography, what loads the kernel's program, what all of it runs on.
/// (The advisories are about crates of crates.io: of ours cargo-audit finds none.)
pub const LISTED: [&str; 4] = ["rustls", "aws-lc-sys", "aya", "tokio"];

/// Fetches the advisories of RustSec, and looks for the crates of `Cargo.lock` among them.
///
/// # Errors
///
/// If cargo-audit cannot be built, the advisories cannot be fetched, or a crate is among them.
pub fn lock_file(place: &Place) -> Result<()> {
    let mut command = Command::new(built(place, "cargo-audit")?);
    run(command.current_dir(top()).args(["audit", "--quiet"]))
}

/// A list of crates that cargo-audit reads.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// The lock file.
    LockFile,
    /// The list that a binary carries (cargo-auditable).
    In(&'a Path),
}

/// Shows that a list can be read by somebody who did not write it: in a database of our own, made in `folder`, each of
/// `crates` is bad, and cargo-audit must find every one in the list.
///
/// # Errors
///
/// If one is not found, cargo-audit cannot be built, or git does not make the database.
pub fn reads_back(place: &Place, list: List<'_>, crates: &[&str], folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for (number, name) in crates.iter().enumerate() {
        let advisories = folder.join("crates").join(name);
        fs::create_dir_all(&advisories)?;
        let id = format!("RUSTSEC-2000-{:04}", number + 1);
        fs::write(advisories.join(format!("{id}.md")), advisory(&id, name))?;
    }
    let git = |words: &[&str]| {
        let author = ["-c", "user.name=Sallyport", "-c", "user.email=sallyport@example.net"];
        run(Command::new("git").current_dir(folder).args(author).args(words))
    };
    git(&["init", "--quiet"])?;
    git(&["add", "--all"])?;
    git(&["-c", "commit.gpgSign=false", "commit", "--quiet", "--message", "all of them are bad"])?;

    let mut command = Command::new(built(place, "cargo-audit")?);
    command.current_dir(top());
    command.args(["audit", "--quiet", "--no-fetch", "--json", "--db"]).arg(folder);
    let read = match list {
        List::LockFile => top().join("Cargo.lock"),
        List::In(binary) => {
            command.arg("bin").arg(binary);
            binary.to_owned()
        }
    };
    // It fails, since it finds something; what it finds is what counts.
    let output = command.output().context("cargo-audit does not start")?;
    let found = found(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
        format!("cargo-audit: {}", String::from_utf8_lossy(&output.stderr).trim_end())
    })?;
    for name in crates {
        ensure!(
            found.iter().any(|known| known == name),
            "{}: cargo-audit reads no {name} in its list of crates, only {}",
            read.display(),
            found.join(", ")
        );
    }
    Ok(())
}

/// Returns an advisory against every version of a crate, in the form of RustSec's database.
fn advisory(id: &str, name: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{name}\"\ndate = \"2000-01-01\"\n\n\
         [versions]\npatched = []\n```\n\n# It is listed\n\nIn a binary that carries the list of its crates.\n"
    )
}

/// Reads the names of the crates that a report finds bad.
fn found(report: &str) -> Result<Vec<String>> {
    let report: Value = serde_json::from_str(report).context("no report")?;
    let list = report["vulnerabilities"]["list"].as_array().context("a report without a list")?;
    let names = list.iter().filter_map(|one| one["package"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_crates_that_it_finds_bad() {
        let report =
            r#"{"vulnerabilities": {"found": true, "list": [{"package": {"name": "rustls"}}]}}"#;
        assert_eq!(found(report).unwrap(), ["rustls"]);
        assert!(found("error: no database").is_err());
        assert!(found("{}").is_err());
    }
}
