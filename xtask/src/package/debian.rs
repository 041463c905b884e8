//! The Debian package, by cargo-deb, and what lintian says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Source, TOOLS, VERSION};
use crate::caller::run;
use crate::place::Place;
use crate::program::built;

/// Debian's number of the first package of a version.
pub const REVISION: &str = "1";

/// Whom the package names, as `relay/Cargo.toml` has it.
pub const MAINTAINER: &str = "The Sallyport authors <sallyport@example.net>";

/// Packs the tree, and returns the package that is in `folder` then.
///
/// # Errors
///
/// If cargo-deb cannot be built, or does not succeed.
pub fn pack(source: &Source, place: &Place, folder: &Path, revision: &str) -> Result<PathBuf> {
    let before = packages(folder)?;
    for old in before.iter().filter(|path| named(path, &format!("_{VERSION}-{revision}_"))) {
        fs::remove_file(old)?;
    }
    run(Command::new(built(place, "cargo-deb")?)
        .current_dir(&source.top)
        // It warns that it would not build what is built already.
        .args(["deb", "--quiet", "--no-build", "--no-strip", "--locked", "--profile", "ship"])
        .args(["--package", "relay", "--deb-revision", revision, "--output"])
        .arg(folder)
        .env("SOURCE_DATE_EPOCH", source.epoch.to_string()))?;
    packages(folder)?
        .into_iter()
        .find(|path| named(path, &format!("sallyport_{VERSION}-{revision}_")))
        .with_context(|| format!("cargo-deb left no package in {}", folder.display()))
}

fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

fn named(path: &Path, part: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(part))
}

/// Has lintian look at the package, if it is installed: errors and warnings end the task, such as an override that
/// overrides nothing. What is overridden stands with its reason in `config/debian/lintian-overrides`.
///
/// # Errors
///
/// What lintian finds.
pub fn lint(package: &Path) -> Result<()> {
    let lintian = TOOLS.iter().find(|tool| tool.name == "lintian").context("the table has it")?;
    let Some(program) = lintian.find() else {
        eprintln!("package: FORM NOT CHECKED: lintian is not here; --install brings it");
        return Ok(());
    };
    run(Command::new(program)
        .args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"])
        .arg(package))
    .context("lintian found something")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::top;

    #[test]
    fn the_manifest_names_the_same_maintainer() {
        let manifest = fs::read_to_string(top().join("relay/Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("maintainer = \"{MAINTAINER}\"")));
    }
}
