//! Gate and relay in containers, by the recipe of `config/container` and with the rights that are written there.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{attempt, session};
use relay::hosts::dial::Answer;
use serde_json::{Value, json};
use tests::need;
use tests::systemd::shipped;
use tests::world::{World, program};

/// The relay's number in the recipe.
const UID: u32 = 65_532;
/// How long silence is waited for: one retransmission of a SYN.
const SILENCE: Duration = Duration::from_millis(1_200);

/// A host that runs containers. They end before the world does.
struct Yard {
    crun: PathBuf,
    running: Vec<(String, Child)>,
    world: World,
}

impl Yard {
    /// Lays out the root, and the folders that are mounted. None if a tool is missing.
    fn open() -> Result<Option<Self>> {
        let Some(crun) = need::tool("crun") else { return Ok(None) };
        let world = World::set()?;
        let at = world.folder.path();
        // crun reads how this machine has its cgroups, and gives up where there are two kinds. These are the mounts
        // of this thread and of what it starts.
        let mut cgroups = Command::new("mount");
        let mounted = cgroups.args(["-t", "cgroup2", "none", "/sys/fs/cgroup"]).status()?;
        ensure!(mounted.success(), "no cgroups");
        let mut recipe = Command::new("sh");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/container/rootfs.sh");
        recipe.arg(script).arg(program()?).arg(at.join("rootfs"));
        let Output { status, stderr, .. } = recipe.output()?;
        ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));

        // As docs/container.md makes them.
        for (folder, mode, uid, gid) in [
            ("run", 0o1775, 0, UID),
            ("bpf/sallyport", 0o755, 0, 0),
            ("gate", 0o700, 0, 0),
            ("spool", 0o700, UID, UID),
            ("history", 0o700, UID, UID),
            ("secrets", 0o700, UID, UID),
            ("etc/tls", 0o755, 0, 0),
        ] {
            let folder = at.join(folder);
            fs::create_dir_all(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
            chown(&folder, Some(uid), Some(gid))?;
        }
        for file in ["hop-ca.pem", "users.toml", "tls/chain.pem", "tls/key.pem"] {
            let copy = at.join("etc").join(file);
            fs::copy(at.join(file), &copy)?;
            chown(&copy, None, Some(UID))?;
        }
        let here = at.display().to_string();
        let mut text = fs::read_to_string(at.join("sallyport.toml"))?;
        for (from, to) in [
            ("bpf/", "/sys/fs/bpf/"),
            ("run/", "/run/sallyport/"),
            ("gate\"", "/var/lib/sallyport/gate\""),
            ("spool\"", "/var/lib/sallyport/spool\""),
            ("", "/etc/sallyport/"),
        ] {
            text = text.replace(&format!("\"{here}/{from}"), &format!("\"{to}"));
        }
        fs::write(at.join("etc/sallyport.toml"), text.replace("\"65534\"", &format!("\"{UID}\"")))?;
        Ok(Some(Self { crun, running: Vec::new(), world }))
    }

    fn stage(&self) -> &Stage {
        &self.world.stage
    }

    fn crun(&self) -> Command {
        let mut crun = Command::new(&self.crun);
        crun.arg("--root").arg(self.world.folder.path().join("crun"));
        // Nothing here is limited by them.
        crun.arg("--cgroup-manager=disabled").stdin(Stdio::null());
        crun
    }

    fn log(&self, role: &str) -> String {
        let path = self.world.folder.path().join(role).join("log");
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Starts a container in the network of the host, as shipped but for where the mounted folders lie, and but for
    /// what `change` does.
    fn start(&mut self, role: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let at = self.world.folder.path().to_owned();
        let mut config: Value = serde_json::from_str(&shipped(&format!("container/{role}.json"))?)?;
        config["root"]["path"] = json!(at.join("rootfs"));
        for mount in config["mounts"].as_array_mut().context("no mounts")? {
            let source = match mount["destination"].as_str().unwrap_or_default() {
                "/etc/sallyport" => "etc",
                "/run/sallyport" => "run",
                "/sys/fs/bpf/sallyport" => "bpf/sallyport",
                "/var/lib/sallyport/gate" => "gate",
                "/var/lib/sallyport/spool" => "spool",
                "/var/lib/sallyport/history" => "history",
                "/var/lib/sallyport/secrets" => "secrets",
                _ => continue,
            };
            mount["source"] = json!(at.join(source));
        }
        // Nor may the machine have so many files to give.
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        for limit in config["process"]["rlimits"].as_array_mut().context("no limits")? {
            if let (Some(hard), Some(wanted)) = (hard, limit["hard"].as_u64())
                && limit["type"] == "RLIMIT_NOFILE"
            {
                (limit["hard"], limit["soft"]) = (json!(wanted.min(hard)), json!(wanted.min(hard)));
            }
        }
        change(&mut config);
        let bundle = at.join(format!("bundle-{role}"));
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), config.to_string())?;
        let log = fs::File::create(bundle.join("log"))?;
        let mut crun = self.crun();
        crun.args(["run", "--bundle"]).arg(&bundle).arg(role);
        crun.stdout(log.try_clone()?).stderr(log);
        let child = self.stage().relay.spawn(&mut crun)?;
        self.running.push((role.to_owned(), child));
        Ok(())
    }

    /// Ends a container, if it has not ended, and returns what it wrote.
    fn end(&mut self, role: &str) -> Result<String> {
        let mut delete = self.crun();
        delete.args(["delete", "--force", role]).stderr(Stdio::null()).status()?;
        if let Some(at) = self.running.iter().position(|(name, _)| name == role) {
            self.running.remove(at).1.wait()?;
        }
        Ok(self.log(&format!("bundle-{role}")))
    }

    fn serves(&self) -> Result<()> {
        wait_for("both to serve", || {
            let status = self.stage().listing(&["status"]).ok()?;
            let serves = |half: &str| status[half]["serving"] == true;
            (serves("gate") && serves("relay")).then_some(())
        })
        .with_context(|| format!("{}\n{}", self.log("bundle-gate"), self.log("bundle-relay")))
    }

    /// The number of a container's first process, as the host counts.
    fn pid(&self, role: &str) -> Result<u64> {
        let output = self.crun().args(["state", role]).output()?;
        let state: Value = serde_json::from_slice(&output.stdout)?;
        state["pid"].as_u64().with_context(|| state.to_string())
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        let roles: Vec<String> = self.running.iter().map(|(role, _)| role.clone()).collect();
        for role in roles {
            let _ = self.end(&role);
        }
    }
}

/// Returns a line of /proc/PID/status, without its name.
fn line<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

#[test]
fn mail_passes_through_containers_that_have_the_written_rights_and_no_others() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(mut yard) = Yard::open()? else { return Ok(()) };
    yard.start("gate", |_| ())?;
    yard.start("relay", |_| ())?;
    yard.serves()?;
    let stage = yard.stage();
    let mut client = session(stage, CLIENT)?;
    let text = b"From: <billing@example.net>\r\n\r\nfrom a container\r\n";
    client.send("billing@example.net", "customer@example.com", text)?;
    let arrived = String::from_utf8(stage.hop.next_message()?)?;
    ensure!(arrived.contains("from a container"), "{arrived}");
    ensure!(attempt(stage, STRANGER, GUARDED, SILENCE)? == Answer::Silence);

    // What each kept: CAP_NET_ADMIN is bit 12, CAP_PERFMON 38, CAP_BPF 39.
    let kept = (1_u64 << 12) | (1 << 38) | (1 << 39);
    for (role, uid, rights) in [("gate", 0, kept), ("relay", UID, 0)] {
        let pid = yard.pid(role)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        ensure!(line(&status, "Uid").starts_with(&format!("{uid}\t")), "{role}: {status}");
        ensure!(u64::from_str_radix(line(&status, "CapEff"), 16)? == rights, "{role}: {status}");
        for (name, wanted) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            ensure!(line(&status, name) == wanted, "{role}: {status}");
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
        let options = root.and_then(|line| line.split(' ').nth(5)).unwrap_or_default();
        ensure!(options.split(',').any(|option| option == "ro"), "{role}: {mounts}");
    }
    let mut shell = yard.crun();
    let shell = shell.args(["exec", "relay", "/bin/sh", "-c", "true"]).output()?;
    ensure!(!shell.status.success(), "there is a shell");
    let ask = yard.crun().args(["exec", "gate", "/usr/bin/sallyport", "status"]).output()?;
    let said = String::from_utf8_lossy(&ask.stdout).into_owned();
    ensure!(said.contains("guard0"), "{said}{}", String::from_utf8_lossy(&ask.stderr));

    // A gate that is exchanged leaves the port shut, and finds the sockets with the relay.
    yard.end("gate")?;
    ensure!(attempt(yard.stage(), STRANGER, GUARDED, SILENCE)? == Answer::Silence);
    yard.start("gate", |_| ())?;
    yard.serves()?;
    session(yard.stage(), CLIENT).map(drop)
}

#[test]
fn each_right_of_the_gate_is_needed_and_missed_by_name() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(mut yard) = Yard::open()? else { return Ok(()) };
    let config: Value = serde_json::from_str(&shipped("container/gate.json")?)?;
    let rights = config["process"]["capabilities"]["bounding"].clone();
    let rights: Vec<String> = serde_json::from_value(rights)?;
    ensure!(rights.len() >= 3, "{rights:?}");
    for right in rights {
        yard.start("gate", |config| {
            let sets = config["process"]["capabilities"].as_object_mut();
            for set in sets.expect("a table").values_mut() {
                set.as_array_mut().expect("a list").retain(|other| *other != right);
            }
        })?;
        let ended = wait_for("the gate to give up", || {
            yard.running.last_mut().and_then(|(_, child)| child.try_wait().ok().flatten())
        });
        let said = yard.end("gate")?;
        let ended = ended.with_context(|| format!("without {right}: {said}"))?;
        ensure!(!ended.success() && said.contains(&right), "without {right}: {said}");
    }
    Ok(())
}

#[test]
fn both_containers_refuse_the_calls_of_the_one_list() -> Result<()> {
    let list: Value = serde_json::from_str(&shipped("container/seccomp.json")?)?;
    for role in ["gate", "relay"] {
        let config: Value = serde_json::from_str(&shipped(&format!("container/{role}.json"))?)?;
        ensure!(config["linux"]["seccomp"] == list, "{role}");
    }
    // What unshare(2) may not do, clone(2) may not either: each flag by itself, as they come in any mixture. Where
    // clone3(2) is missing, libraries call the older one, whose flags a filter can see.
    let (mut flags, mut missing) = (0, false);
    for rule in list["syscalls"].as_array().context("no calls")? {
        match rule["names"][0].as_str() {
            Some("clone") => {
                let bits = &rule["args"][0];
                ensure!(bits["index"] == 0 && bits["op"] == "SCMP_CMP_MASKED_EQ", "{rule}");
                ensure!(bits["value"] == bits["valueTwo"] && rule["errnoRet"] == 1, "{rule}");
                let bits = bits["value"].as_u64().context("no number")?;
                ensure!(bits.is_power_of_two(), "{rule}");
                flags |= bits;
            }
            Some("clone3") => missing = rule["errnoRet"] == 38,
            _ => (),
        }
    }
    ensure!(flags == 0x7E02_0000 && missing, "{flags:x}");
    Ok(())
}
