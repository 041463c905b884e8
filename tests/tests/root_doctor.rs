//! `sallyport doctor`: faults are injected one by one on a real host, and each must be found with its right
//! cause on top. A healthy host has none.

#![forbid(unsafe_code)]

#[path = "root_doctor/files.rs"]
mod files;
#[path = "root_doctor/iptables.rs"]
mod iptables;
#[path = "root_doctor/network.rs"]
mod network;
#[path = "root_doctor/onward.rs"]
mod onward;
#[path = "root_doctor/pasting.rs"]
mod pasting;
#[path = "root_doctor/processes.rs"]
mod processes;
#[path = "root_doctor/row.rs"]
mod row;
#[path = "root_doctor/scene.rs"]
mod scene;

use std::collections::BTreeSet;

use anyhow::Result;
use row::Row;
use scene::Scene;
use tests::need;

fn each_is_found(rows: &[Row]) -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    match Scene::serving()? {
        Some(mut scene) => scene.try_rows(rows),
        None => Ok(()),
    }
}

#[test]
fn faults_of_files_and_disks_are_found() -> Result<()> {
    each_is_found(files::ROWS)
}

#[test]
fn faults_of_the_network_are_found() -> Result<()> {
    each_is_found(network::ROWS)
}

#[test]
fn rules_that_iptables_wrote_are_found() -> Result<()> {
    if iptables::newer() { each_is_found(iptables::NEWER) } else { Ok(()) }
}

#[test]
fn rules_of_the_elder_iptables_are_found() -> Result<()> {
    if need::root() && iptables::elder()? { each_is_found(iptables::ELDER) } else { Ok(()) }
}

#[test]
fn faults_on_the_way_out_are_found() -> Result<()> {
    each_is_found(onward::ROWS)
}

#[test]
fn faults_of_the_gate_and_its_processes_are_found() -> Result<()> {
    if processes::tools() { each_is_found(processes::ROWS) } else { Ok(()) }
}

#[test]
fn whoever_looks_changes_nothing_and_needs_no_rights_for_what_he_may_see() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(mut scene) = Scene::serving()? else { return Ok(()) };
    let (files, state) = (scene.files()?, scene.state()?);
    scene.is_healthy_for_anybody()?;
    scene.is_healthy("as root")?;
    assert_eq!(scene.files()?, files);
    assert_eq!(scene.state()?, state);
    Ok(())
}

#[test]
fn many_faults_are_injected() {
    let all = [files::ROWS, network::ROWS, onward::ROWS, processes::ROWS];
    let causes: BTreeSet<&str> =
        all.iter().flat_map(|rows| rows.iter()).map(|row| row.wanted).collect();
    assert!(causes.len() >= 50, "{} causes: {causes:?}", causes.len());
}
