//! Sallyport's own tasks, run by `cargo xtask <task>`. It imports nothing of the product: it
//! runs cargo, and through sudo what needs root.

#![forbid(unsafe_code)]

mod caller;
mod place;
mod setup;
mod source;

use std::env;
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "\
usage: cargo xtask <task>

  setup             bring what building the kernel program takes into your cache
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match task(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task(words: &[&str]) -> Result<ExitCode> {
    caller::leave_sudo()?;
    match words {
        ["setup"] => {
            let place = setup::setup()?;
            println!("the kernel toolchain is in {}", place.root.display());
            Ok(ExitCode::SUCCESS)
        }
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
