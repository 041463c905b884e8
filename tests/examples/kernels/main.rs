//! `cargo xtask kernels`: the package on other kernels, each in a machine of its own under QEMU.
//!
//! Needs root, for the wire of the machines. Takes the folder for `kernels.json`, busybox, and a folder for each
//! kernel, which `cargo xtask kernels` fills: `vmlinuz`, `modules/`, and in `package` where it is from.

#![forbid(unsafe_code)]

mod guest;
mod matrix;
mod plug;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tests::machine::around::{Around, message};
use tests::machine::plug::pull;
use tests::machine::{Disk, Machine, Parts, Processor, Source, System, boot_first};

use guest::PATIENCE;
use matrix::{Row, Selftest, Served};

/// How long the self-test may take: it loads the kernel program a dozen times.
const SELFTEST: Duration = Duration::from_secs(900);
/// The sizes of the disks: for everything, and for two blocks.
const DISK_BYTES: u64 = 256 << 20;
const SECOND_DISK_BYTES: u64 = 1 << 20;
/// What the product says where it cannot work.
const REFUSAL: &str = "lacks ";

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(busybox)) = (arguments.next(), arguments.next()) else {
        bail!("usage: kernels FOLDER BUSYBOX KERNEL...; `cargo xtask kernels` does it all");
    };
    let kernels: Vec<OsString> = arguments.collect();
    let (folder, busybox) = (PathBuf::from(folder), PathBuf::from(busybox));
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    let mut processor = None;
    for kernel in kernels.iter().map(Path::new) {
        let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Trial::new(kernel, &busybox).and_then(|trial| trial.run(&name, &mut processor)) {
            Ok(row) => {
                eprintln!("kernels: {name}: {}", row.sentence());
                rows.push(row);
            }
            Err(error) => {
                eprintln!("kernels: {name}: FAILED: {error:#}");
                faults.push(name);
            }
        }
    }
    println!("{}", matrix::table(&rows));
    let file = folder.join("kernels.json");
    fs::write(&file, serde_json::to_vec_pretty(&rows)?)
        .with_context(|| file.display().to_string())?;
    println!("{}", file.display());
    if !faults.is_empty() {
        println!("FAILED: {}", faults.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a kernel is tried in.
struct Trial<'a> {
    kernel: &'a Path,
    folder: tempfile::TempDir,
    disks: [Disk; 2],
    around: Around,
}

impl<'a> Trial<'a> {
    fn new(kernel: &'a Path, busybox: &Path) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("sallyport-kernels-").tempdir_in("/var/tmp")?;
        let at = |name: &str| folder.path().join(name);
        let disks = [
            Disk::formatted(&at("disk"), DISK_BYTES)?,
            Disk::empty(&at("second"), SECOND_DISK_BYTES)?,
        ];
        let program = tests::world::program()?;
        let modules = kernel.join("modules");
        let system = System { busybox, modules: &modules, program: &program };
        fs::write(at("system"), system.pack()?)?;
        Ok(Self { kernel, folder, disks, around: Around::new()? })
    }

    fn boot(&self, processor: Processor) -> Result<Machine> {
        Machine::boot(&Parts {
            source: Source::Kernel {
                image: &self.kernel.join("vmlinuz"),
                system: &self.folder.path().join("system"),
            },
            disks: &self.disks,
            host: &self.around.host,
            folder: &self.folder.path().join("machine"),
            processor,
        })
    }

    fn run(self, name: &str, processor: &mut Option<Processor>) -> Result<Row> {
        eprintln!("kernels: {name}: booting");
        let mut machine = boot_first(processor, |one| self.boot(one))?;
        let processor = processor.context("a machine booted by something")?;
        let mut row = Row {
            kernel: name.to_owned(),
            package: fs::read_to_string(self.kernel.join("package"))?.trim_end().to_owned(),
            release: machine.must("uname -r", PATIENCE)?.trim_end().to_owned(),
            landlock: machine.must("cat /sys/kernel/security/lsm", PATIENCE)?.contains("landlock"),
            refusal: None,
            selftest: None,
            served: None,
        };
        eprintln!("kernels: {name}: {}: selftest", row.release);
        let begin = Instant::now();
        let ended = machine.run("sallyport selftest --json", SELFTEST)?;
        if ended.code != 0 && ended.err.contains(REFUSAL) {
            row.refusal = Some(self.refusal(&mut machine, ended.err.trim_end())?);
            return Ok(row);
        }
        let report: Value = serde_json::from_str(&ended.out)
            .with_context(|| format!("selftest: {}{}", ended.out, ended.err))?;
        row.selftest = Some(Selftest::of(&report, begin.elapsed())?);
        row.served = Some(self.serve(machine, processor)?);
        Ok(row)
    }

    /// Shows that the product refuses to start by the same words.
    fn refusal(&self, machine: &mut Machine, said: &str) -> Result<String> {
        guest::settle_in(machine)?;
        guest::install(machine, &self.around.hop_ca)?;
        let error =
            guest::start(machine).err().context("the self-test is refused, and the gate not")?;
        let error = format!("{error:#}");
        ensure!(error.contains(REFUSAL), "the gate does not name what is missing: {error}");
        let at = said.find(REFUSAL).unwrap_or_default();
        Ok(said[at..].to_owned())
    }

    /// Delivers by the machine's card, pulls the plug while more is accepted, and boots again.
    fn serve(&self, mut machine: Machine, processor: Processor) -> Result<Served> {
        guest::settle_in(&mut machine)?;
        let account = guest::install(&mut machine, &self.around.hop_ca)?;
        let status = guest::start(&mut machine)?;
        let mut served = Served::of(&status, &mut machine)?;
        self.around.stranger_hears_nothing()?;
        let first = "over the card;";
        let mut session = self.around.session(&account)?;
        session.send("billing@example.net", "customer@example.com", &message(first))?;
        session.say("QUIT", 221)?;
        self.around.all_arrive(&[first.to_owned()])?;

        plug::write_on_the_second_disk(&mut machine)?;
        guest::say(&mut machine, "route suspend next-hop")?;
        let acknowledged = pull(machine, &self.around.host, &account)?;
        eprintln!("kernels: {} messages acknowledged, the plug is pulled", acknowledged.len());

        let mut machine = self.boot(processor)?;
        plug::read_from_the_second_disk(&mut machine)?;
        guest::settle_in(&mut machine)?;
        guest::start(&mut machine)?;
        self.around.stranger_hears_nothing()?;
        // The suspension may have survived.
        machine.run(&guest::command("route resume next-hop"), PATIENCE)?;
        served.acknowledged = acknowledged.len();
        served.delivered_again =
            self.around.all_arrive(&acknowledged).with_context(|| guest::log(&mut machine))?;
        Ok(served)
    }
}
