//! `tests/gate.toml` is complete and true: every pitfall has tests that exist, or a reason.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tests::named::{self, top};

/// How many pitfalls are known.
const PITFALLS: usize = 54;

/// One of them.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    pitfall: String,
    #[serde(default)]
    tests: Vec<String>,
    reason: Option<String>,
}

fn rows() -> Result<BTreeMap<usize, Row>> {
    let text = fs::read_to_string(top().join("tests/gate.toml"))?;
    let rows: BTreeMap<String, Row> = toml::from_str(&text)?;
    rows.into_iter().map(|(number, row)| Ok((number.parse()?, row))).collect()
}

#[test]
fn no_pitfall_is_missing_and_each_has_a_living_test_or_a_reason() -> Result<()> {
    let rows = rows()?;
    let numbers: Vec<usize> = rows.keys().copied().collect();
    ensure!(numbers == (1..=PITFALLS).collect::<Vec<_>>(), "the numbers are {numbers:?}");
    for (number, row) in rows {
        let name = format!("{number}: {}", row.pitfall);
        ensure!(!row.tests.is_empty() || row.reason.is_some(), "{name}: neither test nor reason");
        ensure!(row.reason.is_none_or(|reason| reason.len() > 20), "{name}: no reason at all");
        for test in row.tests {
            named::find(&test).with_context(|| name.clone())?;
        }
    }
    Ok(())
}

#[test]
fn the_gate_is_ordered_before_the_network_and_the_relay_behind_the_gate() -> Result<()> {
    let unit = |name: &str| fs::read_to_string(top().join("config").join(name));
    let gate = unit("sallyport-gate.service")?;
    for line in ["Before=network-pre.target", "Wants=network-pre.target", "Restart=always"] {
        ensure!(gate.lines().any(|other| other == line), "the gate's unit lacks {line}");
    }
    let relay = unit("sallyport-relay.service")?;
    // Not Requires=: that would end the relay whenever the gate is exchanged.
    let wants = |line: &str| line.starts_with("Wants=") && line.contains("sallyport-gate");
    let after = |line: &str| line.starts_with("After=") && line.contains("sallyport-gate");
    ensure!(relay.lines().any(wants) && relay.lines().any(after), "{relay}");
    Ok(())
}

#[test]
fn the_relay_may_write_where_the_reference_has_it_keep_refresh_tokens() -> Result<()> {
    let shown = fs::read_to_string(top().join("config/sallyport.toml"))?;
    let unit = fs::read_to_string(top().join("config/sallyport-relay.service"))?;
    let paths = unit.lines().find_map(|line| line.strip_prefix("ReadWritePaths="));
    let paths: Vec<_> = paths.context("no ReadWritePaths")?.split(' ').collect();
    let files = shown.lines().filter_map(|line| line.strip_prefix("refresh-token-file = "));
    let files: Vec<_> = files.map(|file| Path::new(file.trim_matches('"'))).collect();
    ensure!(!files.is_empty(), "the reference shows no file");
    for file in files {
        let folder = file.parent().context("no folder")?;
        let is_writable =
            paths.iter().any(|path| folder.starts_with(path.strip_prefix('-').unwrap_or(path)));
        ensure!(is_writable, "{} is not among {paths:?}", folder.display());
    }
    Ok(())
}

#[test]
fn the_shared_types_are_asserted_to_have_no_padding() -> Result<()> {
    let text = fs::read_to_string(top().join("relay-common/src/pod.rs"))?;
    let (_, promised) = text.split_once("pod!(\n").context("no list of types")?;
    let (promised, _) = promised.split_once(')').context("no end of the list")?;
    let types: Vec<&str> =
        promised.split([',', ' ', '\n']).filter(|name| !name.is_empty()).collect();
    ensure!(types.len() > 8, "only {types:?}");
    for name in types {
        let asserted = format!("size_of::<{name}>() == ");
        ensure!(text.contains(&asserted), "the size of {name} is not asserted");
    }
    Ok(())
}
