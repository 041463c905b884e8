//! The program that libFuzzer drives: one for all targets, told apart by a variable.
//!
//! `cargo xtask fuzz` builds it with the instrumentation that libFuzzer reads, and runs it.

#![no_main]

use std::sync::OnceLock;

use fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

/// Reads which target is meant.
fn chosen() -> Target {
    let name = std::env::var(fuzz::VARIABLE).unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("{}={name} is no target", fuzz::VARIABLE))
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    TARGET.get_or_init(chosen).run(input);
});
