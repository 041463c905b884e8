//! `cargo xtask image`: a disk that boots into the product and into nothing else.
//!
//! Debian, its updates, the package of this checkout and the files of `config/image` become one read-only file
//! system; beside it lie what boots it, by BIOS and by UEFI, and a partition for all that is kept.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::artifact;
use crate::caller::{as_root, cargo, code, is_root, run, status, top};
use crate::debian::{configured_mirror, security_mirror};
use crate::install;
use crate::package::{VERSION, debian_package};
use crate::setup::setup;
use crate::test::Tools;
use crate::tool::{Proof, Tool, program};

/// Where the image goes if nobody says otherwise.
pub const FOLDER: &str = "target/image";

/// What root does, step by step.
const SCRIPT: &str = "xtask/src/image/make.sh";

/// What becomes of the image that was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing more.
    Nothing,
    /// It boots in a machine of its own, and must hold what is said of it.
    Trial,
}

/// The programs that make it.
const MAKERS: [Tool; 8] = [
    program("mmdebstrap", "mmdebstrap", "Debian in a folder"),
    program("mksquashfs", "squashfs-tools", "the read-only file system"),
    program("mkfs.ext4", "e2fsprogs", "the file system of the state"),
    program("mkfs.vfat", "dosfstools", "the file system that firmware reads"),
    program("mcopy", "mtools", "files in it"),
    program("sfdisk", "fdisk", "partitions"),
    Tool {
        name: "grub-pc",
        package: "grub-common grub-pc-bin",
        proof: Proof::Runs("/bin/sh", &["-c", "ls /usr/lib/grub/i386-pc/boot.img > /dev/null"]),
        purpose: "the boot loader, for BIOS",
    },
    Tool {
        name: "grub-efi",
        package: "grub-common grub-efi-amd64-bin",
        proof: Proof::Runs("/bin/sh", &["-c", "ls /usr/lib/grub/x86_64-efi/fat.mod > /dev/null"]),
        purpose: "the boot loader, for UEFI",
    },
];

/// The programs that try it.
const TRIERS: [Tool; 4] = [
    program("qemu-system-x86_64", "qemu-system-x86", "a machine"),
    program("qemu-img", "qemu-utils", "its disk"),
    program("ip", "iproute2", "its wire"),
    Tool {
        name: "ovmf",
        package: "ovmf",
        proof: Proof::Runs("/bin/sh", &["-c", "ls /usr/share/ovmf/OVMF.fd > /dev/null"]),
        purpose: "UEFI",
    },
];

/// Makes the image in `folder`, and tries it if that is asked for.
///
/// # Errors
///
/// If a tool is missing, or the image cannot be made. What does not hold in the trial is in the exit code.
pub fn image(folder: &str, tools: Tools, shown: Shown) -> Result<ExitCode> {
    ensure!(cfg!(target_arch = "x86_64"), "the image is made for x86-64 alone");
    let place = setup()?;
    bring(tools, &MAKERS)?;
    if shown == Shown::Trial {
        bring(tools, &TRIERS)?;
    }
    let folder = top().join(folder);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (package, epoch) = debian_package(&place, &folder)?;
    let image = folder.join(format!("sallyport-{VERSION}-{}.img", env::consts::ARCH));
    make(&package, epoch, &image)?;
    println!("image: {}", image.display());
    match shown {
        Shown::Nothing => Ok(ExitCode::SUCCESS),
        Shown::Trial => attempt(&image),
    }
}

/// Shows that these tools are there, or brings them.
fn bring(tools: Tools, wanted: &[Tool]) -> Result<()> {
    if tools == Tools::Install {
        // One after the other: Debian's QEMU may take away what brought another version of qemu-img.
        for tool in wanted {
            install::install(std::slice::from_ref(tool))?;
        }
    }
    let missing: Vec<_> = wanted.iter().filter(|tool| tool.find().is_none()).collect();
    ensure!(missing.is_empty(), "missing: {}; or give --install", install::by_hand(&missing));
    Ok(())
}

/// Has root lay out the system and write the disk.
fn make(package: &Path, epoch: u64, image: &Path) -> Result<()> {
    if !is_root() {
        eprintln!("image: a root of its own needs root: going on by sudo");
    }
    let work = Work(env::temp_dir().join(format!("sallyport-image-{}", process::id())));
    fs::create_dir(&work.0).with_context(|| work.0.display().to_string())?;
    let variables = [("LC_ALL", OsStr::new("C.UTF-8"))];
    let mut shell = as_root("sh", &variables);
    shell.arg(top().join(SCRIPT)).arg(&work.0).arg(top().join("config/image"));
    shell.arg(package).arg(image).arg(epoch.to_string());
    shell.arg(configured_mirror()?).args(security_mirror()?);
    run(&mut shell).context("the image was not made; its last line says where")
}

/// A folder that root fills.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        let mut remove = as_root("rm", &[]);
        remove.args(["-rf", "--one-file-system", "--"]).arg(&self.0);
        if run(&mut remove).is_err() {
            eprintln!("image: {} could not be removed", self.0.display());
        }
    }
}

/// Boots the image under QEMU.
fn attempt(image: &Path) -> Result<ExitCode> {
    eprintln!("image: building what tries it");
    let built = ["build", "--package", "tests", "--example", "image"];
    let built = artifact::build(cargo().args(built))?;
    let trial = &artifact::find(&built, "image")?.executable;
    Ok(code(status(as_root(trial, &[]).arg(image))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script that root runs, and the rules of the upgrade, count in MiB what the table counts in sectors.
    #[test]
    fn script_and_table_of_partitions_agree() {
        let table = fs::read_to_string(top().join("config/image/layout.sfdisk")).unwrap();
        let script = fs::read_to_string(top().join(SCRIPT)).unwrap();
        let mut mib = Vec::new();
        for line in table.lines().filter(|line| line.starts_with("start=")) {
            let number = |key: &str| -> u64 {
                let (_, rest) = line.split_once(key).unwrap();
                rest.split(',').next().unwrap().trim().parse().unwrap()
            };
            mib.push((number("start=") / 2048, number("size=") / 2048));
        }
        assert_eq!(mib, [(1, 1), (2, 254), (256, 768), (1024, 2046)]);
        for (file, (start, size)) in ["bios", "boot", "system", "ext4"].iter().zip(mib) {
            assert!(script.contains(&format!("place \"$work/{file}\" {start} {size}\n")), "{file}");
        }
    }
}
