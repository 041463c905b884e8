//! The two units as they are shipped, under a real systemd: restarted and killed, one and both, while clients
//! submit without a pause.

#![forbid(unsafe_code)]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::Stage;
use relay::demo::steps::pid_of;
use tests::load::{Fault, Load, arrived, only};
use tests::need;
use tests::stranger::Stranger;
use tests::systemd::{GATE, RELAY, Systemd, unit};
use tests::world::{World, program};

/// Waits until both serve by other processes than those of `before`, where these are named to change.
fn serve(stage: &Stage, before: &[(&str, u32)]) -> Result<()> {
    wait_for("both to serve", || {
        let status = stage.listing(&["status"]).ok()?;
        let is_new =
            |(half, pid): &(&str, u32)| pid_of(&status[*half]).is_ok_and(|now| now != *pid);
        let serves = status["relay"]["serving"] == true && status["gate"]["serving"] == true;
        (serves && before.iter().all(is_new)).then_some(())
    })
    .with_context(|| stage.log())
}

fn pids(stage: &Stage) -> Result<[(&'static str, u32); 2]> {
    let status = stage.listing(&["status"])?;
    Ok([("gate", pid_of(&status["gate"])?), ("relay", pid_of(&status["relay"])?)])
}

#[test]
fn the_shipped_units_refuse_no_client_and_lose_no_mail_whatever_is_restarted_or_killed()
-> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::set()?;
    let folder = world.folder.path().to_owned();
    fs::copy(program()?, folder.join("sallyport"))?;
    let units = [unit(GATE, "gate", &folder)?, unit(RELAY, "relay", &folder)?];
    let stage = &mut world.stage;
    let Some(systemd) = Systemd::start(&stage.relay, &folder, &units)? else { return Ok(()) };
    systemd.control(&["start", GATE, RELAY]).with_context(|| stage.log())?;
    serve(stage, &[])?;
    let kept = systemd.control(&["show", "--property", "NFileDescriptorStore", GATE])?;
    ensure!(kept.trim() == "NFileDescriptorStore=1", "{kept}");

    let stranger = Stranger::start(stage)?;
    let mut load = Load::start(stage, "units")?;
    only(&[], &load.goes_on("at the beginning")?, "at the beginning")?;
    let (none, ended) = (&[][..], &[Fault::Ended][..]);
    let cut = &[Fault::Ended, Fault::Reset][..];
    for (words, changed, may) in [
        (&["restart", GATE][..], 0..1, none),
        (&["kill", "--kill-who=main", "--signal=KILL", GATE], 0..1, none),
        (&["restart", RELAY], 1..2, ended),
        (&["restart", GATE, RELAY], 0..2, ended),
        (&["kill", "--kill-who=main", "--signal=KILL", RELAY], 1..2, cut),
        (&["kill", "--kill-who=main", "--signal=KILL", GATE, RELAY], 0..2, cut),
    ] {
        let before = pids(stage)?;
        let what = words.join(" ");
        systemd.control(words)?;
        serve(stage, &before[changed.clone()]).with_context(|| what.clone())?;
        only(may, &load.goes_on(&what)?, &what)?;
        let stays: Vec<_> =
            before.iter().enumerate().filter(|(n, _)| !changed.contains(n)).collect();
        let after = pids(stage)?;
        ensure!(stays.iter().all(|(n, pid)| after[*n] == **pid), "{what}: {before:?} {after:?}");
    }
    let acknowledged = load.stop()?;
    arrived(&stage.hop, &acknowledged)?;
    let kept = systemd.control(&["show", "--property", "NFileDescriptorStore", GATE])?;
    ensure!(kept.trim() == "NFileDescriptorStore=1", "all of it was one socket: {kept}");
    stranger.stop()?.met_silence()?;

    // Started without a gate it is ready, and may wait for one for as long as it takes.
    systemd.control(&["stop", GATE])?;
    systemd.control(&["--job-mode=ignore-dependencies", "restart", RELAY])?;
    let status = stage.listing(&["status"])?;
    ensure!(status["relay"]["serving"] == false, "{status}");
    Ok(())
}
