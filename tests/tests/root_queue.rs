//! Operators' hands on mail, on the whole product: the queue's verbs, the life of a message, and the
//! log that holds it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{CLIENT, Stage};
use relay::demo::steps::session;
use serde_json::Value;
use tests::need;
use tests::world::World;

/// Checks that a verb was refused and returns what it said.
fn refusal(output: &Output) -> Result<String> {
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs a verb that must be refused and returns what it said.
fn refused(stage: &Stage, words: &[&str]) -> Result<String> {
    let mut command = stage.program(words);
    refusal(&stage.relay.within(|| command.output())??)
}

/// Sends a message and returns its id.
fn send(stage: &Stage, from: &str, to: &str) -> Result<String> {
    let mut client = session(stage, CLIENT)?;
    let text = format!("From: {from}\r\nSubject: hello\r\n\r\nfrom {from}\r\n");
    let answer = client.send(from, to, text.as_bytes())?;
    client.say("QUIT", 221)?;
    let last = answer.lines.last().and_then(|line| line.split_whitespace().last());
    Ok(last.context("an id in the answer")?.to_owned())
}

/// Checks that a story has these steps one after the other.
fn in_order(story: &str, steps: &[&str]) -> Result<()> {
    let mut from = 0;
    for step in steps {
        from += story[from..].find(step).with_context(|| format!("{step} in {story}"))?;
    }
    Ok(())
}

/// A world whose next hop nobody serves: mail stays.
fn stuck() -> Result<World> {
    let mut world = World::set()?;
    lead_to(&world, 9)?;
    world.stage.start()?;
    Ok(world)
}

/// Has the mail of a world go to this port of the relay's own host.
fn lead_to(world: &World, port: u16) -> Result<()> {
    let file = world.folder.path().join("sallyport.toml");
    let text = fs::read_to_string(&file)?;
    let (before, after) = text.split_once("hosts = [\"").context("a route")?;
    let (_, after) = after.split_once("\"]").context("its hosts")?;
    fs::write(&file, format!("{before}hosts = [\"127.0.0.1:{port}\"]{after}"))?;
    Ok(())
}

fn ids(stage: &Stage, words: &[&str]) -> Result<Vec<String>> {
    let listing = stage.listing(words)?;
    let messages = listing.as_array().context("a list")?;
    Ok(messages.iter().filter_map(|message| message["id"].as_str().map(str::to_owned)).collect())
}

#[test]
fn messages_are_found_held_released_shown_and_dropped() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = stuck()?;
    let stage = &world.stage;
    let first = send(stage, "a@example.net", "x@example.com")?;
    let second = send(stage, "b@example.net", "y@example.org")?;
    let third = send(stage, "c@example.net", "z@example.org")?;
    wait_for("the first attempts to end", || {
        let waiting = stage.listing(&["queue", "list", "--place", "waiting"]).ok()?;
        let tried = |message: &&Value| message["attempts"] == 1;
        (waiting.as_array()?.iter().filter(tried).count() == 3).then_some(())
    })?;
    for id in [&first, &second, &third] {
        wait_for("queue and trace to agree", || queue_and_trace_agree(stage, id).ok())?;
    }
    assert_eq!(ids(stage, &["queue", "list", "--sender", "B@"])?, [second.as_str()]);
    assert_eq!(
        ids(stage, &["queue", "list", "--domain", "example.org", "--tag", "demo"])?.len(),
        2
    );
    assert_eq!(ids(stage, &["queue", "list", "--older", "1h"])?, [""; 0]);
    assert!(stage.command(&["queue", "list", "--limit", "2"])?.contains("… and more"));
    assert!(!stage.command(&["queue", "list", "--limit", "3"])?.contains("… and more"));

    let told = stage.command(&["queue", "hold", "--domain", "example.org", "--dry-run"])?;
    assert_eq!(told, "2 messages would be held; nothing was done\n");
    let told = stage.command(&["queue", "hold", "--domain", "example.org"])?;
    assert_eq!(told, "2 messages held\n");
    assert_eq!(ids(stage, &["queue", "list", "--place", "held"])?, [second.as_str(), &third]);
    let words = refused(stage, &["queue", "retry", &second])?;
    assert!(words.contains(&format!("sallyport queue release {second}")), "{words}");
    assert_eq!(stage.command(&["queue", "release", "--all"])?, "2 messages released\n");

    let text = stage.command(&["queue", "show", &first, "--body"])?;
    assert_eq!(text.split_once("\r\n\r\n").context("a body")?.1, "from a@example.net\r\n");
    let headers = stage.command(&["queue", "show", &first, "--headers"])?;
    assert!(
        headers.starts_with("Received: ") && headers.ends_with("Subject: hello\r\n"),
        "{headers}"
    );

    assert_eq!(stage.command(&["queue", "drop", "--sender", "c@"])?, "1 message dropped\n");
    assert_eq!(stage.command(&["queue", "drop", &first, &second])?, "2 messages dropped\n");
    let words = refused(stage, &["queue", "drop", &first])?;
    assert!(words.contains(&format!("`sallyport trace {first}` tells")), "{words}");
    let life = stage.command(&["trace", &second])?;
    in_order(&life, &["attempt 1 ended", "held by root", "released by root", "dropped by root"])?;
    assert!(stage.command(&["trace", &first])?.contains("its text was read by root"));
    Ok(())
}

/// Fails unless the list of messages and the life of one say the same of its size and its attempts.
fn queue_and_trace_agree(stage: &Stage, id: &str) -> Result<()> {
    let listed = stage.listing(&["queue", "list"])?;
    let listed = listed.as_array().context("a list")?.iter().find(|message| message["id"] == id);
    let listed = listed.context("the message")?;
    let told = stage.listing(&["trace", id])?;
    let facts = |name: &str| -> Vec<Value> {
        let all = told.as_array().into_iter().flatten();
        all.filter(|line| line["fact"] == name).cloned().collect()
    };
    let size = &facts("received")[0]["size-bytes"];
    ensure!(listed["size_bytes"] == *size, "{listed:#} and {told:#}");
    let counted = facts("attempted").iter().filter(|line| line["counted"] != false).count();
    ensure!(listed["attempts"] == counted, "{listed:#} and {told:#}");
    let octets = format!(" {size} octets are on disk");
    ensure!(stage.command(&["trace", id])?.contains(&octets), "{octets}");
    Ok(())
}

#[test]
fn what_is_on_its_way_to_a_hop_that_never_answers_is_held_and_dropped_at_once() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    let silent = world.stage.relay.within(|| TcpListener::bind("127.0.0.1:0"))??;
    lead_to(&world, silent.local_addr()?.port())?;
    world.stage.start()?;
    let stage = &world.stage;
    for (from, verb, done) in [("a", "drop", "dropped"), ("b", "hold", "held")] {
        let id = send(stage, &format!("{from}@example.net"), "x@example.com")?;
        silent.set_nonblocking(true)?;
        let _taken = wait_for("the relay to connect", || silent.accept().ok())?;
        let words = refused(stage, &["queue", "retry", &id])?;
        assert!(words.contains("being delivered right now"), "{words}");
        assert_eq!(stage.command(&["queue", verb, &id])?, format!("1 message {done}\n"));
    }
    Ok(())
}

#[test]
fn the_life_of_a_message_is_told_from_the_connection_to_the_reply_also_when_the_relay_is_down()
-> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    let id = send(&world.stage, "billing@example.net", "customer@example.com")?;
    world.stage.hop.next_message()?;
    let life = wait_for("the message to be settled", || {
        let life = world.stage.command(&["trace", &id]).ok()?;
        life.contains("left the spool").then_some(life)
    })?;
    // The way out may begin before the client has its answer: each has its own order.
    let connected = format!("{CLIENT} connected to ");
    let way_in = [
        &connected as &str,
        ", tag demo",
        "TLS handshake done: TLSv1.3",
        "logged in as ",
        " by PLAIN",
        "from <billing@example.net> to <customer@example.com>",
        " octets are on disk, and the client is told 250",
    ];
    let way_out = [
        "from <billing@example.net>",
        "attempt 1 began",
        "route next-hop: spoken to ",
        "TLSv1.3",
        "<customer@example.com> delivered by ",
        "the message has left the spool",
    ];
    for way in [&way_in[..], &way_out[..]] {
        in_order(&life, way)?;
    }
    let raw = world.stage.listing(&["trace", &id])?;
    let mut facts: Vec<&str> =
        raw.as_array().context("a list")?.iter().filter_map(|line| line["fact"].as_str()).collect();
    facts.sort_unstable();
    assert_eq!(facts, ["attempted", "carried", "received"]);

    world.stage.stop()?;
    assert_eq!(world.stage.command(&["trace", &id])?, life, "read from the files");
    let words = refused(&world.stage, &["trace", "0000000000001"])?;
    assert!(words.contains("nothing is known of such a message"), "{words}");
    let folder = world.folder.path().join("history");
    assert_eq!(fs::metadata(&folder)?.permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(folder)? {
        assert_eq!(file?.metadata()?.permissions().mode() & 0o777, 0o600);
    }
    Ok(())
}

/// Flips an octet of this text wherever it stands in the log; returns the names of those files.
fn flip(spool: &Path, text: &[u8]) -> Result<Vec<String>> {
    let mut hit = Vec::new();
    for file in fs::read_dir(spool)? {
        let path = file?.path();
        let mut octets = fs::read(&path)?;
        let places: Vec<_> = octets
            .windows(text.len())
            .enumerate()
            .filter_map(|(place, found)| (found == text).then_some(place))
            .collect();
        if places.is_empty() {
            continue;
        }
        for place in places {
            octets[place] ^= 1;
        }
        fs::write(&path, octets)?;
        let name = path.file_name().context("a name")?;
        hit.push(name.to_string_lossy().into_owned());
    }
    Ok(hit)
}

/// Runs a verb of the log; returns its exit code and what it printed.
fn checked(stage: &Stage, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = stage.program(&[&["spool", "check"], words].concat());
    let output = stage.relay.within(|| command.output())??;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_log_is_checked_while_the_relay_runs_and_mended_while_it_is_stopped() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = stuck()?;
    let stage = &world.stage;
    let first = send(stage, "a@example.net", "x@example.com")?;
    let second = send(stage, "b@example.net", "y@example.org")?;
    let third = send(stage, "c@example.net", "z@example.org")?;
    let told = stage.command(&["spool", "compact"])?;
    assert!(told.starts_with("the log was "), "{told}");
    let (code, report) = checked(stage, &[])?;
    assert!(code == Some(0) && report.ends_with("\nsound\n"), "{report}");
    assert!(report.starts_with("3 messages in "), "{report}");
    assert!(report.contains(", read while the relay runs\n"), "{report}");
    let words = refused(stage, &["spool", "check", "--mend"])?;
    assert!(words.contains("the relay runs: stop it first"), "{words}");

    world.stage.stop()?;
    let spool = world.folder.path().join("spool");
    let hit = flip(&spool, b"\r\n\r\nfrom b@example.net\r\n")?;
    assert!(!hit.is_empty());
    let (code, report) = checked(&world.stage, &[])?;
    assert_eq!(code, Some(1), "{report}");
    for file in &hit {
        assert!(report.contains(&format!("\ndamaged: {file}: ")), "{report}");
    }
    assert!(report.contains(&format!("\n--mend would take {second} out of the queue")), "{report}");
    let (code, mended) = checked(&world.stage, &["--mend"])?;
    assert!(code == Some(0) && mended.ends_with("\nsound\n"), "{mended}");
    assert!(mended.contains(&format!("no longer in the queue: {second};")), "{mended}");
    assert!(spool.join(format!("{second}.damaged")).exists());
    assert_eq!(checked(&world.stage, &[])?.0, Some(0));

    world.stage.start()?;
    let mut kept = ids(&world.stage, &["queue", "list"])?;
    kept.sort_unstable();
    assert_eq!(kept, [first.as_str(), third.as_str()]);
    let body = world.stage.command(&["queue", "show", &third, "--body"])?;
    assert!(body.contains("from c@example.net"), "{body}");
    Ok(())
}

#[test]
fn who_may_not_see_mail_is_told_who_may() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::serving()?;
    // Where the checkout lies others may not pass.
    let program = world.folder.path().join("sallyport");
    fs::copy(tests::world::program()?, &program)?;
    let id = "0000000000001";
    for (words, deed) in [
        (&["queue", "list"][..], "may not see mail"),
        (&["queue", "show", id], "may not see mail"),
        (&["queue", "show", id, "--body"], "may not read mail"),
        (&["queue", "hold", "--all", "--dry-run"], "may not see mail"),
        (&["queue", "retry", "--all"], "may not change mail"),
        (&["queue", "drop", id], "may not change mail"),
        (&["trace", id], "may not see the life of a message"),
    ] {
        let mut command = Command::new(&program);
        command.arg("--config").arg(world.folder.path().join("sallyport.toml")).args(words);
        command.uid(4_000_000).gid(4_000_000);
        let said = refusal(&world.stage.relay.within(|| command.output())??)?;
        let wanted = format!("uid 4000000 {deed}: root and the members of gate.admin-group may");
        assert!(said.contains(&wanted), "{words:?}: {said}");
    }
    Ok(())
}
