//! What each released version kept on disk is read by this one; what a later version wrote is named, and left
//! as it is.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::CLIENT;
use relay::demo::steps::session;
use relay::gate::allowlist::Kept;
use relay::gate::clocks::Moment;
use relay::gate::net;
use relay::gate::record::{Files, Found};
use relay_common::table::LAYOUT;
use tests::need;
use tests::state::{
    LISTED, MESSAGES, ROUTE, TAKEN, TEMPORARY, VERSION, folder_of, install, versions,
};
use tests::stranger::Stranger;
use tests::world::World;

/// The relay's user on the stage.
const RELAY_USER: u32 = 65_534;

/// A stage with the state of a version on it.
fn set(version: &str) -> Result<World> {
    let mut world = World::set()?;
    world.stage.password = install(version, world.folder.path(), RELAY_USER)?;
    Ok(world)
}

#[test]
fn the_state_of_every_version_is_read_and_goes_on() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    for version in versions()? {
        let mut world = set(&version)?;
        world.stage.start()?;
        reads_lists(&world).with_context(|| version.clone())?;
        reads_mail(&mut world).with_context(|| version.clone())?;
        let log = world.stage.log();
        for word in ["learned anew", "damaged", "cannot be read", "of its form", "set aside"] {
            ensure!(!log.contains(word), "{version}: {word}\n{log}");
        }
        ensure!(left_aside(world.folder.path())?.is_empty(), "{version}");
    }
    Ok(())
}

/// Returns the files that were set aside.
fn left_aside(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for name in ["gate", "spool"] {
        for file in fs::read_dir(folder.join(name))? {
            let path = file?.path();
            let name = path.display().to_string();
            if name.contains("damaged") || name.contains("version-") {
                aside.push(path);
            }
        }
    }
    Ok(aside)
}

/// The gate's half: allowlist, bans, audit.
fn reads_lists(world: &World) -> Result<()> {
    let stage = &world.stage;
    let list = stage.listing(&["allow", "list"])?;
    let entry = |network: &str| -> Option<&serde_json::Value> {
        list.as_array()?.iter().find(|entry| entry["cidr"] == network)
    };
    let listed = entry(LISTED).with_context(|| format!("not listed: {list}"))?.to_string();
    for words in ["\"guests\"", "\"an entry\"", "5/s"] {
        ensure!(listed.contains(words), "{words}: {listed}");
    }
    ensure!(entry(TAKEN).is_none(), "{list}");
    let audit = stage.listing(&["audit", "--since", "8760h"])?.to_string();
    ensure!(audit.contains("allow remove") && audit.contains("\"broken-lines\":[]"), "{audit}");
    Ok(())
}

#[test]
fn what_ends_is_read_with_its_end_from_the_state_of_every_version() -> Result<()> {
    for version in versions()? {
        let files = Files::within(&folder_of(&version).join("gate"));
        // Before any of them ended, in another boot than theirs.
        let now = Moment { wall: "2026-11-30T00:00:00Z".parse()?, boot_ns: 1_000 };
        let Found { kept: Kept { added, .. }, damage } = files.allowlist(now)?;
        ensure!(damage.is_none(), "{version}: {damage:?}");
        let entry = |network: &str| -> Result<_> {
            let net = net(network.parse()?)?;
            added
                .iter()
                .find(|entry| entry.net == net)
                .with_context(|| format!("{version}: {added:?}"))
        };
        ensure!(
            entry(TEMPORARY)?.until_ns.is_some_and(|end| end > now.boot_ns),
            "{version}: {added:?}"
        );
        ensure!(entry(LISTED)?.until_ns.is_none(), "{version}: {added:?}");
        let Found { kept: (bans, _), damage } = files.bans(now)?;
        ensure!(damage.is_none(), "{version}: {damage:?}");
        let banned = net(TAKEN.parse()?)?;
        let ban = bans.iter().find(|ban| ban.net == banned).with_context(|| version.clone())?;
        ensure!(ban.note.as_deref() == Some("a ban") && ban.until_ns > now.boot_ns, "{ban:?}");
    }
    Ok(())
}

/// The relay's half: logins, suspended routes, spool, history.
fn reads_mail(world: &mut World) -> Result<()> {
    let stage = &mut world.stage;
    session(stage, CLIENT)?.say("QUIT", 221)?;
    let routes = stage.listing(&["route", "list"])?.to_string();
    ensure!(routes.contains("a suspension"), "{routes}");
    let queue = stage.listing(&["queue", "list"])?.to_string();
    let ids: Vec<&str> =
        queue.split("\"id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    ensure!(ids.len() == MESSAGES.len(), "{queue}");
    for id in &ids {
        let story = stage.command(&["trace", id])?;
        ensure!(story.contains("customer@example.com"), "{story}");
    }
    stage.command(&["route", "resume", ROUTE])?;
    arrives(stage.hop.next_message()?, MESSAGES[1])?;
    stage.command(&["queue", "release", ids[0]])?;
    arrives(stage.hop.next_message()?, MESSAGES[0])
}

fn arrives(arrived: Vec<u8>, wanted: &[u8]) -> Result<()> {
    let arrived = String::from_utf8(arrived)?;
    let wanted = std::str::from_utf8(wanted)?;
    ensure!(arrived.ends_with(wanted), "{arrived:?} is not {wanted:?}");
    Ok(())
}

/// Returns a file, or every file of a folder but for the lock, with its octets.
fn octets(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    if folder.is_file() {
        return Ok(vec![(folder.to_owned(), fs::read(folder)?)]);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "lock") {
            all.push((path.clone(), fs::read(&path)?));
        }
    }
    all.sort();
    Ok(all)
}

/// Makes a file one of a later version, as that one's first octets say. Of a segment both heads have their
/// checksums.
fn of_a_later_version(path: &Path) -> Result<()> {
    let mut octets = fs::read(path)?;
    if path.extension().is_some_and(|ending| ending == "log") {
        for head in [0, 512] {
            octets[head + 8] = 9;
            let sum = crc32c::crc32c(&octets[head..head + 60]);
            octets[head + 60..head + 64].copy_from_slice(&sum.to_le_bytes());
        }
    } else {
        let text = String::from_utf8(octets)?;
        let later = text.replacen("\"version\":1", "\"version\":9", 1).replacen(
            "format = 1",
            "format = 9",
            1,
        );
        ensure!(later != text, "{}: it names no version", path.display());
        octets = later.into_bytes();
    }
    Ok(fs::write(path, octets)?)
}

#[test]
fn what_a_later_version_wrote_is_named_with_the_remedy_and_nothing_is_changed() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    for (file, said, stays) in [
        ("gate/allow.jsonl", "written in version 9 of its form", "gate"),
        ("gate/bans.jsonl", "written in version 9 of its form", "gate"),
        ("spool/00000001.log", "written in format 9", "spool"),
        ("users.toml", "written in format 9", "users.toml"),
    ] {
        let mut world = set(VERSION)?;
        let path = world.folder.path().join(file);
        of_a_later_version(&path)?;
        let stays = world.folder.path().join(stays);
        let before = octets(&stays)?;
        let refusal = world.stage.start().err().with_context(|| format!("{file}: it starts"))?;
        let refusal = format!("{refusal:#}");
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        for words in [name, said, "this program reads", "use the program that wrote it"] {
            ensure!(refusal.contains(words), "{file}: {words}\n{refusal}");
        }
        ensure!(octets(&stays)? == before, "{file}: something was changed");
    }
    Ok(())
}

#[test]
fn tables_of_an_earlier_and_of_a_later_layout_guard_until_ours_have_taken_their_place() -> Result<()>
{
    if !need::root() {
        return Ok(());
    }
    for other in [LAYOUT - 1, LAYOUT + 1] {
        let mut world = World::serving()?;
        let stranger = Stranger::start(&world.stage)?;
        world.stage.stop()?;
        let pins = world.folder.path().join("bpf/sallyport");
        let [ours, others] = [LAYOUT, other].map(|layout| pins.join(format!("v{layout}")));
        fs::rename(&ours, &others)?;
        world.stage.start()?;
        let log = world.stage.log();
        ensure!(log.contains("adopted=true"), "layout {other}: another link: {log}");
        ensure!(ours.exists() && !others.exists(), "layout {other}: its tables are left");
        session(&world.stage, CLIENT)?.say("QUIT", 221)?;
        stranger.stop()?.met_silence()?;
    }
    Ok(())
}
