//! The whole product on its stage: what operators do to it, and what happens to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{attempt, gate, pid_of, session};
use relay::hosts::dial::Answer;
use relay::hosts::process::{Signal, signal};
use tests::need;
use tests::world::{World, program};

/// How long silence is waited for: one retransmission of a SYN.
const SILENCE: Duration = Duration::from_millis(1200);

fn seen(stage: &Stage, from: std::net::IpAddr) -> Result<Answer> {
    attempt(stage, from, GUARDED, SILENCE)
}

/// Runs a verb that must be refused and returns what it said.
fn refused(stage: &Stage, words: &[&str]) -> Result<String> {
    let mut command = stage.program(words);
    let output = stage.relay.within(|| command.output())??;
    ensure!(output.status.code() == Some(1), "{words:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_demo_happens_and_leaves_no_folder() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let output = Command::new(program()?).arg("demo").env("TMPDIR", folder.path()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(" yes ").count(), 7, "{said}");
    assert_eq!(fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

/// Returns the processes that work in a folder or below it.
fn working_in(folder: &std::path::Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        // What is no process, or ended meanwhile, works nowhere.
        if fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
            let command = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
            found.push(format!("{}: {}", process.display(), command.replace('\0', " ")));
        }
    }
    Ok(found)
}

#[test]
fn the_stage_leaves_no_process_of_others_and_no_folder_behind() -> Result<()> {
    if !need::root() || need::tool("postfix").is_none() {
        return Ok(());
    }
    let World { stage, bpf, folder } = World::set()?;
    assert_ne!(working_in(folder.path())?, Vec::<String>::new(), "Postfix works there");
    drop(stage);
    assert_eq!(working_in(folder.path())?, Vec::<String>::new());
    drop(bpf);
    folder.close().context("the folder")
}

#[test]
fn the_allowlist_says_what_it_did_and_refuses_what_it_must() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let stranger = STRANGER.to_string();
    assert_eq!(stage.command(&["allow", "add", &stranger])?, format!("{stranger}/32 added\n"));
    assert_eq!(stage.command(&["allow", "add", &stranger])?, format!("{stranger}/32 unchanged\n"));
    assert_eq!(seen(stage, STRANGER)?, Answer::Connected);
    let removed = stage.command(&["allow", "remove", &stranger])?;
    assert_eq!(removed, format!("{stranger}/32 removed\n"));
    assert_eq!(seen(stage, STRANGER)?, Answer::Silence);
    assert!(stage.command(&["allow", "remove", &stranger])?.contains("unchanged"));

    let declared = refused(stage, &["allow", "remove", "192.0.2.0/28"])?;
    assert!(declared.contains("sallyport.toml:8; change it there and reload"), "{declared}");
    stage.command(&["allow", "add", "192.0.2.10"])?;
    let broader = stage.command(&["allow", "remove", "192.0.2.10"])?;
    assert!(broader.contains("192.0.2.0/28"), "{broader}");
    assert_eq!(seen(stage, CLIENT)?, Answer::Connected, "the broader entry still admits it");

    stage.command(&["allow", "add", &stranger, "--ttl", "1s"])?;
    assert_eq!(seen(stage, STRANGER)?, Answer::Connected);
    wait_for("the entry to end", || {
        let list = stage.listing(&["allow", "list"]).ok()?;
        (list.as_array()?.len() == 1).then_some(())
    })?;
    assert_eq!(seen(stage, STRANGER)?, Answer::Silence);
    Ok(())
}

#[test]
fn a_banned_client_meets_silence_until_the_ban_is_lifted() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let client = CLIENT.to_string();
    let mut open = session(stage, CLIENT)?;
    stage.command(&["ban", "add", &client, "--note", "a test"])?;
    assert!(open.last_words()?.starts_with("421 "), "its open session ends");
    assert_eq!(seen(stage, CLIENT)?, Answer::Silence);
    let explained = stage.command(&["explain", &client])?;
    assert!(explained.contains("drop (banned)"), "{explained}");
    assert!(explained.contains("listed by 192.0.2.0/28 with tag demo"), "{explained}");
    assert!(stage.command(&["ban", "list"])?.contains("a test"));
    stage.command(&["ban", "remove", &client])?;
    assert_eq!(seen(stage, CLIENT)?, Answer::Connected);
    Ok(())
}

#[test]
fn a_configuration_with_errors_leaves_the_running_gate_as_it_was() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let file = world.folder.path().join("sallyport.toml");
    let good = fs::read_to_string(&file)?;
    let gate_pid = pid_of(&gate(stage)?)?;
    fs::write(&file, good.replace("strict", "strikt").replace("192.0.2.0/28", "192.0.2.1/28"))?;
    let said = refused(stage, &["config", "check", &file.display().to_string()])?;
    assert!(said.contains("has host bits set: write 192.0.2.0/28"), "{said}");
    signal(gate_pid, Signal::HUP)?;
    wait_for("the gate to refuse", || stage.log().contains("192.0.2.0/28").then_some(()))?;
    // The verbs read the same file to find the socket.
    fs::write(&file, &good)?;
    assert_eq!(seen(stage, CLIENT)?, Answer::Connected);
    assert_eq!(seen(stage, STRANGER)?, Answer::Silence);
    let more = format!("{good}[[gate.allow]]\ncidr = \"{STRANGER}/32\"\n");
    fs::write(&file, more)?;
    signal(gate_pid, Signal::HUP)?;
    wait_for("a good configuration to be taken", || {
        let seen = attempt(stage, STRANGER, GUARDED, Duration::from_millis(50)).ok()?;
        (seen == Answer::Connected).then_some(())
    })
    .with_context(|| stage.log())
}

#[test]
fn reload_has_both_processes_read_the_file_and_names_what_takes_a_restart() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let file = world.folder.path().join("sallyport.toml");
    let good = fs::read_to_string(&file)?;
    let more = format!(
        "{good}[[gate.allow]]\ncidr = \"{STRANGER}/32\"\n[limits]\nmessage-size = \"64KiB\"\n"
    );
    fs::write(&file, &more)?;
    assert_eq!(stage.command(&["reload"])?, "gate: reloaded\nrelay: reloaded\n");
    assert_eq!(seen(stage, STRANGER)?, Answer::Connected);
    let mut client = session(stage, CLIENT)?;
    let large = [b"From: a@example.net\r\n\r\n".as_slice(), &b"x\r\n".repeat(30_000)].concat();
    let refused = client.send("a@example.net", "b@example.com", &large);
    let refused = refused.err().context("a message above the new limit")?;
    let refused = format!("{refused:#}");
    assert!(refused.contains("552 5.3.4"), "{refused}");
    fs::write(&file, more.replace("reserve = \"0B\"", "reserve = \"1B\""))?;
    let said = stage.command(&["reload"])?;
    let left = "reloaded, but this changes with a restart only: spool.reserve";
    assert_eq!(said, format!("gate: {left}\nrelay: {left}\n"));
    Ok(())
}

#[test]
fn a_second_gate_is_refused_and_changes_nothing() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let said = refused(&world.stage, &["gate"])?;
    assert!(said.contains("another"), "{said}");
    assert_eq!(seen(&world.stage, CLIENT)?, Answer::Connected);
    assert_eq!(seen(&world.stage, STRANGER)?, Answer::Silence);
    Ok(())
}

#[test]
fn the_relay_has_no_rights_and_the_gate_three() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let whole = world.stage.listing(&["status"])?;
    let line = |pid: u32, key: &str| -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        Ok(line.with_context(|| format!("no {key} in {status}"))?.trim().to_owned())
    };
    let relay = pid_of(&whole["relay"])?;
    assert_eq!(line(relay, "Uid:")?, "65534\t65534\t65534\t65534");
    assert_eq!(line(relay, "Groups:")?, "");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(relay, set)?, "0000000000000000", "{set}");
    }
    assert_eq!(line(relay, "NoNewPrivs:")?, "1");
    // CAP_NET_ADMIN (12), CAP_PERFMON (38) and CAP_BPF (39) of capabilities(7).
    let three = format!("{:016x}", (1_u64 << 12) | (1 << 38) | (1 << 39));
    for set in ["CapPrm:", "CapEff:"] {
        assert_eq!(line(pid_of(&whole["gate"])?, set)?, three, "{set}");
    }
    let pins = world.folder.path().join("bpf/sallyport");
    let (mut count, mut left) = (0, vec![pins.clone()]);
    while let Some(path) = left.pop() {
        let about = fs::metadata(&path)?;
        let mode = about.permissions().mode() & 0o777;
        assert_eq!(mode & 0o027, 0, "{}: {mode:o}", path.display());
        if about.is_dir() {
            let inside: io::Result<Vec<_>> = fs::read_dir(&path)?.collect();
            left.extend(inside?.iter().map(fs::DirEntry::path));
        } else {
            count += 1;
        }
    }
    ensure!(count > 20, "only {count} pins below {}", pins.display());
    Ok(())
}

#[test]
fn what_was_acknowledged_arrives_although_the_relay_is_killed() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    let relay = pid_of(&world.stage.listing(&["status"])?["relay"])?;
    let mut client = session(&world.stage, CLIENT)?;
    let (acknowledged, told) = mpsc::channel();
    let sender = std::thread::spawn(move || {
        for number in 0..2000 {
            let id = format!("<killed-{number}@example.net>");
            let message = format!("From: a@example.net\r\nMessage-ID: {id}\r\n\r\nhello\r\n");
            if client.send("a@example.net", "b@example.com", message.as_bytes()).is_err() {
                return;
            }
            if acknowledged.send(id).is_err() {
                return;
            }
        }
    });
    let mut wanted: BTreeSet<String> = told.iter().take(50).collect();
    signal(relay, Signal::KILL)?;
    wanted.extend(told.iter());
    ensure!(wanted.len() < 2000, "the relay was not killed in the middle");
    sender.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
    world.stage.serving()?;
    let count = wanted.len();
    while !wanted.is_empty() {
        let arrived = world.stage.hop.next_message();
        let arrived =
            arrived.with_context(|| format!("{} of {count} are missing", wanted.len()))?;
        let arrived = String::from_utf8_lossy(&arrived);
        let id = arrived.lines().find_map(|line| line.strip_prefix("Message-ID: "));
        wanted.remove(id.context("a message without Message-ID")?);
    }
    Ok(())
}
