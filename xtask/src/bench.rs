//! `cargo xtask bench`: what the product costs, beside others in one run.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::artifact;
use crate::caller::{as_root, cargo, code, is_root, status};
use crate::setup::setup;
use crate::test::Tools;

/// Where the results go if nobody says otherwise.
pub const FOLDER: &str = "target/bench";

/// Builds the release as the calling user, runs the bench of the gate as root, and passes on its code. The
/// results are written into `folder`.
///
/// # Errors
///
/// If something cannot be built, installed or started.
pub fn gate(folder: &str, tools: Tools) -> Result<ExitCode> {
    setup()?;
    if tools == Tools::Install {
        crate::install::install()?;
    }
    eprintln!("bench: building the release (the first time takes minutes)");
    let release = ["build", "--release"];
    let product = ["--package", "relay", "--bins"];
    let product = artifact::build(cargo().args(release).args(product))?;
    let bench = ["--package", "tests", "--example", "bench_gate"];
    let bench = artifact::build(cargo().args(release).args(bench))?;
    let sallyport = &artifact::find(&product, "sallyport")?.executable;
    let bench = &artifact::find(&bench, "bench_gate")?.executable;
    // It belongs to the caller, also where root writes into it.
    std::fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
    if !is_root() {
        eprintln!("bench: network namespaces and XDP need root: running the bench by sudo");
    }
    eprintln!("bench: some minutes; whatever else this host does shows in the figures");
    let variables = [("SALLYPORT_BIN", sallyport.as_os_str())];
    Ok(code(status(as_root(bench, &variables).arg(folder))?))
}
