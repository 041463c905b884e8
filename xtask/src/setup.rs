//! `cargo xtask setup`: the kernel toolchain, made once in the user's cache.
//!
//! The kernel program needs two things that rustup's minimal toolchain has not: the source of
//! `core` for exactly the pinned compiler, and a linker that speaks that compiler's LLVM. Both
//! go into one folder beside links to the real toolchain, which is left as it is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::caller::{answer, cargo, run, top};
use crate::place::{Place, pinned, pinned_rust};
use crate::source;

/// Makes the kernel toolchain, or finds it made, and returns its place.
///
/// # Errors
///
/// If something is missing that cannot be fetched; the message names the remedy.
pub fn setup() -> Result<Place> {
    let place = Place::of(OsStr::new("rustc")).map_err(|error| anyhow!(error))?;
    let above = place.root.parent().expect("the place has a parent");
    fs::create_dir_all(above).with_context(|| format!("{} cannot be made", above.display()))?;
    // Two setups at once (two checkouts, one cache) wait for each other.
    let lock = File::create(above.join("lock"))?;
    lock.lock().context("the cache's lock cannot be taken")?;

    let sysroot = sysroot(Path::new("rustc"))?;
    if is_whole(&place, &sysroot) {
        return Ok(place);
    }
    eprintln!("setup: making the kernel toolchain in {}", place.root.display());
    if place.root.exists() {
        fs::remove_dir_all(&place.root)?;
    }
    fs::create_dir_all(&place.root)?;
    make_sysroot(&place, &sysroot)?;
    make_linker(&place, &sysroot)?;
    verify(&place)?;
    fs::write(place.stamp(), sysroot.as_os_str().as_encoded_bytes())?;
    eprintln!("setup: done");
    Ok(place)
}

/// Asks `rustc` for its sysroot.
fn sysroot(rustc: &Path) -> Result<PathBuf> {
    let printed = answer(Command::new(rustc).args(["--print", "sysroot"]).current_dir(top()))?;
    Ok(PathBuf::from(printed.trim_end()))
}

/// Tells whether the place was finished, for the same sysroot, and still works. A moved home or
/// a cleaned cache shows here.
fn is_whole(place: &Place, sysroot: &Path) -> bool {
    let stamped = fs::read(place.stamp());
    stamped.is_ok_and(|stamp| stamp == sysroot.as_os_str().as_encoded_bytes())
        && verify(place).is_ok()
}

/// Makes a sysroot of links that has the source too, and a compiler that uses it. Cargo asks
/// the compiler where the source is, so a flag alone would not be enough.
fn make_sysroot(place: &Place, real: &Path) -> Result<()> {
    let made = place.root.join("sysroot");
    link_all_but(real, &made, "lib")?;
    link_all_but(&real.join("lib"), &made.join("lib"), "rustlib")?;
    link_all_but(&real.join("lib/rustlib"), &made.join("lib/rustlib"), "src")?;

    let wanted = Path::new("lib/rustlib/src/rust/library");
    let holder = made.join(wanted);
    fs::create_dir_all(holder.parent().expect("the library has a parent"))?;
    let library = source::library(&real.join(wanted), &place.root)?;
    symlink(library, holder)?;

    let script = format!(
        "#!/bin/sh\n# Made by cargo xtask setup: the real compiler, with the source of core.\n\
         exec '{}' --sysroot '{}' \"$@\"\n",
        quotable(&real.join("bin/rustc"))?,
        quotable(&made)?,
    );
    fs::write(place.rustc(), script)?;
    fs::set_permissions(place.rustc(), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Makes `made` a folder of links to what `real` holds, without the entry `left_out`.
fn link_all_but(real: &Path, made: &Path, left_out: &str) -> Result<()> {
    fs::create_dir_all(made)?;
    for entry in fs::read_dir(real).with_context(|| format!("{} is not there", real.display()))? {
        let entry = entry?;
        if entry.file_name() != left_out {
            symlink(entry.path(), made.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Returns the path as text that may stand between single quotes in a shell script.
fn quotable(path: &Path) -> Result<&str> {
    path.to_str()
        .filter(|text| !text.contains('\''))
        .with_context(|| format!("{} cannot be quoted in a script", path.display()))
}

/// Builds bpf-linker against the LLVM that the compiler ships. The folder of links stays: it is
/// where the linker looks for the library each time it starts.
fn make_linker(place: &Place, real: &Path) -> Result<()> {
    let library = shipped_llvm(real)?;
    let prefix = place.root.join("llvm");
    fs::create_dir_all(prefix.join("lib"))?;
    let name = library.file_name().expect("a listed file has a name");
    symlink(&library, prefix.join("lib").join(name))?;
    symlink(&library, prefix.join("lib/libLLVM.so"))?;

    let about = answer(Command::new(place.rustc()).arg("-vV"))?;
    let major = about
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
        .context("the compiler does not tell its LLVM version")?;
    let version = pinned("bpf-linker");
    eprintln!("setup: building bpf-linker {version} against LLVM {major} (about a minute)");
    let scratch = place.root.join("build");
    run(cargo()
        .args(["install", "bpf-linker", "--locked", "--quiet", "--no-default-features"])
        .args(["--version", version, "--features", &format!("llvm-{major}")])
        .arg("--root")
        .arg(&place.root)
        .arg("--target-dir")
        .arg(&scratch)
        .env("LLVM_PREFIX", &prefix))
    .context("bpf-linker was not built: it needs a C compiler and the crate registry")?;
    fs::remove_dir_all(scratch)?;
    Ok(())
}

/// Finds the shared LLVM of a toolchain, under the name that its users link to.
fn shipped_llvm(real: &Path) -> Result<PathBuf> {
    let folder = real.join("lib");
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with("libLLVM.so.") {
            return Ok(path);
        }
    }
    bail!(
        "{} holds no libLLVM.so.*: use the toolchain that rustup installs \
         (`rustup toolchain install {}`)",
        folder.display(),
        pinned_rust(),
    )
}

/// Shows that both programs start and the source is there.
fn verify(place: &Place) -> Result<()> {
    let found = sysroot(&place.rustc())?;
    let manifest = found.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    ensure!(manifest.is_file(), "{} is missing", manifest.display());
    let told = answer(Command::new(place.programs().join("bpf-linker")).arg("--version"))?;
    ensure!(told.trim_end().ends_with(pinned("bpf-linker")), "bpf-linker says it is {told}");
    Ok(())
}
