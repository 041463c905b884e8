//! What a machine boots into: busybox, the drivers of its kernel, the product with its libraries, nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::archive::Archive;

const INIT: &[u8] = include_bytes!("init.sh");

/// The programs of busybox that [`INIT`] and the tests call.
const PROGRAMS: [&str; 24] = [
    "awk", "base64", "cat", "cmp", "dd", "dmesg", "grep", "head", "insmod", "ip", "kill", "ls",
    "mkdir", "mount", "poweroff", "setsid", "sh", "sleep", "stty", "sync", "tail", "umount",
    "uname", "wc",
];

const FOLDERS: [&str; 14] = [
    "bin", "dev", "etc", "lib", "lib64", "modules", "proc", "run", "sys", "tmp", "usr", "usr/bin",
    "var", "root",
];

/// The users and groups that the product's units name, with numbers that are nobody else's.
const USERS: &str = "root:x:0:0::/:/bin/sh\nsallyport:x:990:990::/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nsallyport:x:990:\nsallyport-admin:x:991:\n";

/// What goes into it.
pub struct System<'a> {
    /// busybox, linked statically.
    pub busybox: &'a Path,
    /// A folder of modules, decompressed, that are loaded in the order of their names.
    pub modules: &'a Path,
    /// The product.
    pub program: &'a Path,
}

impl System<'_> {
    /// Returns it as an archive that a kernel boots from.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the tools ldd (libc-bin) or strip (binutils) do not work.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in FOLDERS {
            archive.folder(folder);
        }
        archive.file("init", INIT);
        archive.file("etc/passwd", USERS.as_bytes());
        archive.file("etc/group", GROUPS.as_bytes());
        archive.file("bin/busybox", &read(self.busybox)?);
        for program in PROGRAMS {
            archive.link(&format!("bin/{program}"), "busybox");
        }
        let mut modules: Vec<PathBuf> = fs::read_dir(self.modules)
            .with_context(|| self.modules.display().to_string())?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        modules.sort();
        for module in modules {
            let name = module.file_name().context("a module without a name")?.to_string_lossy();
            archive.file(&format!("modules/{name}"), &read(&module)?);
        }
        archive.file("usr/bin/sallyport", &stripped(self.program)?);
        let mut made: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
        for library in libraries(self.program)? {
            let name = library.strip_prefix("/").context("ldd printed no absolute path")?;
            let mut above: Vec<&Path> = name.ancestors().skip(1).collect();
            above.reverse();
            for folder in above.into_iter().filter(|folder| !folder.as_os_str().is_empty()) {
                if !made.iter().any(|known| known == folder) {
                    archive.folder(&folder.display().to_string());
                    made.push(folder.to_owned());
                }
            }
            archive.file(&name.display().to_string(), &read(&library)?);
        }
        Ok(archive.finish())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// Returns a program without what only debuggers read, which is most of it.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let small = folder.path().join("program");
    let ended = Command::new("strip").arg("-o").arg(&small).arg(program).status();
    ensure!(ended.context("strip (Debian: binutils)")?.success(), "strip {}", program.display());
    read(&small)
}

/// Asks ldd(1) for the libraries of a program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd (Debian: libc-bin)")?;
    ensure!(output.status.success(), "ldd {}: {}", program.display(), output.status);
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// Returns the absolute paths in what ldd printed.
fn paths(printed: &str) -> Vec<PathBuf> {
    let words = printed.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_what_ldd_prints() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f00)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n";
        let expected = ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths(printed), expected);
    }
}
