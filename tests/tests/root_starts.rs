//! A start that fails leaves the gate as an earlier one left it, and says why.

#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, GUARDED, STRANGER};
use relay::gate::View;
use relay_common::verdict::{Reason, Verdict};
use tests::need;
use tests::world::World;

#[test]
fn a_start_that_cannot_succeed_changes_nothing_that_an_earlier_gate_left() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    world.stage.stop()?;
    let file = world.folder.path().join("sallyport.toml");
    let good = std::fs::read_to_string(&file)?;
    let pins = world.folder.path().join("bpf/sallyport");
    let other_list = good.replace("192.0.2.0/28", &format!("{STRANGER}/32"));
    for (what, text, said) in [
        (
            "an interface that is not there",
            other_list.replace("[\"guard0\"]", "[\"guard0\", \"nosuch0\"]"),
            "gate.interfaces: there is no interface \"nosuch0\"",
        ),
        (
            "an address that is not there",
            other_list.replace(&GUARDED.to_string(), "192.0.2.77:2526"),
            "192.0.2.77:2526: no interface has this address",
        ),
    ] {
        std::fs::write(&file, text)?;
        let refusal = format!("{:#}", world.stage.start().err().context(what)?);
        ensure!(refusal.contains(said), "{what}: {refusal}");
        let view = View::open(&pins)?;
        ensure!(view.verdict(CLIENT) == Verdict::Pass(Reason::Admitted), "{what}: a client is cut");
        ensure!(
            view.verdict(STRANGER) == Verdict::Drop(Reason::UnlistedSyn),
            "{what}: a stranger is admitted"
        );
    }
    std::fs::write(&file, good)?;
    world.stage.start()
}

#[test]
fn a_host_that_is_open_already_can_be_opened_again() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let mut world = World::serving()?;
    for _ in 0..2 {
        let said = world.stage.command(&["detach"])?;
        ensure!(said.contains("the host is open"), "{said}");
        ensure!(said.contains("serves nobody meanwhile"), "{said}");
    }
    world.stage.stop()?;
    world.stage.command(&["detach"])?;
    Ok(())
}
