//! Recorded samples, given to `sallyport alert replay` as an operator does.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tests::world::program;

/// A minute and a half, ten samples a second, all with one refused attempt; for ten seconds there are 300 in each.
fn flood() -> String {
    let mut lines = String::from("sallyport-samples 1\n@0 1800000000000 r0 a0 b0 m0 c0 f0\n");
    for tick in 0..900 {
        let refused = if (100..200).contains(&tick) { 300 } else { 1 };
        let _ = writeln!(lines, "100 r{refused}");
    }
    lines
}

/// Runs the verb on these samples, by a configuration with these settings of spikes.
fn replay(samples: &str, spikes: &str, words: &[&str]) -> Result<(TempDir, Output)> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("sallyport.toml");
    let text = format!(
        "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n[gate]\ninterfaces = [\"eth0\"]\n\
         [[listener]]\naddress = \"[::]:2525\"\n[spikes]\n{spikes}\n"
    );
    fs::write(&config, text)?;
    let file = folder.path().join("samples.txt");
    fs::write(&file, samples)?;
    let mut command = Command::new(program()?);
    command.arg("--config").arg(&config).args(["alert", "replay"]).arg(&file).args(words);
    let output = command.output()?;
    Ok((folder, output))
}

#[test]
fn a_recorded_flood_is_named_with_its_times_for_people_and_for_programs() -> Result<()> {
    let (_folder, Output { status, stdout, stderr }) = replay(&flood(), "", &[])?;
    let (said, warned) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    ensure!(status.code() == Some(0) && warned.is_empty(), "{status}: {said}{warned}");
    let lines: Vec<&str> = said.lines().collect();
    let [opened, closed, whole] = lines[..] else { anyhow::bail!("three lines: {said}") };
    // The flood begins ten seconds after the first sample.
    ensure!(opened.starts_with("2027-01-15T08:00:10."), "{opened}");
    ensure!(opened.contains("opened   spike-refused 3000 refused attempts"), "{opened}");
    ensure!(closed.contains("closed   spike-refused"), "{closed}");
    let span = "901 samples from 2027-01-15T08:00:00Z to 2027-01-15T08:01:30Z: 2 alerts";
    ensure!(whole == span, "{whole}");

    let (_folder, Output { status, stdout, .. }) = replay(&flood(), "", &["--json"])?;
    let told: Value = serde_json::from_slice(&stdout)?;
    ensure!(status.code() == Some(0) && told["samples"] == 901, "{status}: {told}");
    let alerts = told["alerts"].as_array().context("alerts")?;
    let stages: Vec<_> = alerts.iter().map(|alert| (&alert["class"], &alert["stage"])).collect();
    let (class, [opened, closed]) =
        (Value::from("spike-refused"), ["opened", "closed"].map(Value::from));
    ensure!(stages == [(&class, &opened), (&class, &closed)], "{told}");
    Ok(())
}

#[test]
fn other_settings_would_have_told_nothing() -> Result<()> {
    let (_folder, Output { status, stdout, .. }) = replay(&flood(), "floor = 100000", &[])?;
    let said = String::from_utf8(stdout)?;
    ensure!(status.code() == Some(0) && said.trim_end().ends_with(": 0 alerts"), "{said}");
    Ok(())
}

#[test]
fn what_is_no_sample_is_refused_with_its_file_and_line() -> Result<()> {
    let damaged = flood().replacen("100 r300\n", "100 r300 q\n", 1);
    for (row, samples, wanted) in [
        ("an unknown letter", damaged.as_str(), "samples.txt:103: q is not known here"),
        ("another file", "hostname = 'x'\n", "samples.txt:1: the first line must be"),
    ] {
        let (_folder, Output { status, stdout, stderr }) = replay(samples, "", &[])?;
        let (said, warned) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        ensure!(status.code() == Some(1) && said.is_empty(), "{row}: {status}: {said}");
        ensure!(warned.contains(wanted), "{row}: {warned}");
    }
    Ok(())
}
