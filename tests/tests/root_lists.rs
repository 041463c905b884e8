//! What operators do to the lists by the command line, and whom it cuts.

#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::client::Secured;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, GUARDED, STRANGER, Stage};
use relay::demo::steps::{attempt, gate, session};
use relay::hosts::dial::Answer;
use tests::need;
use tests::world::World;

/// How long silence is waited for: one retransmission of a SYN.
const SILENCE: Duration = Duration::from_millis(1_200);
/// How long a connection is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a verb that must be refused and returns what it said.
fn refused(stage: &Stage, words: &[&str]) -> Result<String> {
    let mut command = stage.program(words);
    let output = stage.relay.within(|| command.output())??;
    ensure!(output.status.code() == Some(1), "{words:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn seen(stage: &Stage, from: IpAddr) -> Result<Answer> {
    let patience = if from == CLIENT { PATIENCE } else { SILENCE };
    attempt(stage, from, GUARDED, patience)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let file = folder.join(name);
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

/// Waits until the session is ended from the other side.
fn ends(mut client: Secured) -> Result<()> {
    match client.say("NOOP", 421) {
        Ok(_) => Ok(()),
        Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => Ok(()),
            _ => bail!("the session goes on: {error:#}"),
        },
    }
}

#[test]
fn revoking_an_entry_or_banning_a_source_ends_its_session() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    stage.command(&["allow", "add", &STRANGER.to_string(), "--tag", "demo"])?;
    let open = session(stage, STRANGER)?;
    stage.command(&["allow", "remove", &STRANGER.to_string()])?;
    ends(open).context("after `allow remove`")?;

    let (open, other) = (session(stage, CLIENT)?, "192.0.2.11/32");
    stage.command(&["ban", "add", other])?;
    let mut open = open;
    open.say("NOOP", 250).context("a ban of somebody else")?;
    stage.command(&["ban", "add", &CLIENT.to_string(), "--ttl", "1m"])?;
    ends(open).context("after `ban add`")?;
    ensure!(attempt(stage, CLIENT, GUARDED, SILENCE)? == Answer::Silence);
    Ok(())
}

#[test]
fn a_list_that_would_cut_off_every_client_is_refused_without_force() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    // The declared entry admits the client, so nothing that a file says can cut him; an added one can.
    stage.command(&["allow", "add", &STRANGER.to_string(), "--tag", "demo"])?;
    let open = session(stage, STRANGER)?;
    let others = write(world.folder.path(), "others", "203.0.113.0/24\n")?;
    let said = stage.listing(&["allow", "apply", &others, "--dry-run"])?;
    ensure!(said["is_applied"] == false && said["connected"] == 1, "{said}");
    ensure!(said["cut"][STRANGER.to_string()] == 1, "{said}");
    let said = refused(stage, &["allow", "apply", &others])?;
    ensure!(said.contains("none of the 1 clients") && said.contains("--force"), "{said}");
    ensure!(seen(stage, STRANGER)? == Answer::Connected, "nothing was changed");

    stage.command(&["allow", "apply", &others, "--force", "--confirm-within", "1h"])?;
    ends(open).context("after `allow apply --force`")?;
    ensure!(seen(stage, STRANGER)? == Answer::Silence);
    stage.command(&["allow", "rollback"])?;
    ensure!(attempt(stage, STRANGER, GUARDED, PATIENCE)? == Answer::Connected);
    Ok(())
}

#[test]
fn a_list_is_written_read_back_and_audited() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    stage.command(&["allow", "add", "198.51.100.0/24", "--tag", "demo", "--note", "by hand"])?;
    stage.command(&["allow", "add", "::ffff:203.0.113.7"])?;
    let text = stage.command(&["allow", "list", "--file"])?;
    ensure!(text.contains("198.51.100.0/24") && text.contains("203.0.113.7/32"), "{text}");
    let file = write(world.folder.path(), "list", &text)?;
    let said = stage.listing(&["allow", "apply", &file, "--dry-run"])?;
    let changes = said["changes"].as_array().context("changes")?;
    ensure!(changes.is_empty() && said["entries"] == 3, "what was written is what stands: {said}");

    let wrong = write(world.folder.path(), "wrong", "192.0.2.0/24\n10.0.0.1/8\nnonsense\n")?;
    let refusal = refused(stage, &["allow", "apply", &wrong])?;
    for place in ["line 2", "10.0.0.0/8", "line 3", "nothing was changed"] {
        ensure!(refusal.contains(place), "{place} is missing: {refusal}");
    }
    let audit = stage.listing(&["audit"])?;
    let verbs: Vec<&str> = audit["changes"]
        .as_array()
        .context("changes")?
        .iter()
        .filter_map(|change| change["verb"].as_str())
        .collect();
    ensure!(verbs == ["allow add", "allow add"], "{audit}");
    ensure!(audit["changes"][0]["uid"] == 0, "{audit}");
    Ok(())
}

#[test]
fn detaching_opens_the_host_and_the_next_start_closes_it() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    let stage = &mut world.stage;
    ensure!(seen(stage, STRANGER)? == Answer::Silence);
    stage.command(&["detach"])?;
    ensure!(attempt(stage, STRANGER, GUARDED, PATIENCE)? == Answer::Connected, "it is open");
    let screen = stage.command(&["status"])?;
    ensure!(screen.contains("lets everybody in"), "{screen}");
    stage.stop()?;
    stage.start()?;
    ensure!(seen(stage, STRANGER)? == Answer::Silence, "it is closed again");

    // And without a gate's process.
    stage.stop()?;
    stage.command(&["detach"])?;
    let links = std::fs::read_dir(world.folder.path().join("bpf/sallyport/links"))?.count();
    ensure!(links == 0, "{links} links are left");
    Ok(())
}

#[test]
fn observing_and_explaining_are_told_as_they_are() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    let stranger = STRANGER.to_string();
    let explained = stage.command(&["explain", &stranger])?;
    ensure!(explained.contains("drop (unlisted_syn)"), "{explained}");
    ensure!(explained.contains(&format!("sallyport allow add {stranger}/32")), "{explained}");
    let explained = stage.command(&["explain", &CLIENT.to_string()])?;
    ensure!(explained.contains("listed by 192.0.2.0/28 with tag demo"), "{explained}");
    ensure!(explained.contains("may send as @example.net"), "{explained}");

    stage.command(&["mode", "observe", "--for", "1h"])?;
    ensure!(attempt(stage, STRANGER, GUARDED, PATIENCE)? == Answer::Connected);
    let explained = stage.command(&["explain", &stranger])?;
    ensure!(explained.contains("pass (observed)"), "{explained}");
    wait_for("the spared frame to be counted", || {
        gate(stage).ok()?["spared"].as_u64().filter(|count| *count > 0)
    })?;
    stage.command(&["mode", "enforce"])?;
    ensure!(seen(stage, STRANGER)? == Answer::Silence);
    Ok(())
}

#[test]
fn bad_input_is_named_with_its_remedy_and_the_gate_stands() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    let stage = &world.stage;
    for (words, named) in [
        (&["allow", "add", "192.0.2.1/24"][..], "192.0.2.0/24"),
        (&["allow", "remove", "203.0.113.0/24"], "unchanged"),
    ] {
        let mut command = stage.program(words);
        let output = stage.relay.within(|| command.output())??;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(said.contains(named), "{words:?}: {said}");
    }
    // Somebody who may not.
    let mut command = stage.program(&["allow", "add", "203.0.113.7"]);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(command.get_program()).args(words);
    command = nobody;
    let output = stage.relay.within(|| command.output())??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && !said.contains("panicked"), "{said}");
    ensure!(seen(stage, CLIENT)? == Answer::Connected && seen(stage, STRANGER)? == Answer::Silence);
    Ok(())
}
