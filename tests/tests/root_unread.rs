//! A log that nobody reads holds nobody up: not who starts a child again, and not who ends.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::steps::pid_of;
use relay::hosts::process::{Signal, signal};
use tests::need;
use tests::world::{World, program};

/// The end of a pipe from which nobody reads.
struct Unread {
    _reader: PipeReader,
    /// Opened once more, so that only this test does not wait for room.
    writer: File,
}

impl Unread {
    /// Makes one that `command` has for its errors.
    fn of(command: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits())?;
        let own = File::options().write(true).custom_flags(flags).open(path)?;
        command.stderr(writer);
        Ok(Self { _reader: reader, writer: own })
    }

    /// Leaves no room in it.
    fn fill(&mut self) -> Result<()> {
        let mut written = 0;
        for size in [4096, 1] {
            loop {
                match self.writer.write(&vec![b'\n'; size]) {
                    Ok(count) => written += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        ensure!(written > 0, "it was full");
        Ok(())
    }
}

/// Ends a process that a test began, however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_child_that_was_killed_is_started_again_and_both_end_though_nobody_reads_the_log() -> Result<()>
{
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    let mut command = world.stage.program(&["run"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut unread = Unread::of(&mut command)?;
    let mut parent = Ended(world.stage.relay.spawn(&mut command)?);
    world.stage.serving()?;
    unread.fill()?;
    for half in ["relay", "gate"] {
        let before = pid_of(&world.stage.listing(&["status"])?[half])?;
        signal(before, Signal::KILL)?;
        wait_for(&format!("another {half}"), || {
            let status = world.stage.listing(&["status"]).ok()?;
            let serves = status["relay"]["serving"] == true && status["gate"]["serving"] == true;
            (serves && pid_of(&status[half]).ok()? != before).then_some(())
        })?;
    }
    signal(parent.0.id(), Signal::TERM)?;
    let status = wait_for("the end", || parent.0.try_wait().transpose())??;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_process_that_cannot_serve_ends_though_nobody_reads_why() -> Result<()> {
    for verb in ["relay", "gate", "run"] {
        let mut command = Command::new(program()?);
        command.args(["--config", "/nonexistent/sallyport.toml", verb]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut unread = Unread::of(&mut command)?;
        unread.fill()?;
        let mut process = Ended(command.spawn()?);
        let status = wait_for("the end", || process.0.try_wait().transpose()).context(verb)??;
        ensure!(status.code() == Some(1), "{verb}: {status}");
    }
    Ok(())
}
