//! `cargo xtask package`: what a host installs, made from one commit.
//!
//! The Debian package, the archive for other distributions and the bill of materials come from one tree of files,
//! and whether two folders give the same octets is for `--twice` to say.

mod archive;
mod debian;
mod materials;
mod ship;
mod tree;
mod trial;
mod twice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::caller::{answer, top};
use crate::install::install;
use crate::place::Place;
use crate::setup::setup;
use crate::test::Tools;
use crate::tool::{Proof, Tool};

/// Where the results go if nobody says otherwise.
pub const FOLDER: &str = "target/package/out";

/// What is shown of the results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// That lintian finds no error, if it is there.
    Form,
    /// That the same commit gives the same files in another folder.
    Twice,
    /// That the package can be installed, upgraded, removed and purged in a clean Debian.
    Trial,
}

/// What the form and the trial want, as Debian's packages.
const TOOLS: &[Tool] = &[
    Tool {
        name: "lintian",
        package: "lintian",
        proof: Proof::Program("lintian"),
        purpose: "Debian's rules for packages",
    },
    Tool {
        name: "debootstrap",
        package: "debootstrap",
        proof: Proof::Program("debootstrap"),
        purpose: "a clean Debian to install the package in",
    },
];

/// Makes package, archive and bill of materials in `folder`, and shows of them what is asked for.
///
/// # Errors
///
/// If one of them cannot be made, or does not hold what is asked for.
pub fn package(folder: &str, tools: Tools, shown: Shown) -> Result<ExitCode> {
    let place = setup()?;
    if tools == Tools::Install {
        install(TOOLS)?;
    }
    let folder = top().join(folder);
    let source = Source::checkout()?;
    let made = source.make(&place, &folder)?;
    debian::lint(&made.package)?;
    match shown {
        Shown::Form => {}
        Shown::Twice => twice::compare(&place, &made, source.epoch)?,
        Shown::Trial => trial::run_in_debian(&source, &place, &made)?,
    }
    println!("{}", fs::read_to_string(&made.sums)?.trim_end());
    println!("package: all of it is in {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes the Debian package of this checkout in `folder`; returns it and the time of the commit, in seconds since
/// 1970.
///
/// # Errors
///
/// If it cannot be made.
pub fn debian_package(place: &Place, folder: &Path) -> Result<(PathBuf, u64)> {
    let source = Source::checkout()?;
    let binary = source.build(place)?;
    tree::lay(&source, &binary)?;
    Ok((debian::pack(&source, place, folder, debian::REVISION)?, source.epoch))
}

/// Source to be built, and the time of its commit.
struct Source {
    top: PathBuf,
    /// Seconds since 1970: what every file of the results says of its age.
    epoch: u64,
}

/// What was made of a source.
struct Made {
    /// The kernel's program, which the binary holds.
    object: PathBuf,
    binary: PathBuf,
    package: PathBuf,
    archive: PathBuf,
    materials: PathBuf,
    /// The SHA-256 sums of the last three.
    sums: PathBuf,
}

impl Source {
    /// Returns this checkout, and says so if it is not what its commit says.
    fn checkout() -> Result<Self> {
        let git =
            |arguments: &[&str]| answer(Command::new("git").args(arguments).current_dir(top()));
        let epoch = git(&["log", "-1", "--format=%ct"])
            .context("the time of the commit dates every file: package what git knows")?;
        if !git(&["status", "--porcelain"])?.is_empty() {
            eprintln!("package: THIS IS NOT THE COMMIT: the checkout has changes of its own");
        }
        let epoch = epoch.trim().parse().context("git tells no time")?;
        Ok(Self { top: top(), epoch })
    }

    /// Builds the program that is shipped.
    fn build(&self, place: &Place) -> Result<PathBuf> {
        ensure!(
            !self.top.to_string_lossy().contains(char::is_whitespace),
            "{}: the C compiler's flags cannot name a folder with a space",
            self.top.display()
        );
        ship::build(self, place)
    }

    /// Builds it, and puts the results into `folder`.
    fn make(&self, place: &Place, folder: &Path) -> Result<Made> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let binary = self.build(place)?;
        let tree = tree::lay(self, &binary)?;
        let package = debian::pack(self, place, folder, debian::REVISION)?;
        let archive = archive::pack(self, &tree, folder)?;
        let materials = materials::list(self, place, folder)?;
        let sums = sums(folder, &[&package, &archive, &materials])?;
        Ok(Made { object: self.object(), binary, package, archive, materials, sums })
    }

    /// Where the build of the shipped program goes.
    fn target(&self) -> PathBuf {
        self.top.join("target/ship")
    }

    fn object(&self) -> PathBuf {
        self.target().join("sallyport-kernel/sallyport-gate")
    }

    /// Where the installed files are laid out; `relay/Cargo.toml` names it too.
    fn tree(&self) -> PathBuf {
        self.top.join("target/package/tree")
    }
}

/// The version of every crate of the workspace, and so of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes the sums of these files, which lie in `folder`, as sha256sum(1) reads them.
fn sums(folder: &Path, files: &[&PathBuf]) -> Result<PathBuf> {
    let names = files.iter().filter_map(|file| file.file_name());
    let text = answer(Command::new("sha256sum").arg("--").args(names).current_dir(folder))?;
    let path = folder.join("SHA256SUMS");
    fs::write(&path, text)?;
    Ok(path)
}
