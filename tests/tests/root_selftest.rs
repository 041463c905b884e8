//! `sallyport selftest`: nothing gets around the gate on this kernel.

#![forbid(unsafe_code)]

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::need;
use tests::world::program;

#[test]
fn no_shape_gets_through_either_door_and_listed_senders_lose_nothing() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let output = Command::new(program()?).args(["selftest", "--json"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).context(said.into_owned())?;
    let rows = report["rows"].as_array().context("rows")?;
    let wrong: Vec<&Value> = rows.iter().filter(|row| row["as_expected"] != true).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    ensure!(output.status.success(), "{}", output.status);
    ensure!(rows.len() >= 100, "only {} shapes", rows.len());
    // A battery that this kernel does not answer by itself would prove nothing.
    let answered = report["answered_without_a_door"].as_u64().context("answered")?;
    ensure!(answered >= 50, "this kernel answers only {answered} shapes");
    Ok(())
}
