//! Tests that lists name: `tests/gate.toml` and `tests/rfc`. A list is worth what the tests are
//! that it names, so each name must lead to a test that runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Returns the folder of the project.
#[must_use]
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Finds the test that a list calls `name`: either a file below the project and a function in it,
/// `relay/src/smtp/body.rs octets_above_127_are_kept_and_noted`, or a dialogue below
/// `tests/dialogues`, `body/a-bare-cr-does-not-end-the-body.smtp`.
///
/// # Errors
///
/// There is no such test, or it is ignored.
pub fn find(name: &str) -> Result<()> {
    if Path::new(name).extension().is_some_and(|ending| ending == "smtp") {
        let path = top().join("tests/dialogues").join(name);
        let text = fs::read_to_string(path).with_context(|| format!("no dialogue {name}"))?;
        let expects = ["\nS: ", "\nS+ ", "\n@ closed", "\n@ open", "\n@ stored"];
        ensure!(expects.iter().any(|line| text.contains(line)), "{name} expects nothing");
        return Ok(());
    }
    let (file, test) = name.split_once(' ').with_context(|| format!("no file in {name}"))?;
    let text = fs::read_to_string(top().join(file)).with_context(|| file.to_owned())?;
    ensure!(is_a_test(&text, test), "{file} has no test {test}");
    Ok(())
}

/// Tells whether `name` is a test that runs in this text of a source file.
#[must_use]
pub fn is_a_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let Some(at) = text.find(&head) else { return false };
    let before = &text[..at];
    // Attributes stand between the item before and the function.
    let attributes = before.rsplit("\n\n").next().unwrap_or(before);
    let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
    is_test && !attributes.contains("#[ignore")
}
