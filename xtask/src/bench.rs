//! `cargo xtask bench`: what the product costs, beside others in one run.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::artifact;
use crate::caller::{as_root, cargo, code, is_root, status};
use crate::install::install;
use crate::setup::setup;
use crate::test::Tools;
use crate::tool::TOOLS;

/// Where the results go if nobody says otherwise.
pub const FOLDER: &str = "target/bench";

/// What can be measured.
#[derive(Clone, Copy)]
pub enum Bench {
    /// The gate, beside other firewalls.
    Gate,
    /// The relay, beside Postfix.
    Smtp,
    /// The spool, alone and behind the relay.
    Spool,
}

impl Bench {
    /// Returns the program that measures it, an example of the package `tests`.
    const fn program(self) -> &'static str {
        match self {
            Self::Gate => "bench_gate",
            Self::Smtp => "bench_smtp",
            Self::Spool => "bench_spool",
        }
    }

    /// Returns what it needs root for.
    const fn needs(self) -> &'static str {
        match self {
            Self::Gate => "network namespaces and XDP need root",
            Self::Smtp | Self::Spool => "a network namespace and Postfix's master need root",
        }
    }
}

/// Builds the release as the calling user, runs a bench as root, and passes on its code. The results are
/// written into `folder`.
///
/// # Errors
///
/// If something cannot be built, installed or started.
pub fn bench(what: Bench, folder: &str, tools: Tools) -> Result<ExitCode> {
    setup()?;
    if tools == Tools::Install {
        install(TOOLS)?;
    }
    eprintln!("bench: building the release (the first time takes minutes)");
    let release = ["build", "--release"];
    let product = ["--package", "relay", "--bins"];
    let product = artifact::build(cargo().args(release).args(product))?;
    let bench = ["--package", "tests", "--example", what.program()];
    let bench = artifact::build(cargo().args(release).args(bench))?;
    let sallyport = &artifact::find(&product, "sallyport")?.executable;
    let bench = &artifact::find(&bench, what.program())?.executable;
    // It belongs to the caller, also where root writes into it.
    std::fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
    if !is_root() {
        eprintln!("bench: {}: running the bench by sudo", what.needs());
    }
    eprintln!("bench: some minutes; whatever else this host does shows in the figures");
    let variables = [("SALLYPORT_BIN", sallyport.as_os_str())];
    Ok(code(status(as_root(bench, &variables).arg(folder))?))
}
