//! Programs of others that tasks call, at the versions that the workspace pins.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::caller::{cargo, run};
use crate::place::{Place, pinned};

/// Those that read a lock file and are done: building them without optimization takes a third of the time, and they
/// are no slower that anybody would see.
const CHECKERS: [&str; 2] = ["cargo-deny", "cargo-audit"];

/// Returns the program of the crate `name`, built into the cache if it is not there. The versions stand in
/// `[workspace.metadata.tools]`, and each is built with the versions that its own lock file names.
///
/// # Errors
///
/// If it cannot be built.
pub fn built(place: &Place, name: &str) -> Result<PathBuf> {
    let version = pinned(name);
    let cache = place.root.parent().context("the place has a parent")?;
    let root = cache.join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.is_file() {
        eprintln!("xtask: building {name} {version} into {} (minutes)", root.display());
        let scratch = cache.join(format!("{name}-{version}.build"));
        let mut install = cargo();
        install.args(["install", name, "--locked", "--quiet", "--version", version]);
        install.arg("--root").arg(&root).arg("--target-dir").arg(&scratch);
        if CHECKERS.contains(&name) {
            install.args(["--profile", "dev"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
        }
        run(&mut install)
            .with_context(|| format!("{name} was not built: it needs the crate registry"))?;
        std::fs::remove_dir_all(scratch)?;
    }
    Ok(program)
}
