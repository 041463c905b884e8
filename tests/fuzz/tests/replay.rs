//! Runs every input of the committed corpus, without libFuzzer. An input that once broke a claim
//! stays in the corpus.

#![forbid(unsafe_code)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use fuzz::{TARGETS, Target};

/// The least that a corpus holds.
const INPUTS_MIN: usize = 10;
/// The largest input, octets: a corpus is read by people, too.
const INPUT_MAX: usize = 16_384;

fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).expect("each target has a corpus");
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("an input can be read")))
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn no_input_of_the_corpus_breaks_its_claim() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() >= INPUTS_MIN, "{}: only {} inputs", target.name, inputs.len());
        for (name, input) in inputs {
            assert!(input.len() <= INPUT_MAX, "{name} has {} octets", input.len());
            if catch_unwind(|| target.run(&input)).is_err() {
                broken.push(name);
            }
        }
    }
    assert!(broken.is_empty(), "the claim is broken by\n{}", broken.join("\n"));
}

#[test]
fn every_input_cut_short_keeps_its_claim_too() {
    for target in TARGETS {
        for (name, input) in corpus(target) {
            for length in (0..input.len()).step_by(input.len() / 8 + 1) {
                let ran = catch_unwind(|| target.run(&input[..length]));
                assert!(ran.is_ok(), "{name}, its first {length} octets");
            }
        }
    }
}

#[test]
fn a_target_has_one_name_and_its_corpus_no_stranger() {
    for target in TARGETS {
        assert_eq!(Target::named(target.name).map(|found| found.name), Some(target.name));
    }
    assert!(Target::named("gone").is_none());
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(corpus).expect("there is a corpus");
    for folder in folders.map(|entry| entry.expect("an entry can be read").file_name()) {
        assert!(folder.to_str().and_then(Target::named).is_some(), "{folder:?} is of no target");
    }
}
