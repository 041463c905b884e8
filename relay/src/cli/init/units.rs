//! What systemd must be told where a set-up is not as the units say it: other folders, another user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::draft::Draft;
use super::refusal::Before;
use crate::config::{self, Config};

/// The units of both processes.
pub const UNITS: [&str; 2] = ["sallyport-gate", "sallyport-relay"];
/// The one that has a certificate renewed, by ACME.
pub const TIMER: &str = "sallyport-certificate.timer";
/// Where operators write down what is theirs in units (systemd.unit(5)).
const FOLDER: &str = "/etc/systemd/system";
/// The place of the relay's unit among them.
const RELAY: usize = 1;
/// Below which the units let each process write.
const WRITABLE: [&[&str]; 2] = [
    &["/run", "/var/lib", "/sys"],
    &[
        "/var/lib/sallyport/spool",
        "/var/lib/sallyport/history",
        "/var/lib/sallyport/secrets",
        "/run/sallyport",
    ],
];
/// What the units hide from both processes (`ProtectHome=`, `PrivateTmp=`).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
/// The user that the relay's unit names.
const USER: &str = "sallyport";

/// What is written beside a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// Its file.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

/// Tells whether the units are for this configuration: they read the one in its usual place.
#[must_use]
pub fn are_for(file: &Path) -> bool {
    file == Path::new(config::DEFAULT_PATH) && Path::new(FOLDER).is_dir()
}

/// Returns what is to be written beside the units: where something differs from them, or did at an earlier set-up.
#[must_use]
pub fn drop_ins(draft: &Draft, meant: &Config) -> Vec<DropIn> {
    if !are_for(&draft.places.config) {
        return Vec::new();
    }
    let texts = texts(draft, meant);
    let with_file = UNITS.into_iter().zip(texts).map(|(unit, text)| {
        let file = Path::new(FOLDER).join(format!("{unit}.service.d/init.conf"));
        (file, text)
    });
    let head =
        "# Written by `sallyport init`: where its configuration is not as the unit has it.\n";
    let wanted = with_file.filter(|(file, text)| !text.is_empty() || file.exists());
    wanted.map(|(file, text)| DropIn { file, text: format!("{head}{text}") }).collect()
}

/// Returns what the gate's and the relay's unit have to be told of this set-up; empty: nothing.
#[must_use]
pub fn texts(draft: &Draft, meant: &Config) -> [String; 2] {
    let sockets = draft.places.sockets.as_path();
    let (spool, history) = (meant.spool.path.as_path(), meant.history.path.as_path());
    let gate = [meant.gate.state.as_path(), sockets, meant.gate.pins.as_path(), spool, history];
    let folders: [&[&Path]; 2] = [&gate, &[spool, history, sockets]];
    let mut texts = [0, 1].map(|unit| {
        let is_usual = |path: &Path| WRITABLE[unit].iter().any(|above| path.starts_with(above));
        let other = folders[unit].iter().filter(|path| !is_usual(path));
        // The folder that holds the pins is made by the gate.
        let named = other.map(|path| if *path == meant.gate.pins { above(path) } else { path });
        let named: Vec<_> = named.map(quoted).collect();
        if named.is_empty() {
            return String::new();
        }
        let mounts = named.join(" ");
        // One that is missing is told by the process itself, and not by a unit that cannot even start.
        let writable: Vec<_> = named.iter().map(|path| path.replacen('"', "\"-", 1)).collect();
        let writable = writable.join(" ");
        let mut text =
            format!("[Unit]\nRequiresMountsFor={mounts}\n[Service]\nReadWritePaths={writable}\n");
        if unit == RELAY {
            // What it can write it cannot run, as everywhere.
            text.extend(["NoExecPaths=", &writable, "\n"]);
        }
        text
    });
    if draft.user != USER {
        let relay = &mut texts[RELAY];
        if relay.is_empty() {
            relay.push_str("[Service]\n");
        }
        // An empty group is the user's own.
        relay.extend(["User=", &draft.user.replace('%', "%%"), "\nGroup=\n"]);
    }
    texts
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Writes a path as systemd reads it in a list (systemd.syntax(7)).
fn quoted(path: &Path) -> String {
    let escaped = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('%', "%%"))
}

/// Returns the folder that hides a file or folder from processes that systemd started; none: they see it.
#[must_use]
pub fn hides(path: &Path) -> Option<&'static str> {
    let meant = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    HIDDEN.into_iter().find(|hidden| meant.starts_with(hidden))
}

/// Tells whether systemd can start the processes by this configuration.
///
/// # Errors
///
/// If the units read another one, systemd does not run, or they are not installed.
pub fn startable(file: &Path) -> anyhow::Result<()> {
    ensure!(
        file == Path::new(config::DEFAULT_PATH),
        "--start: the units read {}: leave --config out, or start `sallyport run` by hand",
        config::DEFAULT_PATH
    );
    ensure!(
        Path::new("/run/systemd/system").is_dir(),
        "--start: systemd does not run here: leave it out and start `sallyport run`"
    );
    let found = Command::new("systemctl").arg("cat").args(UNITS).output();
    let found = found.context("--start: systemctl cannot be run")?;
    ensure!(
        found.status.success(),
        "--start: the units {} are not installed: {}",
        UNITS.join(" and "),
        String::from_utf8_lossy(&found.stderr).trim()
    );
    Ok(())
}

/// Starts these units, now and at every boot. Those that run are restarted: they have the configuration of before.
///
/// # Errors
///
/// If systemctl cannot be run, or fails.
pub fn start(units: &[&str], before: Before) -> anyhow::Result<()> {
    let verb = match before {
        Before::SetUp => "restart",
        Before::Nothing => "start",
    };
    for (verb, units) in [("daemon-reload", &[][..]), ("enable", units), (verb, units)] {
        let status = Command::new("systemctl").arg(verb).args(units).status();
        let status = status.context("all is written, but systemctl cannot be run")?;
        ensure!(
            status.success(),
            "all is written, but systemctl {verb} failed ({status}): journalctl -u {}",
            UNITS[0]
        );
    }
    Ok(())
}

/// Has systemd read what was written beside its units, where it runs.
///
/// # Errors
///
/// If systemctl cannot be run, or fails.
pub fn reread() -> anyhow::Result<()> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    let status = Command::new("systemctl").arg("daemon-reload").status();
    let status = status.context("systemctl cannot be run")?;
    ensure!(status.success(), "systemctl daemon-reload failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::draft::tests::usual;

    #[test]
    fn a_unit_is_told_what_is_not_as_it_says() {
        let told = |change: &dyn Fn(&mut Draft)| {
            let mut draft = usual();
            change(&mut draft);
            let (_, meant) = draft.config().unwrap();
            texts(&draft, &meant)
        };
        assert_eq!(told(&|_| {}), ["", ""]);
        let spool = told(&|draft| draft.places.spool = "/data/my \"spool\" 5%".into());
        let written = r#""/data/my \"spool\" 5%%""#;
        let writable = written.replacen('"', "\"-", 1);
        let [gate, relay] = &spool;
        let told_both =
            format!("[Unit]\nRequiresMountsFor={written}\n[Service]\nReadWritePaths={writable}\n");
        assert_eq!((gate, relay), (&told_both, &format!("{told_both}NoExecPaths={writable}\n")));
        let [gate, relay] = told(&|draft| draft.places.state = "/srv/x".into());
        assert!(gate.ends_with("ReadWritePaths=\"-/srv/x/gate\" \"-/srv/x/history\"\n"), "{gate}");
        assert!(relay.contains("\nReadWritePaths=\"-/srv/x/history\"\n"), "{relay}");
        let [gate, relay] = told(&|draft| draft.places.spool = "/var/lib/other".into());
        assert_eq!(gate, "", "it writes below /var/lib");
        assert!(relay.contains("\nReadWritePaths=\"-/var/lib/other\"\n"), "{relay}");
        let [gate, relay] = told(&|draft| draft.places.pins = "/mnt/bpf/sallyport".into());
        assert!(gate.ends_with("ReadWritePaths=\"-/mnt/bpf\"\n") && relay.is_empty(), "{gate}");
        let [gate, relay] = told(&|draft| draft.user = "mail-out".into());
        assert_eq!((gate.as_str(), relay.as_str()), ("", "[Service]\nUser=mail-out\nGroup=\n"));
    }

    #[test]
    fn what_the_units_hide_is_known() {
        for hidden in HIDDEN {
            assert_eq!(hides(&Path::new(hidden).join("a/cert.pem")), Some(hidden));
        }
        for path in ["/etc/sallyport/tls/key.pem", "/rooted/cert.pem"] {
            assert_eq!(hides(Path::new(path)), None, "{path}");
        }
    }
}
