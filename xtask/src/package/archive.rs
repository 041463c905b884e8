//! The archive for other distributions: the same tree, and how to install it by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Source, VERSION};
use crate::caller::{answer, run};

/// The oldest C library that the binary runs with. A static one was weighed and left out: names of hosts and users
/// are looked up by modules that glibc loads, and musl's allocator takes turns between threads.
const OLDEST_GLIBC: (u32, u32) = (2, 34);

/// What the archive says of itself; it lies beside `usr`.
const INSTALL: &str = "config/INSTALL.md";

/// Packs the tree, and returns the archive in `folder`.
///
/// # Errors
///
/// If the binary wants a newer C library or another one than the archive says, or a tool does not succeed.
pub fn pack(source: &Source, tree: &Path, folder: &Path) -> Result<PathBuf> {
    portable(&tree.join("usr/bin/sallyport"))?;
    let name = format!("sallyport-{VERSION}-{}-linux", std::env::consts::ARCH);
    let archive = folder.join(format!("{name}.tar.xz"));
    let install = source.top.join(INSTALL);
    let (above, file) = (install.parent(), install.file_name());
    run(Command::new("tar")
        .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--format=gnu", "--mode=u+rw,go+r,go-w", "--use-compress-program=xz -6 --threads=1"])
        .arg(format!("--mtime=@{}", source.epoch))
        // Names of files, not what links lead to.
        .arg(format!("--transform=flags=r;s,^,{name}/,"))
        .arg("--exclude=usr/share/lintian")
        .arg("--exclude=usr/share/doc/sallyport/changelog.Debian.gz")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(above.context("it lies in a folder")?)
        .arg(file.context("it has a name")?)
        .arg("--directory")
        .arg(tree)
        .arg("usr"))?;
    Ok(archive)
}

/// Shows that a binary needs nothing but a C library of that age.
fn portable(binary: &Path) -> Result<()> {
    let told = answer(Command::new("objdump").arg("-p").arg(binary))
        .context("objdump tells what a binary needs: Debian's package binutils has it")?;
    let (libraries, newest) = needs(&told).context("objdump tells of no C library")?;
    for library in &libraries {
        ensure!(LIBRARIES.contains(&library.as_str()), "the binary needs {library}");
    }
    let (major, minor) = OLDEST_GLIBC;
    ensure!(
        newest <= OLDEST_GLIBC,
        "the binary needs glibc {}.{}, and {INSTALL} says {major}.{minor}",
        newest.0,
        newest.1
    );
    Ok(())
}

/// What every system with glibc has; the last two are its loader's names.
const LIBRARIES: [&str; 5] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

/// Reads the libraries that `objdump -p` tells of, and the newest version of glibc among theirs.
fn needs(told: &str) -> Option<(Vec<String>, (u32, u32))> {
    let mut libraries = Vec::new();
    let mut newest = None;
    for line in told.lines() {
        let mut words = line.split_whitespace();
        let (first, last) = (words.next(), words.next_back());
        if let (Some("NEEDED"), Some(library)) = (first, last) {
            libraries.push(library.to_owned());
        }
        if let Some(version) = last.and_then(|word| word.strip_prefix("GLIBC_")) {
            let (major, minor) = version.split_once('.')?;
            let minor = minor.split('.').next()?;
            newest = newest.max(Some((major.parse().ok()?, minor.parse().ok()?)));
        }
    }
    Some((libraries, newest?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::top;

    #[test]
    fn the_newest_version_counts_and_not_the_last() {
        let told = "  NEEDED               libc.so.6\n  NEEDED     libz.so.1\nVersion References:\n  \
                    required from libc.so.6:\n    0x0d 0x00 10 GLIBC_2.34\n    0x0e 0x00 09 GLIBC_2.9\n    \
                    0x0f 0x00 08 GLIBC_2.2.5\n    0x10 0x00 07 GCC_3.0\n";
        let (libraries, newest) = needs(told).unwrap();
        assert_eq!(newest, (2, 34));
        assert_eq!(libraries, ["libc.so.6", "libz.so.1"]);
        assert!(needs("  NEEDED  libc.so.6\n").is_none());
    }

    #[test]
    fn the_words_in_the_archive_name_the_same_c_library() {
        let text = std::fs::read_to_string(top().join(INSTALL)).unwrap();
        assert!(text.contains(&format!("glibc {}.{} ", OLDEST_GLIBC.0, OLDEST_GLIBC.1)), "{text}");
    }
}
