//! The source of `core` for exactly the pinned compiler: from the toolchain, from Debian, or by
//! rustup, in this order, because the first two change nothing of the user's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::caller::run;
use crate::debian::Suite;
use crate::place::pinned_rust;

/// Returns the folder of the standard library's source; what must be fetched for it goes below
/// `cache`, or as a last resort, and announced, into the toolchain, where it is `own`.
///
/// # Errors
///
/// If no way worked: what each way said, and what to do.
pub fn library(own: &Path, cache: &Path) -> Result<PathBuf> {
    if own.join("core/Cargo.toml").is_file() {
        eprintln!("setup: the toolchain has its rust-src");
        return Ok(own.to_owned());
    }
    let debian = match from_debian(cache) {
        Ok(folder) => return Ok(folder),
        Err(error) => error,
    };
    eprintln!("setup: no rust-src from Debian: {debian:#}");
    by_rustup(own).with_context(|| {
        format!(
            "no source of core for Rust {0}. Remedy: let `rustup component add rust-src \
             --toolchain {0}` succeed, or configure a Debian mirror whose suite {SUITE} has \
             rust-src {0}. Debian: {debian:#}",
            pinned_rust(),
        )
    })
}

/// Adds the component to the user's toolchain. This edits what is the user's, so it says so.
fn by_rustup(own: &Path) -> Result<PathBuf> {
    let pinned = pinned_rust();
    eprintln!("setup: ADDING the component rust-src to your toolchain {pinned}, with rustup");
    run(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", pinned]))?;
    ensure!(own.join("core/Cargo.toml").is_file(), "rustup added no {}", own.display());
    Ok(own.to_owned())
}

/// The suite that follows new compilers.
const SUITE: &str = "trixie-backports";

/// Takes Debian's `rust-src` of the same version.
fn from_debian(cache: &Path) -> Result<PathBuf> {
    let pinned = pinned_rust();
    let suite = Suite::read(cache.join("apt"), SUITE)?;
    let wanted = format!("{pinned}+");
    let version = suite.version("rust-src", |version| version.starts_with(&wanted))?;
    // 45 MB.
    let unpacked = cache.join("rust-src");
    suite.unpack("rust-src", &version, &unpacked)?;
    suite.forget()?;

    let folder = unpacked.join(format!("usr/src/rustc-{pinned}/library"));
    ensure!(folder.join("core/Cargo.toml").is_file(), "the package has no {}", folder.display());
    Ok(folder)
}
