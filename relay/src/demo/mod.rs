//! `sallyport demo`: the whole product at work in network namespaces of its own.
//!
//! Nothing of the host is changed: the demo runs in private mount and process namespaces, with a
//! BPF file system of its own, in hosts made of network namespaces. All of it ends with the demo,
//! however that ends; only its temporary folder must be removed.

pub mod client;
pub mod next_hop;
mod script;
pub mod sink;
pub mod stage;
pub mod steps;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, mount};
use tokio::signal::unix::{SignalKind, signal};

use crate::hosts::private_bpf;

/// Tells the process inside which folder is the demo's.
const FOLDER: &str = "SALLYPORT_DEMO";

/// Runs the demo and returns 0 if every step happened.
///
/// # Errors
///
/// Without root, or if the stage cannot be set.
pub fn run() -> anyhow::Result<ExitCode> {
    match std::env::var_os(FOLDER) {
        Some(folder) => inside(&PathBuf::from(folder)),
        None => outside(),
    }
}

/// Makes the private namespaces, starts the demo in them and cleans up behind it.
fn outside() -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo makes network namespaces and loads a kernel program: run it with sudo");
    }
    let folder = Folder::make()?;
    unshare(CloneFlags::CLONE_NEWPID).context("a process namespace cannot be made")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("demo").env(FOLDER, &folder.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut child = tokio::process::Command::from(command).spawn()?;
        let (mut int, mut term) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Whoever ends the first process of a process namespace ends all in it.
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = int.recv() => { child.kill().await?; child.wait().await? }
            _ = term.recv() => { child.kill().await?; child.wait().await? }
        };
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// The first process of the private process namespace.
fn inside(folder: &Path) -> anyhow::Result<ExitCode> {
    let killed = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(killed).context("parent's death signal")?;
    let _bpf =
        private_bpf(&folder.join("bpf")).context("a private BPF file system cannot be mounted")?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None).context("/proc")?;
    script::play(folder)
}

/// A folder for the time of the demo. Others may pass through it: the relay and the next hop are
/// users of their own.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("sallyport-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            crate::cli::print::say(format!("{} was left behind: {error}", self.0.display()));
        }
    }
}
