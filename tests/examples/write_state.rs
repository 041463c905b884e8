//! Writes what this version of the product keeps on disk into `tests/state/VERSION`, for `root_state`: once for
//! each version that is released, as root, with the product built before:
//!
//! ```sh
//! cargo run -p tests --example write_state
//! ```

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::CLIENT;
use relay::demo::steps::session;
use tests::state::{FILES, LISTED, MESSAGES, ROUTE, TAKEN, TEMPORARY, VERSION, folder_of};
use tests::world::World;

fn main() -> Result<()> {
    let kept = folder_of(VERSION);
    ensure!(!kept.exists(), "{}: this version's state is there already", kept.display());
    let mut world = World::serving()?;
    let stage = &mut world.stage;
    for words in [
        &["allow", "add", LISTED, "--tag", "guests", "--note", "an entry", "--connect-rate", "5/s"]
            [..],
        &["allow", "add", TEMPORARY, "--ttl", "8760h"],
        &["allow", "add", TAKEN],
        &["allow", "remove", TAKEN],
        &["ban", "add", TAKEN, "--ttl", "8760h", "--note", "a ban"],
        &["route", "suspend", ROUTE, "--note", "a suspension"],
        &["alert", "silence", "disk-full", "--for", "30d"],
    ] {
        stage.command(words)?;
    }
    let mut client = session(stage, CLIENT)?;
    for message in MESSAGES {
        client.send("billing@example.net", "customer@example.com", message)?;
    }
    client.say("QUIT", 221)?;
    let waiting = stage.listing(&["queue", "list"])?;
    let id = waiting.pointer("/0/id").or_else(|| waiting.pointer("/messages/0/id"));
    let id = id.and_then(|id| id.as_str()).context(waiting.to_string())?;
    stage.command(&["queue", "hold", id])?;
    stage.stop()?;
    for name in FILES {
        copy(&world.folder.path().join(name), &kept.join(name))?;
    }
    fs::write(kept.join("password"), &world.stage.password)?;
    println!("{}: written, to be committed", kept.display());
    Ok(())
}

/// Copies a file, or a folder with all in it that is a file.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().context("a file in a folder")?)?;
        fs::copy(from, to).with_context(|| from.display().to_string())?;
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // What says something of one boot, or of one process, alone.
        let passes = entry.file_name() == "lock" || entry.file_name() == "listeners.json";
        if entry.file_type()?.is_file() && !passes {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
