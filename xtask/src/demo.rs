//! `cargo xtask demo`: the release build, shown at work.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::artifact;
use crate::caller::{as_root, cargo, is_root, status};
use crate::setup::setup;

/// Builds sallyport as the calling user, runs `sallyport demo` as root, and passes on its code.
///
/// # Errors
///
/// If it cannot be built or started.
pub fn demo(arguments: &[&str]) -> Result<ExitCode> {
    setup()?;
    eprintln!("demo: building sallyport (the first time takes minutes)");
    let build = ["build", "--release", "--package", "relay", "--bins"];
    let built = artifact::build(cargo().args(build))?;
    let sallyport = built.iter().find(|artifact| artifact.target == "sallyport");
    let sallyport = &sallyport.context("cargo built no sallyport")?.executable;
    if !is_root() {
        eprintln!("demo: network namespaces and XDP need root: running `sallyport demo` by sudo");
    }
    let ended = status(as_root(sallyport, &[]).arg("demo").args(arguments))?;
    // A process that a signal ended has no code.
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
