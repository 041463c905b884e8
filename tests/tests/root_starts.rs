//! A start that fails leaves the gate as an earlier one left it, and says why.

#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, GUARDED, STRANGER};
use relay::gate::{GateError, Place, View, load};
use relay::hosts::private_bpf;
use relay_common::verdict::{Reason, Verdict};
use rustix::mount::{MountFlags, mount};
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

#[test]
fn a_kernel_without_types_of_its_own_is_told_so() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let bpf = folder.path().join("bpf");
    // The mounts are this thread's own from here on.
    let _mounted = private_bpf(&bpf)?;
    mount("none", "/sys/kernel/btf", "tmpfs", MountFlags::empty(), None)?;
    let place = Place { pins: bpf.join("sallyport"), group: None };
    let refusal = load(&place).err().context("loaded without types")?;
    ensure!(matches!(refusal, GateError::NoBtf), "{refusal}");
    ensure!(refusal.to_string().contains("CONFIG_DEBUG_INFO_BTF=y"), "{refusal}");
    Ok(())
}

#[test]
fn a_user_without_rights_is_told_which_are_needed() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = World::set()?;
    // Where the tests were built nobody else may be able to go.
    let program = world.folder.path().join("sallyport");
    std::fs::copy(tests::world::program()?, &program)?;
    for (verb, said) in [("gate", "must be started as root"), ("run", "must be started as root")] {
        let mut command = Command::new(&program);
        command.arg("--config").arg(world.folder.path().join("sallyport.toml")).arg(verb);
        let output = command.uid(65_534).gid(65_534).output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && told.contains(said), "{verb}: {told}");
    }
    Ok(())
}
