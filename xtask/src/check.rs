//! `cargo xtask check`: form, lints, licences and the rules of the house.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::audit;
use crate::caller::{cargo, run, status, top};
use crate::place::Place;
use crate::program::built;
use crate::setup::setup;
use crate::test::ALL;

/// Runs every check, and stops at the first that does not hold.
///
/// # Errors
///
/// The check that does not hold, as the command that shows it.
pub fn check() -> Result<ExitCode> {
    let place = setup()?;
    step("form");
    run(cargo().args(["fmt", "--all", "--check"]))?;

    step("lints");
    let deny = ["--", "-D", "warnings"];
    run(cargo().args(["clippy", "--all-targets"]).args(ALL).args(deny))?;
    step("lints, without the gate");
    run(cargo()
        .args(["clippy", "--package", "relay", "--all-targets", "--no-default-features"])
        .args(deny))?;
    step("lints of the kernel program");
    run(&mut kernel_lints(&place))?;

    step("documentation");
    run(cargo().args(["doc", "--no-deps"]).args(ALL).env("RUSTDOCFLAGS", "-D warnings"))?;

    step("licences, bans, sources");
    let program = built(&place, "cargo-deny")?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(top()).args(arguments);
        command
    };
    run(&mut deny(&["--log-level", "error", "check", "licenses", "bans", "sources"]))?;

    step("advisories");
    if status(&mut deny(&["--log-level", "error", "fetch", "db"]))?.success() {
        run(&mut deny(&["check", "--disable-fetch", "advisories"]))?;
        audit::lock_file(&place)?;
    } else {
        eprintln!("check: ADVISORIES NOT CHECKED: their database could not be fetched");
        // What can be shown without it: that cargo-audit reads our lock file, and finds what is in a database.
        let database = top().join("target/check/advisories");
        audit::reads_back(&place, audit::List::LockFile, &audit::LISTED, &database)?;
    }

    step("rules of the house");
    run(cargo().args(["test", "--package", "tests", "--test", "tidy"]))?;
    println!("check: all of it holds");
    Ok(ExitCode::SUCCESS)
}

fn step(name: &str) {
    eprintln!("check: {name}");
}

/// Clippy for the BPF target: with the source of `core`, which the stable compiler builds only
/// when told so.
fn kernel_lints(place: &Place) -> Command {
    let mut command = cargo();
    command
        .args(["clippy", "--package", "relay-ebpf", "--bins", "--release"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(top().join("target/sallyport-kernel/clippy"))
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_BUILD_RUSTC", place.rustc())
        // Clippy's driver takes its sysroot from here.
        .env("SYSROOT", place.root.join("sysroot"))
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH));
    command
}
