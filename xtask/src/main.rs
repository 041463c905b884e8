//! Sallyport's own tasks, run by `cargo xtask <task>`. It imports nothing of the product: it
//! runs cargo, and through sudo what needs root.

#![forbid(unsafe_code)]

mod artifact;
mod audit;
mod bench;
mod caller;
mod check;
mod debian;
mod demo;
mod fuzz;
mod image;
mod install;
mod kernels;
mod module;
mod package;
mod place;
mod program;
mod setup;
mod source;
mod tally;
mod test;
mod tool;

use std::env;
use std::process::ExitCode;

use anyhow::Result;

use crate::bench::Bench;
use crate::kernels::Tried;
use crate::package::Shown;
use crate::test::Tools;

const USAGE: &str = "\
usage: cargo xtask <task>

  setup             bring what building the kernel program takes into your cache
  demo [argument]   build the release, and run `sallyport demo` (with sudo, if you are not root)
  test [--install]  build as you, run every test; those in tests/tests/root_* as root.
                    --install brings the tools of others that tests want (Debian packages)
  bench gate [--install] [FOLDER]
                    what the gate costs beside others, in one run: tables, gate.json and
                    gate.svg in FOLDER (target/bench). Without --install what is missing of
                    the others is left out, or named
  bench smtp [--install] [FOLDER]
                    what the relay takes, beside Postfix in the same run: tables, smtp.json
                    and smtp.svg in FOLDER, which should be on the disk to be measured
  bench spool [--install] [FOLDER]
                    what the spool takes: alone, behind sessions beside Postfix, and with a
                    million messages; tables, spool.json and spool.svg in FOLDER
  kernels [--install] [--debug] [KERNEL...]
                    the package on Debian's kernels (5.10, 6.1, 6.12, newest), each in a machine
                    under QEMU: self-test, mail, the plug pulled; a table, and kernels.json in
                    target/bench. --install brings QEMU, and kernels into your cache; --debug
                    tries what `cargo build` makes, which is built sooner than the package
  fuzz [TARGET] [--for 60s], fuzz --runs 2000
                    libFuzzer looks for input that breaks a claim of tests/fuzz, each target
                    for that long, or with so many inputs from a seed that does not change;
                    takes a C++ compiler (Debian: g++)
  package [--install] [--twice | --test] [FOLDER]
                    the Debian package, an archive for other distributions and the bill of
                    materials (CycloneDX), from this commit, in FOLDER (target/package/out).
                    --twice builds the commit in another folder too and compares every octet;
                    --test goes through the package's life in a clean Debian 12 and installs it
                    in a clean Debian 13 (debootstrap).
                    --install brings lintian and debootstrap
  image [--install] [--test] [FOLDER]
                    a disk that boots by itself into Debian with the package and nothing else,
                    read-only, with a partition for what is kept; in FOLDER (target/image).
                    --test boots it under QEMU, sends mail through it, pulls the plug, upgrades it.
                    --install brings what makes and tries it
  check             form, lints, documentation, licences, advisories, rules of the house
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
        ["demo", arguments @ ..] => demo::demo(arguments),
        ["test"] => test::test(Tools::Skip),
        ["test", "--install"] => test::test(Tools::Install),
        ["bench", "gate", rest @ ..] => measure(Bench::Gate, rest),
        ["bench", "smtp", rest @ ..] => measure(Bench::Smtp, rest),
        ["bench", "spool", rest @ ..] => measure(Bench::Spool, rest),
        ["kernels", rest @ ..] => try_kernels(rest),
        ["fuzz"] => fuzz::fuzz(None, fuzz::FOR),
        ["fuzz", "--for", time] => fuzz::fuzz(None, fuzz::time(time)?),
        ["fuzz", "--runs", number] => fuzz::fuzz(None, fuzz::runs(number)?),
        ["fuzz", target] => fuzz::fuzz(Some(target), fuzz::FOR),
        ["fuzz", target, "--for", time] => fuzz::fuzz(Some(target), fuzz::time(time)?),
        ["package", rest @ ..] => pack(rest),
        ["image", rest @ ..] => boot(rest),
        ["check"] => check::check(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(misused()),
    }
}

fn measure(what: Bench, words: &[&str]) -> Result<ExitCode> {
    match words {
        [] => bench::bench(what, bench::FOLDER, Tools::Skip),
        ["--install"] => bench::bench(what, bench::FOLDER, Tools::Install),
        ["--install", folder] => bench::bench(what, folder, Tools::Install),
        [folder] => bench::bench(what, folder, Tools::Skip),
        _ => Ok(misused()),
    }
}

fn try_kernels(words: &[&str]) -> Result<ExitCode> {
    let (tools, words) = match words {
        ["--install", rest @ ..] => (Tools::Install, rest),
        rest => (Tools::Skip, rest),
    };
    match words {
        ["--debug", names @ ..] => kernels::kernels(tools, Tried::Debug, names),
        names => kernels::kernels(tools, Tried::Package, names),
    }
}

fn pack(words: &[&str]) -> Result<ExitCode> {
    let (tools, words) = match words {
        ["--install", rest @ ..] => (Tools::Install, rest),
        rest => (Tools::Skip, rest),
    };
    let (shown, words) = match words {
        ["--twice", rest @ ..] => (Shown::Twice, rest),
        ["--test", rest @ ..] => (Shown::Trial, rest),
        rest => (Shown::Form, rest),
    };
    match words {
        [] => package::package(package::FOLDER, tools, shown),
        [folder] if !folder.starts_with('-') => package::package(folder, tools, shown),
        _ => Ok(misused()),
    }
}

fn boot(words: &[&str]) -> Result<ExitCode> {
    let (tools, words) = match words {
        ["--install", rest @ ..] => (Tools::Install, rest),
        rest => (Tools::Skip, rest),
    };
    let (shown, words) = match words {
        ["--test", rest @ ..] => (image::Shown::Trial, rest),
        rest => (image::Shown::Nothing, rest),
    };
    match words {
        [] => image::image(image::FOLDER, tools, shown),
        [folder] if !folder.starts_with('-') => image::image(folder, tools, shown),
        _ => Ok(misused()),
    }
}

fn misused() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}
