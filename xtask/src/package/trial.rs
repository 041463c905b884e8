//! The life of the package in a clean Debian: installed, at work, upgraded, removed, purged; and that the next Debian
//! takes it, and how exposed its systemd calls the units.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Made, Source, TOOLS, debian};
use crate::caller::{as_root, is_root, run};
use crate::debian::configured_mirror;
use crate::place::Place;

/// What root does there, step by step.
const SCRIPT: &str = include_str!("trial.sh");

/// Runs the trial as root: bootstraps Debian from the configured mirror into a folder of its own, which is gone
/// at the end, and goes through the package's life with it and with a second package of a higher number.
///
/// # Errors
///
/// The step that failed, on standard error.
pub fn run_in_debian(source: &Source, place: &Place, made: &Made) -> Result<()> {
    let tool = TOOLS.iter().find(|tool| tool.name == "debootstrap").context("the table has it")?;
    tool.find().context("debootstrap is not here: `cargo xtask package --install --test`")?;
    let later = source.target().join("later");
    std::fs::create_dir_all(&later)?;
    let later = debian::pack(source, place, &later, "2")?;
    if !is_root() {
        eprintln!("package: a root of its own, namespaces and XDP need root: going on by sudo");
    }
    let mirror = configured_mirror()?;
    let root: PathBuf = env::temp_dir().join(format!("sallyport-trial-{}", std::process::id()));
    let variables = [("LC_ALL", OsStr::new("C.UTF-8"))];
    let mut shell = as_root("sh", &variables);
    shell.args(["-c", SCRIPT, "trial"]).arg(&root).arg(&mirror);
    run(shell.arg(&made.package).arg(&later).arg(&made.archive))
        .context("the package did not stand the trial; its last line says where")
}
