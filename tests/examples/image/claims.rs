//! What is said of the image, asked of a machine that booted from it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::machine::Machine;

use crate::PATIENCE;

/// The port that clients connect to.
const GUARDED: &str = ":2525";
/// The partition of the state, by its name.
const STATE: &str = "/dev/disk/by-partlabel/sallyport-state";
/// The size of the image's own state, MiB: on a larger disk it must be more.
const STATE_MIB: u64 = 2046;

/// One thing that is said of the image.
type Claim = fn(&mut Machine) -> Result<()>;

/// What must hold after every boot.
const CLAIMS: [Claim; 7] = [
    whole,
    read_only,
    nothing_else_listens,
    nobody_comes_by_ssh,
    filtered_in_the_driver,
    in_a_user_namespace,
    grown,
];

/// Shows all that must hold after every boot.
pub fn hold(machine: &mut Machine) -> Result<()> {
    let wrong: Vec<String> = CLAIMS
        .iter()
        .filter_map(|claim| claim(machine).err())
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Every unit that was to start has started.
fn whole(machine: &mut Machine) -> Result<()> {
    let state = machine.run("systemctl is-system-running --wait", PATIENCE)?.out;
    let failed = "systemctl --failed --no-legend --plain; journalctl -b -p err --no-pager -n 40";
    let failed = machine.run(failed, PATIENCE)?.out;
    ensure!(state.trim() == "running", "systemd is {}: {failed}", state.trim());
    Ok(())
}

/// The system cannot be changed; the one disk that can be written is the state, and nothing in it is executed.
fn read_only(machine: &mut Machine) -> Result<()> {
    let root = machine.must("findmnt -no FSTYPE,OPTIONS /", PATIENCE)?;
    ensure!(root.starts_with("squashfs") && root.contains("ro"), "the root is {root}");
    for place in ["/usr/bin", "/etc", "/etc/systemd/system", "/var/lib", "/boot", "/root"] {
        let written = machine.run(&format!("touch {place}/mark"), PATIENCE)?;
        ensure!(written.code != 0, "{place} can be written");
    }
    let mounts = machine.must("cat /proc/mounts", PATIENCE)?;
    let state = machine.must(&format!("readlink -f {STATE}"), PATIENCE)?;
    for line in mounts.lines().filter(|line| line.starts_with("/dev/")) {
        let mut words = line.split_whitespace();
        let (device, options) = (words.next(), words.nth(2).unwrap_or_default());
        let has = |option: &str| options.split(',').any(|one| one == option);
        if has("rw") {
            let is_state = device == Some(STATE) || device == Some(state.trim());
            ensure!(is_state, "writable, and not the state: {line}");
            ensure!(has("noexec") && has("nosuid") && has("nodev"), "the state may more: {line}");
        }
    }
    Ok(())
}

/// Only the product listens, on the port that is guarded.
fn nothing_else_listens(machine: &mut Machine) -> Result<()> {
    let listening = machine.must("ss -Hlntup", PATIENCE)?;
    let mut guarded = 0;
    for line in listening.lines() {
        ensure!(line.contains("((\"sallyport\","), "something else listens: {line}");
        let local = line.split_whitespace().nth(4).context("ss prints an address")?;
        let is_guarded = local.ends_with(GUARDED);
        ensure!(is_guarded || local.starts_with("127.0.0.1:"), "on another port: {line}");
        guarded += u32::from(is_guarded);
    }
    ensure!(guarded > 0, "nothing listens on {GUARDED}: {listening}");
    let others = machine.must("ss -Hl --vsock", PATIENCE)?;
    ensure!(others.trim().is_empty(), "the hypervisor has a way in: {others}");
    Ok(())
}

/// Nobody may come, so no server runs, and no key was shipped.
fn nobody_comes_by_ssh(machine: &mut Machine) -> Result<()> {
    let units = "systemctl list-units --state=active --no-legend --plain 'ssh*'";
    let units = machine.must(units, PATIENCE)?;
    let units: Vec<&str> =
        units.lines().filter(|line| !line.contains("ssh-access.target")).collect();
    ensure!(units.is_empty(), "active: {units:?}");
    let running = machine.run("pidof sshd", PATIENCE)?;
    ensure!(running.code != 0, "sshd runs: {}", running.out);
    let keys = machine.run("ls /etc/ssh/ssh_host_*", PATIENCE)?;
    ensure!(keys.code != 0, "every image has the same keys: {}", keys.out);
    Ok(())
}

fn filtered_in_the_driver(machine: &mut Machine) -> Result<()> {
    let status = machine.must("sallyport status --json", PATIENCE)?;
    let status: Value = serde_json::from_str(&status)?;
    let mode = &status["gate"]["interfaces"][0]["mode"];
    ensure!(*mode == "native", "the gate is attached {mode}: {}", status["problems"]);
    Ok(())
}

/// The relay has a user namespace, by the generator of the package, with every user that the image has.
fn in_a_user_namespace(machine: &mut Machine) -> Result<()> {
    let map = "cat /proc/$(systemctl show --value --property MainPID sallyport-relay)/uid_map";
    let map = machine.must(map, PATIENCE)?;
    let words: Vec<&str> = map.split_whitespace().collect();
    ensure!(words == ["0", "0", "65536"], "the relay's users: {map}");
    Ok(())
}

/// The state has the room of a disk that is larger than the image.
fn grown(machine: &mut Machine) -> Result<()> {
    let size = machine.must("df --output=size -m /state | tail -n 1", PATIENCE)?;
    let size: u64 = size.trim().parse().with_context(|| format!("df says {size}"))?;
    ensure!(size > STATE_MIB, "the state has {size} MiB of a disk that is larger");
    Ok(())
}

/// It is the machine that it was: its number, what was allowed at run time.
pub fn is_the_same(machine: &mut Machine, number: &str, entry: &str) -> Result<()> {
    let now = machine.must("cat /etc/machine-id", PATIENCE)?;
    ensure!(now == number, "another machine: {now} was {number}");
    let entries = machine.must("sallyport allow list --json", PATIENCE)?;
    ensure!(entries.contains(entry), "{entry} is gone: {entries}");
    Ok(())
}

/// The journal of earlier boots is there.
pub fn remembers_its_boots(machine: &mut Machine, boots: usize) -> Result<()> {
    let known = machine.must("journalctl --list-boots --no-pager --quiet", PATIENCE)?;
    let count = known.lines().filter(|line| line.trim_start().starts_with(['-', '0'])).count();
    ensure!(count >= boots, "the journal knows of {count} boots: {known}");
    Ok(())
}
