//! A machine that boots by the boot loader on its own disk. Its line is the console, where it logs root in.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// What starts a boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own (SeaBIOS): it reads the disk's first sector.
    Bios,
    /// Debian's package ovmf: it reads a partition's file system.
    Uefi,
}

/// Debian's package ovmf.
const OVMF: &str = "/usr/share/ovmf/OVMF.fd";
/// What the prompt of root's shell ends with.
const PROMPT: &[u8] = b"# ";
/// The most that a machine says until it has a prompt, octets.
const BANNER_MAX: usize = 1 << 20;
/// How often it is looked whether QEMU has given up.
const GLANCE: Duration = Duration::from_secs(1);
/// What QEMU says when /dev/kvm does not run what the machine does.
const STOPPED: &str = "KVM internal error";
/// What makes the shell on the console do what `init.sh` does. It waits for the end of the start first: systemd says
/// on the console how that goes.
const LESSON: &str = "systemctl is-system-running --wait > /dev/null; dmesg -n 1; stty raw -echo; echo; echo ready; \
     while IFS= read -r line; do sh -c \"$line\" > /run/out 2> /run/err < /dev/null; code=$?; \
     base64 /run/out; echo '!'; base64 /run/err; echo \"=$code\"; done\n";

impl Firmware {
    /// Tells whether it is installed.
    #[must_use]
    pub fn is_here(self) -> bool {
        match self {
            Self::Bios => true,
            Self::Uefi => Path::new(OVMF).is_file(),
        }
    }

    /// Tells QEMU of it, and of the screen that boot loaders look for.
    pub(super) fn arguments(self, command: &mut Command) {
        command.args(["-vga", "std"]);
        match self {
            Self::Bios => {}
            Self::Uefi => {
                command.args(["-bios", OVMF]);
            }
        }
    }
}

/// Waits for the shell on the console and for the end of the start, and teaches it the line's language. `said` is what
/// QEMU says of itself.
pub(super) fn log_in(
    mut stream: UnixStream,
    patience: Duration,
    said: &Path,
) -> Result<BufReader<UnixStream>> {
    let end = Instant::now() + patience;
    let mut banner = Vec::new();
    stream.set_read_timeout(Some(GLANCE))?;
    while !banner.ends_with(PROMPT) {
        ensure!(Instant::now() < end, "no prompt after {} s", patience.as_secs());
        let mut octets = [0; 1024];
        match stream.read(&mut octets) {
            Ok(0) => bail!("the machine went off before its prompt"),
            Ok(count) => banner.extend_from_slice(&octets[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // It stops the machine then, and waits for somebody to look at it.
                let said = fs::read_to_string(said).unwrap_or_default();
                ensure!(!said.contains(STOPPED), "the CPU does not run it");
            }
            Err(error) => return Err(error).context("no prompt"),
        }
        ensure!(banner.len() < BANNER_MAX, "the machine says too much before its prompt");
    }
    stream.write_all(LESSON.as_bytes())?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = BufReader::new(stream);
    loop {
        let mut word = Vec::new();
        let count = line.read_until(b'\n', &mut word).context("the start does not end")?;
        ensure!(count > 0, "the machine went off during its start");
        if word.trim_ascii() == b"ready" {
            return Ok(line);
        }
    }
}
