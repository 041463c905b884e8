//! Disks that forget, when the power fails, what they were not told to keep.
//!
//! A disk has a cache of its own, and promises nothing of a write before a flush. QEMU alone would keep every
//! write, since it is the host's kernel that holds it then. So these disks are files in the form qcow2 with small
//! clusters: where a cluster lies is known to the process of QEMU alone until the guest flushes, and whoever kills
//! that process loses what was written to new clusters since.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The size of a cluster, bytes: that of a block of ext4.
const CLUSTER_BYTES: u32 = 4096;
/// What QEMU may keep of the table of clusters, bytes: all of it for disks up to 512 MiB.
const TABLE_BYTES: u32 = 1 << 20;

/// A disk, as a file of the host.
#[derive(Clone, Debug)]
pub struct Disk {
    file: PathBuf,
}

impl Disk {
    /// Makes an empty disk.
    ///
    /// # Errors
    ///
    /// If qemu-img does not make it.
    pub fn empty(file: &Path, bytes: u64) -> Result<Self> {
        create(file, None, Some(bytes))
    }

    /// Makes a disk with an empty file system (ext4).
    ///
    /// # Errors
    ///
    /// If mkfs.ext4 or qemu-img do not make it.
    pub fn formatted(file: &Path, bytes: u64) -> Result<Self> {
        let base = file.with_extension("base");
        File::create(&base)?.set_len(bytes)?;
        let mut make = Command::new("mkfs.ext4");
        // A user's PATH often lacks the system's folders.
        let path = std::env::var("PATH").unwrap_or_default();
        let ended =
            make.env("PATH", format!("{path}:/usr/sbin:/sbin")).arg("-q").arg(&base).status();
        ensure!(ended.context("mkfs.ext4 (Debian: e2fsprogs)")?.success(), "mkfs.ext4 failed");
        create(file, Some(&base), None)
    }

    /// Makes a disk of so many bytes that begins with what is in another file, which stays as it is.
    ///
    /// # Errors
    ///
    /// If qemu-img does not make it.
    pub fn upon(file: &Path, base: &Path, bytes: u64) -> Result<Self> {
        let base = base.canonicalize().with_context(|| base.display().to_string())?;
        create(file, Some(&base), Some(bytes))
    }

    /// Writes what is on the disk into another file, octet by octet as a machine reads it.
    ///
    /// # Errors
    ///
    /// If qemu-img does not write it.
    pub fn flatten(&self, file: &Path) -> Result<()> {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&self.file).arg(file);
        let ended = command.status().context("qemu-img (Debian: qemu-utils)")?;
        ensure!(ended.success(), "qemu-img convert {}: {ended}", file.display());
        Ok(())
    }

    /// Returns what tells QEMU of the disk.
    #[must_use]
    pub fn option(&self) -> String {
        format!(
            "file={},if=virtio,format=qcow2,cache=writeback,l2-cache-size={TABLE_BYTES}",
            self.file.display()
        )
    }
}

fn create(file: &Path, base: Option<&Path>, bytes: Option<u64>) -> Result<Disk> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-o", &format!("cluster_size={CLUSTER_BYTES}")]);
    if let Some(base) = base {
        command.args(["-F", "raw", "-b"]).arg(base);
    }
    command.arg(file).args(bytes.map(|bytes| bytes.to_string()));
    let ended = command.status().context("qemu-img (Debian: qemu-utils)")?;
    ensure!(ended.success(), "qemu-img create {}: {ended}", file.display());
    Ok(Disk { file: file.to_owned() })
}
