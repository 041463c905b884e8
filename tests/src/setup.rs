//! A first set-up, `sallyport init`, in a world that has nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{GUARDED, HOP, NAME, Stage};

use crate::world::World;

/// Returns a world in which nothing is set up.
///
/// # Errors
///
/// If the stage cannot be set.
pub fn bare() -> Result<World> {
    let world = World::set()?;
    let folder = world.folder.path();
    fs::remove_file(folder.join("sallyport.toml"))?;
    fs::remove_file(folder.join("users.toml"))?;
    fs::remove_dir_all(folder.join("tls"))?;
    Ok(world)
}

/// Returns the flags that keep everything in the folder of the world and make no accounts.
#[must_use]
pub fn places(world: &World) -> Vec<String> {
    let at = world.folder.path().display();
    let ca = format!("{at}/hop-ca.pem");
    let [state, sockets, pins] =
        [format!("{at}/state"), format!("{at}/run"), format!("{at}/bpf/sallyport")];
    let flags = [
        "--state",
        &state,
        "--sockets",
        &sockets,
        "--pins",
        &pins,
        "--user",
        "65534",
        "--admin-group",
        "root",
        "--smarthost-ca",
        &ca,
    ];
    flags.map(str::to_owned).to_vec()
}

/// Returns the flags of a whole set-up.
#[must_use]
pub fn whole(world: &World) -> Vec<String> {
    let (listen, hop) = (GUARDED.to_string(), HOP.to_string());
    let flags = [
        "--yes",
        "--hostname",
        NAME,
        "--listen",
        &listen,
        "--smarthost",
        &hop,
        "--allow",
        "192.0.2.0/28",
    ];
    [flags.map(str::to_owned).to_vec(), places(world)].concat()
}

/// Returns `init` with these flags, to be run in the relay host, as if by no session of ssh.
#[must_use]
pub fn init(stage: &Stage, flags: &[String]) -> Command {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut command = stage.program(&[&["init"], flags.as_slice()].concat());
    command.env("SSH_CONNECTION", "");
    command
}

/// Runs a command in the relay host.
///
/// # Errors
///
/// If it does not start.
pub fn run(world: &World, mut command: Command) -> Result<Output> {
    Ok(world.stage.relay.within(|| command.output())??)
}

/// Runs `init` and returns what it printed.
///
/// # Errors
///
/// If it fails, with what it said.
pub fn done(world: &World, flags: &[String]) -> Result<String> {
    let output = run(world, init(&world.stage, flags))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command in the relay host, which must refuse, and returns why.
///
/// # Errors
///
/// If it does not.
pub fn refused(world: &World, command: Command) -> Result<String> {
    let output = run(world, command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    Ok(said)
}

/// A path with its mode, its owners and its text.
pub type Found = (PathBuf, u32, (u32, u32), String);

/// Returns every path below a folder, but for the tables of the kernel and what the next hop keeps.
///
/// # Errors
///
/// If one cannot be read.
pub fn all(folder: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;
        if path.ends_with("bpf") || path.ends_with("hop") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        found.push((path.clone(), about.permissions().mode(), (about.uid(), about.gid()), text));
        if about.is_dir() {
            found.extend(all(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the password that `init` printed.
///
/// # Errors
///
/// If there is none.
pub fn password(said: &str) -> Result<String> {
    let password = said.lines().find_map(|line| line.strip_prefix("password: "));
    password.map(str::to_owned).with_context(|| format!("no password in\n{said}"))
}
