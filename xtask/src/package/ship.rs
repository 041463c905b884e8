//! The binary that is shipped: a release that names no folder of the machine that built it, and carries the list
//! of the crates it is made of (cargo-auditable).

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Source;
use crate::artifact;
use crate::audit;
use crate::caller::{answer, cargo};
use crate::place::Place;
use crate::program::built;

/// Variables that would change what is built.
const FOREIGN: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_INCREMENTAL",
    "CXXFLAGS",
    "AWS_LC_SYS_CFLAGS",
];

/// The section of the binary that lists its crates, in the form of cargo-auditable.
const CRATES: &str = ".dep-v0";

/// Builds the program and returns its file.
///
/// # Errors
///
/// If it cannot be built, lacks the list of its crates, or names a folder of this machine after all.
pub fn build(source: &Source, place: &Place) -> Result<PathBuf> {
    eprintln!("package: building the program (the first time takes minutes)");
    let folders = folders(source)?;
    let auditable = built(place, "cargo-auditable")?;
    let programs = auditable.parent().context("a program lies in a folder")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([programs.to_owned()].into_iter().chain(env::split_paths(&path)))?;

    let mut command = cargo();
    command
        .current_dir(&source.top)
        .args(["auditable", "build", "--locked", "--profile", "ship"])
        .args(["--package", "relay", "--bin", "sallyport", "--target-dir"])
        .arg(source.target())
        .env("PATH", path)
        .env("SOURCE_DATE_EPOCH", source.epoch.to_string())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&folders, "--remap-path-prefix=", "\x1f"))
        .env("CFLAGS", flags(&folders, "-ffile-prefix-map=", " "));
    for name in FOREIGN {
        command.env_remove(name);
    }
    let built = artifact::build(&mut command)?;
    let binary = artifact::find(&built, "sallyport")?.executable.clone();
    let sections = answer(Command::new("objdump").arg("-h").arg(&binary))
        .context("objdump tells the parts of a binary: Debian's package binutils has it")?;
    ensure!(sections.contains(CRATES), "{} lacks the list of its crates", binary.display());
    let database = source.top.join("target/package/advisories");
    audit::reads_back(place, audit::List::In(&binary), &audit::LISTED, &database)?;
    let sysroot =
        answer(Command::new("rustc").args(["--print", "sysroot"]).current_dir(&source.top))?;
    let seen = folders.iter().map(|(folder, _)| folder.as_path());
    names_no_folder(&binary, seen.chain([Path::new(sysroot.trim_end())]))?;
    Ok(binary)
}

/// Returns every folder of source whose name the compilers see, and what stands for it. The standard library's has
/// such a name already.
fn folders(source: &Source) -> Result<Vec<(PathBuf, String)>> {
    let metadata = ["metadata", "--format-version", "1", "--locked"];
    let metadata = answer(cargo().current_dir(&source.top).args(metadata))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages =
        metadata["packages"].as_array().context("cargo metadata tells of no packages")?;
    let registries: BTreeSet<&Path> = packages
        .iter()
        .filter(|package| package["source"].is_string())
        .filter_map(|package| Path::new(package["manifest_path"].as_str()?).ancestors().nth(2))
        .collect();
    let registries = registries.into_iter().map(|folder| (folder.to_owned(), "/crates".to_owned()));
    Ok([(source.top.clone(), "/sallyport".to_owned())].into_iter().chain(registries).collect())
}

fn flags(folders: &[(PathBuf, String)], flag: &str, separator: &str) -> OsString {
    let mut flags = OsString::new();
    for (folder, stands_for) in folders {
        if !flags.is_empty() {
            flags.push(separator);
        }
        flags.push(flag);
        flags.push(folder);
        flags.push("=");
        flags.push(stands_for);
    }
    flags
}

/// A name that is in the binary would make another folder's build another binary.
fn names_no_folder<'a>(binary: &Path, folders: impl Iterator<Item = &'a Path>) -> Result<()> {
    let octets = fs::read(binary)?;
    for folder in folders {
        let name = folder.as_os_str().as_bytes();
        if let Some(at) = octets.windows(name.len()).position(|window| window == name) {
            let end = octets[at..].iter().position(|octet| !octet.is_ascii_graphic());
            let path = String::from_utf8_lossy(&octets[at..at + end.unwrap_or(name.len())]);
            bail!("{} names a folder of this machine: {path}", binary.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_is_one_flag() {
        let folders = [
            (PathBuf::from("/a b"), "/crates".to_owned()),
            (PathBuf::from("/c"), "/sallyport".to_owned()),
        ];
        assert_eq!(flags(&folders, "-f=", "\x1f"), "-f=/a b=/crates\x1f-f=/c=/sallyport");
    }

    #[test]
    fn a_folder_in_the_binary_is_found_with_the_path_that_names_it() {
        let own = env::current_exe().unwrap();
        // This very line puts the name there.
        let known = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/a-folder"));
        let error = names_no_folder(&own, [known].into_iter()).unwrap_err().to_string();
        assert!(error.contains(&known.display().to_string()), "{error}");
        let unknown = PathBuf::from(format!("/no-folder-{}", std::process::id()));
        assert!(names_no_folder(&own, [unknown.as_path()].into_iter()).is_ok());
    }
}
