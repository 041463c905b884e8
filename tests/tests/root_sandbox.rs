//! What a process of ours can still do when somebody else has taken it over, and that it can do its work.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use relay::appliance::privilege;
use relay::demo::next_hop::wait_for;
use relay::demo::steps::pid_of;
use tests::need;
use tests::world::World;

/// The user of the relay in the world.
const RELAY: u32 = 65_534;

/// Moves what the relay reads into a folder of its own, as on a host.
fn settled() -> Result<World> {
    let world = World::set()?;
    let at = world.folder.path();
    fs::create_dir(at.join("etc"))?;
    let file = at.join("sallyport.toml");
    let mut text = fs::read_to_string(&file)?;
    for name in ["users.toml", "hop-ca.pem"] {
        fs::rename(at.join(name), at.join("etc").join(name))?;
        let (old, new) = (at.join(name), at.join("etc").join(name));
        text = text.replace(&old.display().to_string(), &new.display().to_string());
    }
    text += "[metrics]\naddress = \"127.0.0.1:9525\"\n";
    fs::write(&file, text)?;
    fs::write(at.join("everybodys"), "a file of another program\n")?;
    Ok(world)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn who_has_taken_the_relay_over_reaches_nothing_but_its_own() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = settled()?;
    world.stage.start()?;
    let at = world.folder.path();
    // Where the tests were built another user may not be able to go.
    let captive = at.join("captive");
    fs::copy(env!("CARGO_BIN_EXE_captive"), &captive)?;
    let mut pins = Vec::new();
    files_below(&at.join("bpf/sallyport"), &mut pins)?;
    ensure!(pins.iter().any(|pin| pin.to_string_lossy().contains("link")), "{pins:?}");
    // The port must be free to be bound: the relay has it.
    world.stage.stop()?;
    let file = at.join("etc/sallyport.toml");
    fs::copy(at.join("sallyport.toml"), &file)?;
    fs::set_permissions(at.join("run"), fs::Permissions::from_mode(0o1775))?;
    let gate = std::os::unix::net::UnixListener::bind(at.join("run/captive.sock"))?;
    fs::set_permissions(at.join("run/captive.sock"), fs::Permissions::from_mode(0o666))?;
    let text = fs::read_to_string(&file)?.replace("/run/gate.sock", "/run/captive.sock");
    fs::write(&file, &text)?;
    let said = tried(&world, &captive, &file, &pins)?;
    let tries: BTreeMap<&str, &str> =
        said.lines().filter_map(|line| line.split_once('\t')).collect();
    let held = tries.get("sandbox").context("it said nothing")?;
    ensure!(held.contains("landlock (ABI") && held.ends_with("seccomp"), "{held}");
    let (mut failed, mut worked) = (0, 0);
    for (name, outcome) in tries.iter().filter(|(name, _)| **name != "sandbox") {
        if name.starts_with('!') {
            // EPERM and EACCES.
            ensure!(["1", "13"].contains(outcome), "{name}: {outcome}\n{said}");
            failed += 1;
        } else {
            ensure!(*outcome == "done", "{name}: {outcome}\n{said}");
            worked += 1;
        }
    }
    ensure!(failed > 35 && worked == 15, "{failed} failed, {worked} worked\n{said}");
    // Without the sandbox these are done: neither users nor modes nor missing rights refuse them.
    fs::write(&file, format!("sandbox = \"off\"\n{text}"))?;
    let free = tried(&world, &captive, &file, &pins)?;
    drop(gate);
    for name in [
        "read another's file that everybody may read",
        "read a program",
        "read a device",
        "list the root folder",
        "list the configuration's folder",
        "write where everybody may",
        "have others execute it as this user",
        "start a process",
        "bind another port",
        "bind the guarded port",
        "make memory a file",
        "link to another file",
    ] {
        ensure!(free.contains(&format!("!{name}\tdone\n")), "{name}\n{free}");
    }
    Ok(())
}

/// Runs the captive as the relay's user, and returns what it said.
fn tried(world: &World, captive: &Path, file: &Path, pins: &[PathBuf]) -> Result<String> {
    let mut command = Command::new(captive);
    command.arg(file).args(pins).uid(RELAY).gid(RELAY);
    let output = world.stage.relay.within(|| command.output())??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}\n{complained}");
    Ok(said)
}

/// Returns a field of a thread's status (proc(5)).
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {status}"))?.trim())
}

#[test]
fn every_thread_of_both_processes_is_shut_in_and_has_no_more_rights_than_it_needs() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = settled()?;
    world.stage.start()?;
    let status = world.stage.listing(&["status"])?;
    // Those of the gate: NET_ADMIN (12), PERFMON (38), BPF (39).
    let gates = (1_u64 << 12) | (1 << 38) | (1 << 39);
    for (process, rights) in [("gate", gates), ("relay", 0)] {
        let half = &status[process];
        let holds = half["sandbox"]["holds"].as_str().unwrap_or_default();
        ensure!(holds.starts_with("landlock") && holds.ends_with(", seccomp"), "{half}");
        ensure!(half["sandbox"]["lacks"].is_null(), "{half}");
        let pid = pid_of(half)?;
        let mut threads = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(thread?.path().join("status"))?;
            for (name, wanted) in [("Seccomp", "2"), ("Seccomp_filters", "2"), ("NoNewPrivs", "1")]
            {
                ensure!(field(&text, name)? == wanted, "{process}: {name}\n{text}");
            }
            for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                let has = u64::from_str_radix(field(&text, set)?, 16)?;
                let may = if set == "CapEff" || set == "CapPrm" { rights } else { 0 };
                ensure!(has == may, "{process}: {set} {has:x}, not {may:x}\n{text}");
            }
            // Who starts as the relay's user may not change it: there it is empty by the unit.
            if process == "gate" {
                let bound = u64::from_str_radix(field(&text, "CapBnd")?, 16)?;
                ensure!(bound == gates, "{process}: CapBnd {bound:x}, not {gates:x}\n{text}");
            }
            threads += 1;
        }
        ensure!(threads > 1, "{process} has {threads} thread");
        if process == "relay" {
            // What dumps no core belongs to root there (proc(5)).
            let owner = fs::metadata(format!("/proc/{pid}/environ"))?.uid();
            ensure!(owner == 0, "{process} dumps core: its files are those of {owner}");
        }
        ensure!(!as_a_gate(|| is_open(pid))?, "{process} dumps core");
    }
    Ok(())
}

/// Looks as a process of root's that has the gate's rights and no more: what has more is closed to it anyhow. What it
/// starts has the same rights.
fn as_a_gate<T: Send>(look: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            privilege::keep_only(privilege::GATE)?;
            privilege::no_new_privileges()?;
            look()
        });
        looking.join().ok().context("the look ended early")?
    })
}

/// Tells whether this thread may look into a process, as a debugger would: not if it dumps no core (ptrace(2),
/// PTRACE_MODE_READ).
fn is_open(pid: u32) -> Result<bool> {
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(_) => Ok(true),
        Err(problem) if problem.kind() == ErrorKind::PermissionDenied => Ok(false),
        Err(problem) => Err(problem.into()),
    }
}

#[test]
fn a_command_that_holds_a_password_dumps_no_core() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::set()?;
    let file = world.folder.path().join("sallyport.toml");
    as_a_gate(|| {
        let spawn = |command: &mut Command| command.stdin(Stdio::piped()).spawn();
        // It reads until its input ends, and can be looked into: so this look can find something.
        let mut other = spawn(&mut Command::new("cat"))?;
        let mut command = Command::new(tests::world::program()?);
        command.arg("--config").arg(&file).args(["user", "add", "another", "--stdin"]);
        let mut user = spawn(&mut command)?;
        let closed = wait_for("it to close itself", || {
            is_open(user.id()).is_ok_and(|is_open| !is_open).then_some(())
        });
        let is_open = is_open(other.id());
        for process in [&mut user, &mut other] {
            process.kill()?;
            process.wait()?;
        }
        ensure!(is_open?, "the other one is closed too");
        closed
    })
}

#[test]
fn a_reload_that_asks_for_more_than_the_sandbox_has_names_it_and_the_remedy() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = settled()?;
    world.stage.start()?;
    let at = world.folder.path();
    let file = at.join("sallyport.toml");
    let text = fs::read_to_string(&file)?;
    fs::write(at.join("etc/password"), "word\n")?;
    world.stage.command(&["reload"])?;
    // The folder of the configuration lies above every other in this world: a file must lie elsewhere.
    let elsewhere = tempfile::tempdir()?;
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755))?;
    let ca = elsewhere.path().join("ca.pem");
    fs::copy(at.join("etc/hop-ca.pem"), &ca)?;
    let old = at.join("etc/hop-ca.pem").display().to_string();
    let more = "[[alerts.exec]]\ncommand = [\"/bin/cat\"]\nclasses = []\n";
    fs::write(&file, text.replace(&old, &ca.display().to_string()) + more)?;
    let refusal = world.stage.command(&["reload"]).err().context("it reloaded")?;
    let refusal = format!("{refusal:#}");
    let folder = elsewhere.path().canonicalize()?.display().to_string();
    ensure!(refusal.contains(&format!("leaves no way to {folder}: restart")), "{refusal}");
    ensure!(refusal.contains("[[alerts.exec]]"), "{refusal}");
    // A restart is all that it takes.
    world.stage.stop()?;
    world.stage.start()?;
    world.stage.command(&["reload"])?;
    let tested = world.stage.listing(&["alert", "test", "exec"])?;
    ensure!(tested[0]["taken"] == true, "{tested}");
    Ok(())
}
