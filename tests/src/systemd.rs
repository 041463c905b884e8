//! A real systemd that starts our units: process 1 of namespaces of its own, in the network of a test host, with
//! no unit but ours, and no generator. What it mounts, starts and keeps ends with it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::hosts::Host;

use crate::need;

/// The unit of the gate.
pub const GATE: &str = "sallyport-gate.service";
/// The unit of the relay.
pub const RELAY: &str = "sallyport-relay.service";

/// Returns the text of a file of `config/`.
///
/// # Errors
///
/// If there is none.
pub fn shipped(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Returns a unit as it is shipped, with what makes it one of a stage: program, configuration and user, and the
/// stage's `folder`, which lies where the unit's own /tmp hides it.
///
/// # Errors
///
/// If there is no such unit.
pub fn unit<'a>(name: &'a str, role: &str, folder: &Path) -> Result<(&'a str, String, String)> {
    let at = folder.display();
    let program = folder.join("sallyport");
    let mut more = format!(
        "[Unit]\nConditionPathExists=\nConditionPathExists={at}/sallyport.toml\n\
         [Service]\nExecStart=\nExecStart={} --config {at}/sallyport.toml {role}\nBindPaths={at}\n\
         StandardError=append:{at}/log\n",
        program.display()
    );
    if role == "relay" {
        more.push_str("User=65534\nGroup=65534\nReadWritePaths=\n");
    }
    Ok((name, shipped(name)?, more))
}

/// Mounts what systemd wants to have for itself, and becomes it, in a cgroup of its own: two of them in one would end
/// each other's processes, for their units have the same names. `$1` is the folder of units, `$2` that of generators.
const BOOT: &str = "\
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
own=$(mktemp -d /sys/fs/cgroup/sallyport-XXXXXX)
echo $$ > \"$own/cgroup.procs\"
umount /sys/fs/cgroup
mount -t bpf none /sys/fs/bpf
mount -t tmpfs none /etc/systemd
mount --bind \"$1\" /lib/systemd/system
export container=sallyport-tests
exec unshare --cgroup /bin/sh -c 'mount -t cgroup2 none /sys/fs/cgroup
exec /lib/systemd/systemd --system --log-target=console --show-status=no --unit=basic.target'
";

/// Targets that our units, or systemd by itself, name.
const TARGETS: [&str; 8] = [
    "basic",
    "sysinit",
    "shutdown",
    "umount",
    "final",
    "network-pre",
    "network-online",
    "multi-user",
];

/// The running systemd.
pub struct Systemd {
    unshare: Child,
    /// Its number outside of its namespaces.
    init: String,
}

impl Systemd {
    /// Starts systemd in `host` with units, each a name, its text and the text of a drop-in for it. Returns none,
    /// and says so, if systemd is not installed. Its log goes to `systemd.log` in `folder`.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(
        host: &Host,
        folder: &Path,
        units: &[(&str, String, String)],
    ) -> Result<Option<Self>> {
        if need::tool("systemctl").is_none() {
            return Ok(None);
        }
        let of_units = folder.join("units");
        fs::create_dir(&of_units)?;
        for target in TARGETS {
            let text = format!("[Unit]\nDescription={target}\nDefaultDependencies=no\n");
            fs::write(of_units.join(format!("{target}.target")), text)?;
        }
        for (name, text, more) in units {
            fs::write(of_units.join(name), text)?;
            let drop_in = of_units.join(format!("{name}.d"));
            fs::create_dir(&drop_in)?;
            fs::write(drop_in.join("stage.conf"), more)?;
        }
        let of_generators = folder.join("generators");
        fs::create_dir(&of_generators)?;
        let generator = of_generators.join("sallyport-generator");
        fs::write(&generator, shipped("generator.sh")?)?;
        fs::set_permissions(generator, fs::Permissions::from_mode(0o755))?;
        let log = File::create(folder.join("systemd.log"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--mount-proc"]);
        command.args(["--fork", "--kill-child", "/bin/sh", "-c", BOOT, "boot"]);
        command.arg(&of_units).arg(&of_generators);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let unshare = host.spawn(&mut command)?;
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let mut systemd = Self { unshare, init: String::new() };
        let init = wait_for("the first process of the namespaces", || {
            let text = fs::read_to_string(&children).ok()?;
            text.split_whitespace().next().map(str::to_owned)
        });
        systemd.init = init?;
        let runs = wait_for("systemd to answer", || systemd.control(&["list-units"]).ok());
        runs.with_context(|| fs::read_to_string(folder.join("systemd.log")).unwrap_or_default())?;
        Ok(Some(systemd))
    }

    /// Returns where a path of systemd's own mounts is found from outside of them.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Returns a command that runs `program` beside what systemd started, in the network of the caller.
    #[must_use]
    pub fn beside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--mount", "--pid", "--cgroup"]).arg(program);
        command
    }

    /// Calls systemctl and returns what it printed.
    ///
    /// # Errors
    ///
    /// If it fails, with what it said.
    pub fn control(&self, words: &[&str]) -> Result<String> {
        let mut command = self.beside(Path::new("systemctl"));
        let Output { status, stdout, stderr } = command.args(words).output()?;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "systemctl {}: {status}: {said}", words.join(" "));
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The kernel ends the first process with it, and all others with that.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
