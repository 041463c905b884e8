//! What a build made: the executables that cargo reports.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::caller::cannot_start;

/// An executable that cargo built.
pub struct Artifact {
    /// The target's name: of a binary, or of a file in `tests/`.
    pub target: String,
    /// The folder of its package: where cargo would run it.
    pub folder: PathBuf,
    /// The file.
    pub executable: PathBuf,
    /// Whether it runs tests. A build of tests makes plain programs too: those that tests start,
    /// and examples.
    pub is_test: bool,
}

/// Runs a build and returns its executables, in cargo's order. Warnings go to standard error.
///
/// # Errors
///
/// If the build does not succeed.
pub fn build(command: &mut Command) -> Result<Vec<Artifact>> {
    let program = command.get_program().to_owned();
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_start(&program))?;
    if !output.status.success() {
        bail!("the build did not succeed ({})", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages.lines().filter_map(|line| artifact(&serde_json::from_str(line).ok()?)).collect())
}

fn artifact(message: &Value) -> Option<Artifact> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    Some(Artifact {
        target: message["target"]["name"].as_str()?.to_owned(),
        folder: PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned(),
        executable: PathBuf::from(message["executable"].as_str()?),
        is_test: message["profile"]["test"].as_bool()?,
    })
}

/// Returns the executable of the target called `name`.
///
/// # Errors
///
/// If the build made none.
pub fn find<'a>(built: &'a [Artifact], name: &str) -> Result<&'a Artifact> {
    let found = built.iter().find(|artifact| artifact.target == name);
    found.with_context(|| format!("cargo built no {name}"))
}

impl Artifact {
    /// Tells whether the tests in it want root: the files `tests/root_*.rs` do.
    pub fn wants_root(&self) -> bool {
        self.target.starts_with("root_")
    }

    /// Returns the variables that cargo would set for it, and `SALLYPORT_BIN`.
    pub fn environment<'a>(&'a self, sallyport: &'a OsStr) -> [(&'static str, &'a OsStr); 2] {
        [("CARGO_MANIFEST_DIR", self.folder.as_os_str()), ("SALLYPORT_BIN", sallyport)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executables_of_finished_targets_count() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml",
            "target":{"name":"root_gate"},"profile":{"test":true},"executable":"/w/target/debug/deps/root_gate-1"}"#;
        let found = artifact(&serde_json::from_str(line).unwrap()).unwrap();
        assert!(found.wants_root() && found.is_test);
        assert_eq!(found.folder, PathBuf::from("/w/tests"));

        let program = line.replace("\"test\":true", "\"test\":false");
        assert!(!artifact(&serde_json::from_str(&program).unwrap()).unwrap().is_test);

        let library = line.replace("\"/w/target/debug/deps/root_gate-1\"", "null");
        assert!(artifact(&serde_json::from_str(&library).unwrap()).is_none());
        assert!(artifact(&serde_json::json!({"reason": "build-finished"})).is_none());
    }
}
