//! The user namespace of the relay's unit: where the shipped generator asks for one, and who is known in it.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, STRANGER, Stage};
use relay::demo::steps::{pid_of, session};
use tests::need;
use tests::systemd::{GATE, RELAY, Systemd, shipped, unit};
use tests::world::{World, program};

/// Where the generator's word stands.
const DROP_IN: &str = "sallyport-relay.service.d/10-users.conf";
/// The group of every system whose members may change things in this world.
const ADMINS: &str = "daemon";
/// A user of a directory: above the numbers that `PrivateUsers=identity` keeps.
const OF_A_DIRECTORY: u32 = 1_000_070_000;

/// Asks for the queue, by a user and his group; the refusal, if he may not see it.
fn asked_by(stage: &Stage, program: &Path, uid: u32, gid: u32) -> Result<Option<String>> {
    let [user, group] = [format!("--reuid={uid}"), format!("--regid={gid}")];
    let inner = stage.program(&["queue", "list"]);
    let mut command = Command::new("setpriv");
    command.args([&user, &group]).arg("--clear-groups").arg(program).args(inner.get_args());
    let Output { status, stderr, .. } = stage.relay.within(|| command.output())??;
    Ok((!status.success()).then(|| String::from_utf8_lossy(&stderr).into_owned()))
}

#[test]
fn the_relay_knows_who_asks_under_its_unit_and_works_in_its_user_namespace() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    let folder = world.folder.path().to_owned();
    let binary = folder.join("sallyport");
    fs::copy(program()?, &binary)?;
    let units = [unit(GATE, "gate", &folder)?, unit(RELAY, "relay", &folder)?];
    let stage = &mut world.stage;
    stage.say_of_the_gate(&format!("admin-group = \"{ADMINS}\""))?;
    let Some(systemd) = Systemd::start(&stage.relay, &folder, &units)? else { return Ok(()) };
    systemd.control(&["start", GATE, RELAY]).with_context(|| stage.log())?;
    stage.serving().with_context(|| stage.log())?;

    // What the generator asked for is in force.
    let drop_in = systemd.path("/run/systemd/generator").join(DROP_IN);
    let wanted = fs::read_to_string(&drop_in).unwrap_or_default();
    let pid = pid_of(&stage.listing(&["status"])?["relay"])?;
    let map = fs::read_to_string(systemd.path(&format!("/proc/{pid}/uid_map")))?;
    let rows: Vec<Vec<&str>> = map.lines().map(|row| row.split_whitespace().collect()).collect();
    let mut kept = 0;
    for row in &rows {
        ensure!(row[0] == row[1], "every number stays what it is: {map}");
        kept += row[2].parse::<u64>()?;
    }
    let most = if wanted.contains("=identity") { 65_536 } else { u64::from(u32::MAX) };
    ensure!(kept == most, "{wanted}: {map}");
    let own = fs::read_link(systemd.path(&format!("/proc/{pid}/ns/user")))?;
    let is_own = own != fs::read_link("/proc/self/ns/user")?;
    ensure!(is_own != wanted.is_empty(), "{wanted}: {own:?}");

    // Root, a member of the group, somebody, somebody of a directory.
    let groups = fs::read_to_string("/etc/group")?;
    let admins = groups.lines().find_map(|line| line.strip_prefix(&format!("{ADMINS}:x:")));
    let admins = admins.and_then(|rest| rest.split(':').next()).context("a group of that name")?;
    let (admins, asked) = (admins.parse()?, |uid, gid| asked_by(stage, &binary, uid, gid));
    ensure!(asked(0, 0)?.is_none(), "{:?}", asked(0, 0)?);
    ensure!(asked(4_711, admins)?.is_none(), "{:?}", asked(4_711, admins)?);
    let refused = asked(4_711, 4_711)?.context("anybody sees the queue")?;
    ensure!(refused.contains("uid 4711 may not"), "{refused}");
    let refused = asked(OF_A_DIRECTORY, 4_711)?.context("anybody sees the queue")?;
    let named = if most == 65_536 {
        "uid 65534 (nobody, or a user whom the user namespace of this process hides) may not".into()
    } else {
        format!("uid {OF_A_DIRECTORY} may not")
    };
    ensure!(refused.contains(&named), "{refused}");
    // The relay's own number is theirs too, and must not be taken for the relay's there.
    let refused = asked(65_534, 65_534)?;
    ensure!(refused.is_some() == (most == 65_536), "{refused:?}");

    // Tables, mail, a reload.
    let explained = stage.listing(&["explain", &STRANGER.to_string()])?;
    ensure!(explained["reason"] == "unlisted_syn", "{explained}");
    let text = b"From: <billing@example.net>\r\n\r\nout of the namespace\r\n";
    session(stage, CLIENT)?.send("billing@example.net", "customer@example.com", text)?;
    let arrived = String::from_utf8(stage.hop.next_message()?)?;
    ensure!(arrived.contains("out of the namespace"), "{arrived}");
    systemd.control(&["reload", RELAY])?;
    wait_for("the relay to reload", || stage.log().contains("was read again").then_some(()))
        .with_context(|| stage.log())
}

/// What the generator sees of a host, and what it then asks for.
struct Row {
    says: &'static str,
    /// What systemctl says of systemd.
    version: &'static str,
    /// Files that differ from those of a plain host.
    files: &'static [(&'static str, &'static str)],
    wanted: &'static str,
}

const PASSWD: &str = "/etc/passwd";
const SWITCH: &str = "/etc/nsswitch.conf";
const MOST: &str = "/proc/sys/user/max_user_namespaces";
/// A file that is there on every host and read, in the place of those that may not be.
const LINE: &str = "/proc/cmdline";
const NEW: &str = "systemd 258 (258.1-1)";
const TRIXIE: &str = "systemd 257 (257.13-1~deb13u1)";
/// A plain host, as the generator sees it. How many namespaces there may be it reads from this kernel: a file in the place
/// of that one can be read in other ways.
const PLAIN: [(&str, &str); 3] = [
    (PASSWD, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
    (SWITCH, "passwd:         files systemd\ngroup:          files systemd sss\n"),
    (LINE, "quiet sysctl.kernel.panic=0\n"),
];
const OFF: &str = "quiet sysctl.user.max_user_namespaces=0\n";

const ROWS: [Row; 12] = [
    Row { says: "bookworm", version: "systemd 252 (252.38-1~deb12u1)", files: &[], wanted: "" },
    Row { says: "256", version: "systemd 256 (256.7)", files: &[], wanted: "" },
    Row { says: "trixie", version: TRIXIE, files: &[], wanted: "identity" },
    Row { says: "258", version: NEW, files: &[], wanted: "full" },
    Row { says: "a candidate", version: "systemd 259~rc1 (259~rc1)", files: &[], wanted: "full" },
    Row { says: "no version", version: "usage:", files: &[], wanted: "" },
    Row {
        says: "a user with a high number, whom 257 would hide",
        version: TRIXIE,
        files: &[(PASSWD, "root:x:0:0::/:\nd:x:70000:70000::/:\n")],
        wanted: "",
    },
    Row {
        says: "and 258 would not",
        version: NEW,
        files: &[(PASSWD, "root:x:0:0::/:\nd:x:70000:70000::/:\n")],
        wanted: "full",
    },
    Row {
        says: "users of a directory",
        version: TRIXIE,
        files: &[(SWITCH, "passwd: files sss systemd # all\n")],
        wanted: "",
    },
    Row {
        says: "a source that is not said to be one",
        version: TRIXIE,
        files: &[(SWITCH, "passwd: files [SUCCESS=merge] systemd # no sss\n")],
        wanted: "identity",
    },
    Row { says: "no namespaces", version: NEW, files: &[(MOST, "0\n")], wanted: "" },
    Row { says: "none from soon on", version: NEW, files: &[(LINE, OFF)], wanted: "" },
];

/// Runs the generator in mounts of its own, where some files are others, and returns what it asks for.
fn asks_for(
    folder: &Path,
    before: &[&str],
    version: &str,
    files: &[(&str, &str)],
) -> Result<String> {
    let (tools, into) = (folder.join("tools"), folder.join("into"));
    fs::create_dir(&tools)?;
    fs::create_dir(&into)?;
    let executable = |name: &str, text: &str| -> Result<PathBuf> {
        let path = tools.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    executable("systemctl", &format!("#!/bin/sh\necho '{version}'\necho '+PAM +AUDIT'\n"))?;
    let generator = executable("generator", &shipped("generator.sh")?)?;
    let mut script = String::from("set -e; mount -t tmpfs none /etc/sysctl.d\n");
    for (number, (path, text)) in files.iter().enumerate() {
        let file = folder.join(number.to_string());
        fs::write(&file, text)?;
        let file = file.to_str().context("a name in UTF-8")?;
        script.extend(["mount --bind '", file, "' ", path, "\n"]);
    }
    script.push_str("PATH=\"$1:$PATH\"; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", &script, "sh"]).arg(tools).args(before);
    let Output { status, stderr, .. } = command.arg(generator).args([&into; 3]).output()?;
    let said = String::from_utf8_lossy(&stderr);
    ensure!(status.success() && said.is_empty(), "{status}: {said}");
    let Ok(text) = fs::read_to_string(into.join(DROP_IN)) else { return Ok(String::new()) };
    let word =
        text.strip_prefix("[Service]\nPrivateUsers=").and_then(|rest| rest.strip_suffix('\n'));
    word.map(str::to_owned).context(text.clone())
}

#[test]
fn a_user_namespace_is_asked_for_where_it_can_be_made_and_hides_nobody() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    if fs::read_to_string(MOST)?.trim() == "0" {
        eprintln!("SKIPPED: {MOST} is 0 here: `sysctl user.max_user_namespaces=1000` permits some");
        return Ok(());
    }
    let plain = |files: &[(&'static str, &'static str)]| {
        let is_other = |path: &str| files.iter().any(|(other, _)| *other == path);
        let rest = PLAIN.into_iter().filter(|(path, _)| !is_other(path));
        rest.chain(files.iter().copied()).collect::<Vec<_>>()
    };
    for Row { says, version, files, wanted } in ROWS {
        let folder = tempfile::tempdir()?;
        let asked = asks_for(folder.path(), &[], version, &plain(files)).context(says)?;
        ensure!(asked == wanted, "{says}: {asked}");
    }
    // A container with some of the numbers; and a setting that is applied after the generator has run.
    let container = ["unshare", "--user", "--map-root-user"];
    let folder = tempfile::tempdir()?;
    ensure!(asks_for(folder.path(), &container, NEW, &plain(&[]))?.is_empty(), "a container");
    for (setting, wanted) in [
        ("user.max_user_namespaces = 0", ""),
        ("-user/max_user_namespaces=0", ""),
        ("# user.max_user_namespaces = 0", "full"),
        ("user.max_user_namespaces = 100", "full"),
    ] {
        let folder = tempfile::tempdir()?;
        let write = format!("echo '{setting}' > /etc/sysctl.d/90-host.conf; exec \"$0\" \"$@\"");
        let asked = asks_for(folder.path(), &["sh", "-c", &write], NEW, &plain(&[]))?;
        ensure!(asked == wanted, "{setting}: {asked}");
    }
    // The same by a link, as who keeps his configuration elsewhere has it; and a relay that runs as a number.
    for (before, wanted) in [
        (
            "echo user.max_user_namespaces=0 > \"$FAR\"; ln -s \"$FAR\" /etc/sysctl.d/90-host.conf",
            "",
        ),
        ("echo User=70000 > $unit.d/init.conf", ""),
        ("echo User=sallyport > $unit.d/init.conf", "identity"),
    ] {
        let (folder, far) = (tempfile::tempdir()?, tempfile::NamedTempFile::new()?);
        let before = format!(
            "set -e; mount -t tmpfs none /etc/systemd; unit=/etc/systemd/system/sallyport-relay.service; \
             mkdir -p $unit.d; FAR='{}'; {before}; exec \"$0\" \"$@\"",
            far.path().display()
        );
        let asked = asks_for(folder.path(), &["sh", "-c", &before], TRIXIE, &plain(&[]))?;
        ensure!(asked == wanted, "{before}: {asked}");
    }
    Ok(())
}
