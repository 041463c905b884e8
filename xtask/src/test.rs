//! `cargo xtask test`: every test, built as the calling user; those in `root_*` run as root.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, PipeReader};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::artifact::{self, Artifact};
use crate::caller::{as_root, cannot_start, cargo, is_root};
use crate::install::install;
use crate::setup::setup;
use crate::tally::Tally;
use crate::tool::TOOLS;

/// What to do about tools of others that are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// Tests that want them are skipped, loudly.
    Skip,
    /// They are installed, and a test that misses one fails.
    Install,
}

/// The kernel program is no test target: it is built for another machine.
pub const ALL: [&str; 3] = ["--workspace", "--exclude", "relay-ebpf"];

/// Builds and runs every test, and prints the total.
///
/// # Errors
///
/// If something cannot be built or installed. Failed tests are in the exit code.
pub fn test(tools: Tools) -> Result<ExitCode> {
    setup()?;
    if tools == Tools::Install {
        install(TOOLS)?;
    }
    let built = artifact::build(cargo().args(["build", "--package", "relay", "--bins"]))?;
    let sallyport = &artifact::find(&built, "sallyport")?.executable;
    let programs = artifact::build(cargo().args(["test", "--no-run"]).args(ALL))?;

    let mut tally = Tally::default();
    let (privileged, plain): (Vec<_>, Vec<_>) =
        programs.iter().filter(|artifact| artifact.is_test).partition(|one| one.wants_root());
    for program in plain {
        let mut command = Command::new(&program.executable);
        command.envs(program.environment(sallyport.as_os_str()));
        run_program(program, command, tools, &mut tally)?;
    }
    if !is_root() && !privileged.is_empty() {
        println!("\n     The next programs need root and run through sudo.");
    }
    for program in privileged {
        let mut variables = program.environment(sallyport.as_os_str()).to_vec();
        if tools == Tools::Install {
            variables.push((REQUIRE, OsStr::new("1")));
        }
        let command = as_root(&program.executable, &variables);
        run_program(program, command, tools, &mut tally)?;
    }
    let mut documentation = cargo();
    documentation.args(["test", "--quiet", "--doc"]).args(ALL);
    follow("documentation", documentation, &mut tally)?;

    println!("\n{tally}");
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Set: a test that misses a tool fails.
const REQUIRE: &str = "SALLYPORT_REQUIRE_TOOLS";

fn run_program(
    program: &Artifact,
    mut command: Command,
    tools: Tools,
    tally: &mut Tally,
) -> Result<()> {
    println!("\n     Running {}", program.executable.display());
    command.current_dir(&program.folder);
    if tools == Tools::Install {
        command.env(REQUIRE, "1");
    }
    follow(&program.target, command, tally)
}

/// How long the output may stay open after a program's end.
const LINGER: Duration = Duration::from_secs(10);

/// Runs a test program, passing on what it prints while counting it.
fn follow(name: &str, mut command: Command, tally: &mut Tally) -> Result<()> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let failed_before = tally.failed();
    let mut child = command.spawn().with_context(|| cannot_start(command.get_program()))?;
    // The command holds our copies of the writing end.
    drop(command);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || pass_on(reader, &sender));
    let status: ExitStatus = child.wait()?;
    let mut left = None;
    loop {
        match lines.recv_timeout(LINGER) {
            Ok(line) => tally.read(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                left = Some("left a process behind that holds its output");
                break;
            }
        }
    }
    if !status.success() {
        tally.fault(name, failed_before, &status.to_string());
    } else if let Some(why) = left {
        tally.fault(name, failed_before, why);
    }
    Ok(())
}

fn pass_on(reader: PipeReader, lines: &mpsc::Sender<String>) {
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line}");
        if lines.send(line).is_err() {
            return;
        }
    }
}
