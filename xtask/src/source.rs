//! The source of `core` for exactly the pinned compiler: from the toolchain, from Debian, or by
//! rustup, in this order, because the first two change nothing of the user's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::caller::{answer, run};
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

/// Takes Debian's `rust-src` of the same version, with apt's own signature checks but a state of
/// our own: the system's package sources and lists stay as they are.
fn from_debian(cache: &Path) -> Result<PathBuf> {
    let (pinned, mirror) = (pinned_rust(), configured_mirror()?);
    let apt = Apt::new(cache.join("apt"), &mirror)?;
    eprintln!("setup: reading {SUITE} at {mirror} (signatures checked)");
    answer(apt.command("apt-get").args(["update", "--error-on=any"]))?;

    let listed = answer(apt.command("apt-cache").args(["madison", "rust-src"]))?;
    let version = listed
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| version.starts_with(&format!("{pinned}+")))
        .with_context(|| format!("{SUITE} has no rust-src {pinned}"))?;

    eprintln!("setup: fetching rust-src {version} (45 MB)");
    answer(apt.command("apt-get").args(["download", &format!("rust-src={version}")]))?;
    let package = fs::read_dir(&apt.folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let unpacked = cache.join("rust-src");
    run(Command::new("dpkg-deb").arg("-x").args([&package, &unpacked]))?;
    fs::remove_dir_all(&apt.folder)?;

    let folder = unpacked.join(format!("usr/src/rustc-{pinned}/library"));
    ensure!(folder.join("core/Cargo.toml").is_file(), "the package has no {}", folder.display());
    Ok(folder)
}

/// Where Debian keeps the keys of its archive. A system without the file trusts what apt's own
/// configuration trusts; either way an unsigned list is an error.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Asks apt for the Debian mirror that the system is configured to use.
fn configured_mirror() -> Result<String> {
    let asked = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let targets = answer(Command::new("apt-get").args(asked))?;
    targets
        .lines()
        .find(|address| address.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
        .context("apt is configured with no Debian mirror")
}

/// apt with lists, caches and sources of its own, and the system's proxy settings and keys.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: PathBuf, mirror: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "state", "sources"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mut source = format!("Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\n");
        if Path::new(KEYRING).is_file() {
            source.extend(["Signed-By: ", KEYRING, "\n"]);
        }
        fs::write(folder.join("sources/suite.sources"), source)?;
        Ok(Self { folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // apt leaves a downloaded package in the folder it is called from.
        command.current_dir(&self.folder).stdin(std::process::Stdio::null());
        let at = |part: &str| self.folder.join(part).display().to_string();
        for setting in [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", at("sources")),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::Lists={}", at("lists")),
            "Dir::State::Status=/dev/null".to_owned(),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            // Root's apt would drop to a user who cannot write in this cache.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["-o", &setting]);
        }
        command
    }
}
