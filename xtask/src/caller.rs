//! Who called: builds belong to that user, and root is asked for by the step.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result, bail};

/// Returns the top of the checkout.
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace").to_owned()
}

/// Tells whether this process may do anything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the cargo that runs us, set to run in the top of the checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top());
    command
}

/// Returns a command that runs `program` as root: at once if we are root, else through sudo,
/// with `environment` set either way (sudo passes nothing on by itself).
pub fn as_root<P: AsRef<OsStr>>(program: P, environment: &[(&str, &OsStr)]) -> Command {
    if is_root() {
        let mut command = Command::new(program);
        command.envs(environment.iter().copied());
        return command;
    }
    let mut command = Command::new("sudo");
    command.args(["--", "env"]);
    for (name, value) in environment {
        let mut pair = OsString::from(*name);
        pair.push("=");
        pair.push(value);
        command.arg(pair);
    }
    command.arg(program);
    command
}

/// Runs `command` to its end and returns how it went.
///
/// # Errors
///
/// If it cannot be started; for sudo with the remedy.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    let program = command.get_program().to_owned();
    command.status().with_context(|| cannot_start(&program))
}

/// Returns the code of a program that ended, to end with; one that a signal ended has none, which is a failure.
pub fn code(ended: ExitStatus) -> ExitCode {
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Says that `program` cannot be started, and what to do about it.
pub fn cannot_start(program: &OsStr) -> String {
    if program == "sudo" {
        "sudo cannot be started, and this step needs root: install sudo, or run the same command \
         as root"
            .to_owned()
    } else {
        format!("{} cannot be started", program.display())
    }
}

/// Runs `command`, and an end without success is an error that shows the command.
///
/// # Errors
///
/// If it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Runs `command` and returns what it printed.
///
/// # Errors
///
/// If it cannot be started or does not succeed; then with what it said on standard error.
pub fn answer(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| cannot_start(&program))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}:\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes the user who called sudo, if sudo was called: what root builds, its owner cannot
/// rebuild. Returns only if there is nothing to change.
///
/// # Errors
///
/// If that user is not known to the system, or this program cannot be run again.
pub fn leave_sudo() -> Result<()> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) else {
        return Ok(());
    };
    if !is_root() || uid == 0 {
        return Ok(());
    }
    let entry = answer(Command::new("getent").args(["passwd", &uid.to_string()]))?;
    let field = |index| entry.trim_end().split(':').nth(index).context("getent: too few fields");
    let (name, home) = (field(0)?, PathBuf::from(field(5)?));
    eprintln!("xtask: going on as {name}; sudo is used again for the steps that need root");

    // Cargo has just built this program as root: give the build folder to its user.
    let target = env::current_exe()?.parent().and_then(Path::parent).map(Path::to_owned);
    let target = target.context("this program does not lie in a build folder")?;
    run(Command::new("chown").args(["-R", "-h", &format!("{uid}:{gid}"), "--"]).arg(target))?;

    let path = env::var_os("PATH").unwrap_or_default();
    let path =
        env::join_paths(std::iter::once(home.join(".cargo/bin")).chain(env::split_paths(&path)))?;
    let mut again = Command::new(env::current_exe()?);
    again.args(env::args_os().skip(1)).uid(uid).gid(gid);
    again.env("HOME", &home).env("USER", name).env("LOGNAME", name).env("PATH", path);
    for root_s in ["CARGO", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "XDG_CACHE_HOME"] {
        again.env_remove(root_s);
    }
    Err(again.exec()).context("this program cannot be run again as the calling user")
}
