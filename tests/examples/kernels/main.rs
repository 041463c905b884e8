//! `cargo xtask kernels`: the product on other kernels, each in a machine of its own under QEMU.
//!
//! Needs root, for the wire of the machines. Takes the folder for `kernels.json`, busybox, and a folder for each
//! kernel, which `cargo xtask kernels` fills: `vmlinuz`, `modules/`, and in `package` where it is from.

#![forbid(unsafe_code)]

mod guest;
mod matrix;
mod plug;

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::cli::tls;
use relay::demo::sink::{self, Arrived};
use relay::demo::stage::HOP;
use relay::hosts::Host;
use serde_json::Value;
use tests::machine::{Disk, Machine, Parts, Processor, System, lay_wire};

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
    host: Host,
    hop_ca: String,
    arrived: Receiver<Arrived>,
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
        let host = Host::new()?;
        lay_wire(&host)?;
        guest::settle_around(&host)?;
        let (hop_ca, arrived) = next_hop(&host)?;
        Ok(Self { kernel, folder, disks, host, hop_ca, arrived })
    }

    fn boot(&self, processor: Processor) -> Result<Machine> {
        Machine::boot(&Parts {
            kernel: &self.kernel.join("vmlinuz"),
            system: &self.folder.path().join("system"),
            disks: &self.disks,
            host: &self.host,
            folder: &self.folder.path().join("machine"),
            processor,
        })
    }

    /// Boots by the CPU itself where that works, which only trying shows.
    fn boot_first(&self, processor: &mut Option<Processor>) -> Result<Machine> {
        if processor.is_none() && Path::new("/dev/kvm").exists() {
            match self.boot(Processor::Kvm) {
                Ok(machine) => {
                    *processor = Some(Processor::Kvm);
                    return Ok(machine);
                }
                Err(_) => eprintln!("kernels: /dev/kvm is there and boots nothing: in software"),
            }
        }
        self.boot(*processor.get_or_insert(Processor::Software))
    }

    fn run(self, name: &str, processor: &mut Option<Processor>) -> Result<Row> {
        eprintln!("kernels: {name}: booting");
        let mut machine = self.boot_first(processor)?;
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
        guest::install(machine, &self.hop_ca)?;
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
        let account = guest::install(&mut machine, &self.hop_ca)?;
        let status = guest::start(&mut machine)?;
        let mut served = Served::of(&status, &mut machine)?;
        guest::stranger_hears_nothing(&self.host)?;
        let first = "over the card;";
        let mut session = guest::session(&self.host, &account)?;
        session.send("billing@example.net", "customer@example.com", &plug::message(first))?;
        session.say("QUIT", 221)?;
        plug::all_arrive(&self.arrived, &[first.to_owned()])?;

        plug::write_on_the_second_disk(&mut machine)?;
        guest::say(&mut machine, "route suspend next-hop")?;
        let acknowledged = plug::pull(machine, &self.host, &account)?;
        eprintln!("kernels: {} messages acknowledged, the plug is pulled", acknowledged.len());

        let mut machine = self.boot(processor)?;
        plug::read_from_the_second_disk(&mut machine)?;
        guest::settle_in(&mut machine)?;
        guest::start(&mut machine)?;
        guest::stranger_hears_nothing(&self.host)?;
        // The suspension may have survived.
        machine.run(&guest::command("route resume next-hop"), PATIENCE)?;
        served.acknowledged = acknowledged.len();
        served.delivered_again = plug::all_arrive(&self.arrived, &acknowledged)
            .with_context(|| guest::log(&mut machine))?;
        Ok(served)
    }
}

/// Starts a next hop that keeps what arrives; returns the authority of its certificate, PEM, and what arrives.
fn next_hop(host: &Host) -> Result<(String, Receiver<Arrived>)> {
    let made = tls::make(&[HOP.ip().to_string()])?;
    let listener = host.within(|| TcpListener::bind(HOP))??;
    let (to, arrived) = mpsc::channel();
    let (chain, key) = (made.chain, made.key);
    thread::spawn(move || sink::serve(&listener, &chain, &key, &to));
    Ok((made.ca, arrived))
}
