//! What a test needs of the machine. Where it is missing, the test says so, loudly, and returns;
//! `cargo xtask test` counts what was said and runs the rest as root.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;

#[path = "../../xtask/src/tool.rs"]
mod tool;

/// Tells whether the test may go on as root; says so if not. Tests that ask live in targets whose
/// names begin with `root_`, which `cargo xtask test` runs as root.
pub fn root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("root", "cargo xtask test");
    }
    is_root
}

/// Returns the program of a tool from `xtask/src/tool.rs`, by its name there; says that the test
/// is skipped if it is not installed.
///
/// # Panics
///
/// If no such tool is in the table, and if `SALLYPORT_REQUIRE_TOOLS` is `1`: who has the tools
/// installed wants to know of one that is missing.
pub fn tool(name: &str) -> Option<PathBuf> {
    let tool = tool::TOOLS
        .iter()
        .find(|tool| tool.name == name)
        .unwrap_or_else(|| panic!("xtask/src/tool.rs has no {name}"));
    let found = tool.find();
    if found.is_none() {
        assert!(
            env::var_os("SALLYPORT_REQUIRE_TOOLS").is_none_or(|value| value != "1"),
            "{name} is missing ({}, from Debian's {})",
            tool.purpose,
            tool.package,
        );
        skip(name, "cargo xtask test --install");
    }
    found
}

/// Writes past the test harness, which would swallow what a passed test prints.
fn skip(what: &str, remedy: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Where standard error is closed, nobody reads it.
    let _ = writeln!(io::stderr(), "SKIPPED (needs {what}): {remedy} [{test}]");
}
