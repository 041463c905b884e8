//! A machine of its own under QEMU: another kernel, with a network card on a wire of a test host, and disks that
//! forget what was not flushed. It does what it is told over a serial line.

mod archive;
pub mod around;
mod console;
mod disk;
pub mod plug;
mod system;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::hosts::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use console::Firmware;
pub use disk::Disk;
pub use system::System;

/// The interface of the test host that the machine's card is wired to.
pub const WIRE: &str = "tap0";
/// Pairs of queues of the card: enough for a driver that wants one more for each CPU to answer frames from XDP.
const QUEUES: u32 = 4;
const CPUS: u32 = 2;
const MEMORY_MIB: u32 = 1024;
/// The longest line that is read from a machine, bytes.
const LINE_MAX: usize = 1 << 20;
/// The lines of the console that an error shows.
const CONSOLE_LINES: usize = 25;

/// Who runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// The CPU itself, through /dev/kvm.
    Kvm,
    /// QEMU in software (TCG), some ten times slower.
    Software,
}

impl Processor {
    const fn options(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Software => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// Returns how long a machine may take until it does what it is told.
    const fn patience(self, source: Source<'_>) -> Duration {
        match (self, source) {
            (Self::Kvm, Source::Kernel { .. }) => Duration::from_secs(20),
            (Self::Kvm, Source::Disk(_)) => Duration::from_secs(45),
            (Self::Software, Source::Kernel { .. }) => Duration::from_secs(180),
            (Self::Software, Source::Disk(_)) => Duration::from_secs(900),
        }
    }
}

/// What a machine boots from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A kernel that QEMU lays into its memory. The line is a serial port of its own.
    Kernel {
        /// Its image.
        image: &'a Path,
        /// What [`System::pack`] made, as a file.
        system: &'a Path,
    },
    /// The boot loader on the first disk. The line is the console, where it logs root in.
    Disk(Firmware),
}

/// What a machine is made of.
pub struct Parts<'a> {
    /// What it boots from.
    pub source: Source<'a>,
    /// The disks, `/dev/vda` first.
    pub disks: &'a [Disk],
    /// The host that has [`WIRE`], made by [`lay_wire`].
    pub host: &'a Host,
    /// An empty folder for the console and the socket of the serial line.
    pub folder: &'a Path,
    /// Who runs it.
    pub processor: Processor,
}

/// A machine that has booted. Dropping it is pulling the plug.
pub struct Machine {
    qemu: Child,
    line: BufReader<UnixStream>,
    console: PathBuf,
}

/// What a command on a machine came to.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said on standard error.
    pub err: String,
}

/// Makes the interface that a machine's card is wired to. It outlives the machine, as a wire does.
///
/// # Errors
///
/// If ip(8) does not make it, for instance without /dev/net/tun.
pub fn lay_wire(host: &Host) -> Result<()> {
    for words in [
        &["tuntap", "add", "dev", WIRE, "mode", "tap", "multi_queue", "vnet_hdr"][..],
        &["link", "set", WIRE, "up"],
    ] {
        let output = host.within(|| Command::new("ip").args(words).output())??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {}: {}", words.join(" "), said.trim_end());
    }
    Ok(())
}

/// Boots a machine by the CPU itself where that works, which only trying shows, and notes by what it booted.
///
/// # Errors
///
/// What `boot` fails with in software.
pub fn boot_first(
    processor: &mut Option<Processor>,
    boot: impl Fn(Processor) -> Result<Machine>,
) -> Result<Machine> {
    if processor.is_none() && Path::new("/dev/kvm").exists() {
        match boot(Processor::Kvm) {
            Ok(machine) => {
                *processor = Some(Processor::Kvm);
                return Ok(machine);
            }
            Err(_) => eprintln!("machine: /dev/kvm is there and boots nothing: in software"),
        }
    }
    boot(*processor.get_or_insert(Processor::Software))
}

impl Machine {
    /// Boots a machine and waits until its first process is ready.
    ///
    /// # Errors
    ///
    /// If QEMU does not start, or the kernel does not get that far in time; then with the last lines of its console.
    pub fn boot(parts: &Parts<'_>) -> Result<Self> {
        fs::create_dir_all(parts.folder)?;
        let (console, socket) = (parts.folder.join("console"), parts.folder.join("line"));
        // One of the last boot may lie there.
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket)?;
        let said = File::create(parts.folder.join("qemu"))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        command.args(parts.processor.options());
        command.args(["-smp", &CPUS.to_string(), "-m", &MEMORY_MIB.to_string()]);
        let line = format!("socket,id=line,path={}", socket.display());
        match parts.source {
            Source::Kernel { image, system } => {
                command.arg("-kernel").arg(image).arg("-initrd").arg(system);
                // A kernel that panics ends QEMU, and the line with it.
                command.args(["-append", "console=ttyS0 loglevel=4 panic=-1"]);
                command.arg("-serial").arg(format!("file:{}", console.display()));
                command.args(["-chardev", &line]);
            }
            Source::Disk(firmware) => {
                firmware.arguments(&mut command);
                let line = format!("{line},logfile={}", console.display());
                command.args(["-chardev", &line]);
            }
        }
        command.args(["-serial", "chardev:line"]);
        command.arg("-netdev");
        command.arg(format!("tap,id=wire,ifname={WIRE},script=no,downscript=no,queues={QUEUES}"));
        let vectors = 2 * QUEUES + 2;
        command.arg("-device");
        command.arg(format!("virtio-net-pci,netdev=wire,mq=on,vectors={vectors},romfile="));
        for disk in parts.disks {
            command.arg("-drive").arg(disk.option());
        }
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let mut qemu = parts.host.spawn(&mut command).context("QEMU (Debian: qemu-system-x86)")?;
        let ready = ready(&listener, &mut qemu, parts);
        match ready {
            Ok(line) => Ok(Self { qemu, line, console }),
            Err(error) => {
                // It may have ended by itself.
                let _ = qemu.kill();
                let _ = qemu.wait();
                let said = fs::read_to_string(parts.folder.join("qemu")).unwrap_or_default();
                Err(error.context(format!("the machine does not boot; {said}{}", tail(&console))))
            }
        }
    }

    /// Runs a command by the machine's shell, as root, to its end. What it leaves in the background must not hold
    /// its output.
    ///
    /// # Errors
    ///
    /// If the machine ends, or the command has not ended after `patience`; with the last lines of the console.
    pub fn run(&mut self, command: &str, patience: Duration) -> Result<Ended> {
        ensure!(!command.contains('\n'), "a command of more than one line: {command}");
        let ended = self.converse(command, patience);
        ended.with_context(|| format!("{command}\n{}", tail(&self.console)))
    }

    /// Runs a command that must succeed, and returns what it printed.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), or if it does not succeed; with what it said.
    pub fn must(&mut self, command: &str, patience: Duration) -> Result<String> {
        let ended = self.run(command, patience)?;
        if ended.code != 0 {
            bail!("{command}: exit code {}: {}{}", ended.code, ended.out, ended.err);
        }
        Ok(ended.out)
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// As [`must`](Self::must).
    pub fn write(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let content = STANDARD.encode(content);
        self.must(&format!("echo {content} | base64 -d > {path}"), Duration::from_secs(60))
            .map(drop)
    }

    /// Takes the power away: nothing that was not flushed to a disk is kept.
    ///
    /// # Errors
    ///
    /// If QEMU had ended by itself.
    pub fn pull_the_plug(mut self) -> Result<()> {
        ensure!(self.qemu.try_wait()?.is_none(), "the machine was off:\n{}", tail(&self.console));
        self.qemu.kill()?;
        self.qemu.wait()?;
        Ok(())
    }

    fn converse(&mut self, command: &str, patience: Duration) -> Result<Ended> {
        let end = Instant::now() + patience;
        let stream = self.line.get_mut();
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let (mut parts, mut part) = (Vec::new(), String::new());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no end after {} s", patience.as_secs());
            self.line.get_ref().set_read_timeout(Some(left))?;
            let mut line = String::new();
            let count = self.line.read_line(&mut line).context("the machine says nothing")?;
            ensure!(count > 0, "the machine went off");
            ensure!(part.len() < LINE_MAX, "the output does not end");
            let line = line.trim_end();
            if line == "!" {
                parts.push(std::mem::take(&mut part));
            } else if let Some(code) = line.strip_prefix('=') {
                let out = parts.pop().context("an end before the output")?;
                let code = code.parse().with_context(|| format!("no exit code: {code}"))?;
                return Ok(Ended { code, out: text(&out)?, err: text(&part)? });
            } else {
                part.push_str(line);
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Waits for the machine to call, and for its first process to be ready.
fn ready(
    listener: &UnixListener,
    qemu: &mut Child,
    parts: &Parts<'_>,
) -> Result<BufReader<UnixStream>> {
    let patience = parts.processor.patience(parts.source);
    let wait = Timespec::try_from(Duration::from_secs(10))?;
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&wait))? == 0 {
        bail!("QEMU does not open the serial line ({:?})", qemu.try_wait()?);
    }
    let (stream, _) = listener.accept()?;
    match parts.source {
        Source::Kernel { .. } => {}
        Source::Disk(_) => return console::log_in(stream, patience, &parts.folder.join("qemu")),
    }
    stream.set_read_timeout(Some(patience))?;
    let mut line = BufReader::new(stream);
    let mut word = String::new();
    line.read_line(&mut word)
        .with_context(|| format!("not ready after {} s", patience.as_secs()))?;
    ensure!(word.trim_end() == "ready", "the first process says {word:?}");
    Ok(line)
}

fn text(encoded: &str) -> Result<String> {
    let bytes = STANDARD.decode(encoded).context("the machine's output is not base64")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the last lines of a console.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(CONSOLE_LINES)..).unwrap_or_default();
    format!("console:\n{}", last.join("\n"))
}
