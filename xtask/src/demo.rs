//! `cargo xtask demo`: the release build, shown at work.

use std::process::ExitCode;

use anyhow::Result;

use crate::artifact;
use crate::caller::{as_root, cargo, code, is_root, status};
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
    let sallyport = &artifact::find(&built, "sallyport")?.executable;
    if !is_root() {
        eprintln!("demo: network namespaces and XDP need root: running `sallyport demo` by sudo");
    }
    Ok(code(status(as_root(sallyport, &[]).arg("demo").args(arguments))?))
}
