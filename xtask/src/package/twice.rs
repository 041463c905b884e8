//! The same commit, built once more in another folder: every octet of the results must be the same.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Made, Source};
use crate::caller::{answer, run, top};
use crate::place::Place;

/// Exports the commit into a folder of another name and length, makes everything there, and compares.
///
/// # Errors
///
/// If the checkout has changes of its own, the second build fails, or something differs; then the folder stays.
pub fn compare(place: &Place, first: &Made, epoch: u64) -> Result<()> {
    let changes = answer(Command::new("git").args(["status", "--porcelain"]).current_dir(top()))?;
    ensure!(changes.is_empty(), "the checkout has changes of its own: commit or drop them first");
    let folder = Folder::make()?;
    eprintln!("package: once more, in {}", folder.path.display());
    let source = Source { top: folder.path.join("a-checkout-by-another-name"), epoch };
    export(&source.top)?;
    let second = source.make(place, &folder.path.join("out"))?;

    let mut different = Vec::new();
    for (name, one, other) in [
        ("kernel program", &first.object, &second.object),
        ("binary", &first.binary, &second.binary),
        ("package", &first.package, &second.package),
        ("archive", &first.archive, &second.archive),
        ("bill of materials", &first.materials, &second.materials),
    ] {
        let same = fs::read(one)? == fs::read(other)?;
        let told = if same { "the same twice" } else { "DIFFERENT" };
        let sum = answer(Command::new("sha256sum").arg("--").arg(one))?;
        println!("package: {name:<18} {told} {}", sum.split(' ').next().unwrap_or_default());
        if !same {
            different.push(format!("{} and {}", one.display(), other.display()));
        }
    }
    if !different.is_empty() {
        let kept = folder.keep();
        bail!(
            "not reproducible; see {} (diffoscope shows where):\n{}",
            kept.display(),
            different.join("\n")
        );
    }
    Ok(())
}

/// Writes the files of the commit, as git has them.
fn export(to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let tar = to.with_extension("tar");
    run(Command::new("git").args(["archive", "HEAD", "--output"]).arg(&tar).current_dir(top()))?;
    run(Command::new("tar").arg("--extract").arg("--file").arg(&tar).arg("--directory").arg(to))?;
    fs::remove_file(tar)?;
    Ok(())
}

/// A folder that is gone at the end, unless somebody is to look at it.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn make() -> Result<Self> {
        let name = format!("sallyport-package-{}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, kept: false })
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
