//! `cargo xtask fuzz`: libFuzzer looks for input that breaks a claim of `tests/fuzz`.
//!
//! The crates are built with the instrumentation that cargo-fuzz asks for, by the pinned compiler
//! as it is: no sanitizer, since the code under test has no `unsafe`, but every check of a debug
//! build. What is found lands in `target/fuzz`; `tests/fuzz/corpus` is only read.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::artifact;
use crate::caller::{cargo, status, top};

/// How long each target runs unless the caller says otherwise.
pub const FOR: Bound = Bound::Time(Duration::from_secs(60));

/// When a target has run for long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// After a time.
    Time(Duration),
    /// After so many inputs, from a seed that is always the same: the same program finds the same.
    Runs(u32),
}

impl Bound {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Time(time) => vec![format!("-max_total_time={}", time.as_secs())],
            Self::Runs(runs) => vec![format!("-runs={runs}"), "-seed=1".to_owned()],
        }
    }
}
/// The environment variable that names the target to the program (`tests/fuzz/src/lib.rs`).
const VARIABLE: &str = "SALLYPORT_FUZZ_TARGET";
/// What libFuzzer reads: counters for edges, and the operands of comparisons.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// The largest input, octets: a line of an AUTH exchange, and a bit more.
const INPUT_MAX: usize = 16_384;
/// How long one input may take, and how much memory the program may use.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 2_048;

/// Reads a time as `60s` or `5m`.
///
/// # Errors
///
/// It is neither.
pub fn time(text: &str) -> Result<Bound> {
    let seconds =
        |number: &str, unit: u64| Some(Duration::from_secs(number.parse::<u64>().ok()? * unit));
    let read = match text.strip_suffix('m') {
        Some(minutes) => seconds(minutes, 60),
        None => seconds(text.strip_suffix('s').unwrap_or(text), 1),
    };
    let read = read.filter(|time| !time.is_zero());
    read.map(Bound::Time).with_context(|| format!("{text} is no time: 60s, 5m"))
}

/// Reads a number of inputs.
///
/// # Errors
///
/// It is none.
pub fn runs(text: &str) -> Result<Bound> {
    text.parse().map(Bound::Runs).with_context(|| format!("{text} is no number of inputs"))
}

/// Builds the program and runs one target, or all of them, each for that long.
///
/// # Errors
///
/// If it cannot be built or there is no such target. What broke a claim is in the exit code.
pub fn fuzz(only: Option<&str>, bound: Bound) -> Result<ExitCode> {
    let targets = targets()?;
    let chosen: Vec<_> =
        targets.iter().filter(|name| only.is_none_or(|only| only == **name)).collect();
    ensure!(!chosen.is_empty(), "no target {}: {}", only.unwrap_or(""), targets.join(", "));
    let built = artifact::build(&mut compiler()?)?;
    let program = &artifact::find(&built, "fuzz")?.executable;
    let mut broken = Vec::new();
    for name in chosen {
        eprintln!("fuzz: {name}, {bound:?}");
        if !status(&mut run(program, name, bound)?)?.success() {
            broken.push(name.as_str());
        }
    }
    if broken.is_empty() {
        println!("fuzz: no claim was broken");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "fuzz: broken: {}. Put the input from target/fuzz/found into the corpus of its target \
         (tests/fuzz/corpus): `cargo test --package fuzz` runs it then",
        broken.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// Returns the names of the targets: those of their corpora.
fn targets() -> Result<Vec<String>> {
    let folder = top().join("tests/fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn compiler() -> Result<Command> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let host = crate::caller::answer(Command::new(rustc).args(["--print", "host-tuple"]))?;
    let mut command = cargo();
    command
        .args(["build", "--package", "fuzz", "--features", "libfuzzer", "--bin", "fuzz"])
        // With a target named, build scripts and macros stay as they are.
        .args(["--profile", "fuzz", "--target", host.trim()])
        .arg("--target-dir")
        .arg(top().join("target/fuzz"))
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"));
    Ok(command)
}

fn run(program: &Path, name: &str, bound: Bound) -> Result<Command> {
    let folder = |kind: &str| -> Result<PathBuf> {
        let folder = top().join("target/fuzz").join(kind).join(name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    };
    let mut command = Command::new(program);
    command
        .env(VARIABLE, name)
        .args(bound.arguments())
        .arg(format!("-max_len={INPUT_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/", folder("found")?.display()))
        .args(["-print_final_stats=1", "-verbosity=0", "-print_funcs=0"]);
    let dictionary = top().join("tests/fuzz/dictionaries").join(format!("{name}.txt"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    // New inputs go into the first folder; the others are only read.
    command.arg(folder("corpus")?).arg(top().join("tests/fuzz/corpus").join(name));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_minutes() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("7", 7)] {
            assert_eq!(time(text).unwrap(), Bound::Time(Duration::from_secs(seconds)));
        }
        for text in ["", "0s", "s", "-1s", "1h", "1.5m"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
