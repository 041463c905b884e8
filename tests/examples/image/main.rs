//! `cargo xtask image --test`: the image boots by itself in a machine under QEMU, and holds what is said of it.
//!
//! Needs root, for the machine's wire. Takes the image, which it leaves as it is.

#![forbid(unsafe_code)]

mod claims;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::stage::{HOP, LOGIN, NAME, RELAY};
use serde_json::Value;
use tests::machine::around::{Account, Around, message};
use tests::machine::plug::pull;
use tests::machine::{Disk, Firmware, Machine, Parts, Processor, Source, boot_first};

/// How long a command may take on a machine in software.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the product may take until both processes serve.
const START: Duration = Duration::from_secs(300);
/// The size of the machine's disk: larger than the image, which is of 3 GiB.
const DISK_BYTES: u64 = 5 << 30;
/// What an operator allows at run time, and must find again.
const ENTRY: &str = "198.51.100.0/24";

fn main() -> Result<ExitCode> {
    let image = std::env::args_os().nth(1);
    let image = PathBuf::from(image.context("usage: image FILE; `cargo xtask image` does it all")?);
    match Trial::new(&image).and_then(|trial| trial.run()) {
        Ok(()) => {
            println!("image: all of it holds");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("image: DOES NOT HOLD: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What the image is tried in.
struct Trial<'a> {
    image: &'a Path,
    folder: tempfile::TempDir,
    around: Around,
}

impl<'a> Trial<'a> {
    fn new(image: &'a Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sallyport-image-").tempdir_in("/var/tmp")?;
        Ok(Self { image, folder, around: Around::new()? })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn boot(&self, disk: &Disk, firmware: Firmware, processor: Processor) -> Result<Machine> {
        Machine::boot(&Parts {
            source: Source::Disk(firmware),
            disks: std::slice::from_ref(disk),
            host: &self.around.host,
            folder: &self.at("machine"),
            processor,
        })
    }

    fn run(&self) -> Result<()> {
        step("set up by files on its boot partition");
        let prepared = self.at("prepared.img");
        copy(self.image, &prepared)?;
        self.lay_set_up(&prepared)?;
        let disk = Disk::upon(&self.at("disk"), &prepared, DISK_BYTES)?;

        step("booting by BIOS");
        let (begin, mut processor) = (Instant::now(), None);
        let mut machine = boot_first(&mut processor, |one| self.boot(&disk, Firmware::Bios, one))?;
        let processor = processor.context("a machine booted by something")?;
        step(&format!("up after {} s, {processor:?}", begin.elapsed().as_secs()));
        serving(&mut machine)?;
        claims::hold(&mut machine)?;
        let number = machine.must("cat /etc/machine-id", PATIENCE)?;
        let account = account(&mut machine)?;
        self.mail_passes(&account, "over the card;")?;
        say(&mut machine, &format!("allow add {ENTRY} --note kept"))?;
        // `sallyport init --start` does this, where nothing can be enabled that is not.
        machine.must("systemctl enable sallyport-gate sallyport-relay", PATIENCE)?;

        step("the plug is pulled while mail is accepted");
        say(&mut machine, "route suspend smarthost")?;
        let acknowledged = pull(machine, &self.around.host, &account)?;
        step(&format!("{} messages acknowledged; booting again", acknowledged.len()));
        let mut machine = self.boot(&disk, Firmware::Bios, processor)?;
        serving(&mut machine)?;
        // The suspension may have survived.
        machine.run("sallyport route resume smarthost", PATIENCE)?;
        let again = self.around.all_arrive(&acknowledged)?;
        step(&format!("all arrived, {again} of them twice"));
        claims::hold(&mut machine)?;
        claims::is_the_same(&mut machine, &number, ENTRY)?;
        claims::remembers_its_boots(&mut machine, 2)?;
        machine.must("sync", PATIENCE)?;
        drop(machine);

        let firmware = if Firmware::Uefi.is_here() {
            Firmware::Uefi
        } else {
            step("NOT TRIED BY UEFI: Debian's package ovmf is not here");
            Firmware::Bios
        };
        step("the system written anew, the state left alone");
        let upgraded = self.at("upgraded.img");
        disk.flatten(&upgraded)?;
        let left = at_boot(Command::new("mdir"), &upgraded).arg("::/setup").output()?;
        ensure!(!left.status.success(), "the set-up is left on the boot partition");
        upgrade(self.image, &upgraded)?;
        let disk = Disk::upon(&self.at("disk-upgraded"), &upgraded, DISK_BYTES)?;
        step(&format!("booting, {firmware:?}"));
        let mut machine = self.boot(&disk, firmware, processor)?;
        serving(&mut machine)?;
        claims::hold(&mut machine)?;
        claims::is_the_same(&mut machine, &number, ENTRY)?;
        self.mail_passes(&account, "after the upgrade;")
    }

    /// Lays the files of the first set-up on the boot partition, by the command that the documentation has.
    fn lay_set_up(&self, image: &Path) -> Result<()> {
        let folder = self.at("setup");
        fs::create_dir(&folder)?;
        let flags = format!(
            "# the first set-up\r\n--hostname {NAME}\r\n--name {RELAY}\r\n--login {LOGIN}\r\n\
             --sender @example.net\r\n--allow 192.0.2.0/28\r\n--smarthost {HOP}\r\n--smarthost-ca hop-ca.pem",
        );
        fs::write(folder.join("init"), flags)?;
        fs::write(folder.join("hop-ca.pem"), &self.around.hop_ca)?;
        fs::write(
            folder.join("10-uplink.network"),
            format!(
                "[Match]\nType=ether\nKind=!*\n[Network]\nAddress={RELAY}/24\nGateway={}\n",
                HOP.ip()
            ),
        )?;
        ran(at_boot(Command::new("mcopy"), image).arg("-s").arg(&folder).arg("::/"))
    }

    fn mail_passes(&self, account: &Account, subject: &str) -> Result<()> {
        self.around.stranger_hears_nothing()?;
        let mut session = self.around.session(account)?;
        session.send("billing@example.net", "customer@example.com", &message(subject))?;
        session.say("QUIT", 221)?;
        self.around.all_arrive(&[subject.to_owned()])?;
        step("mail passes, and a stranger hears nothing");
        Ok(())
    }
}

/// Tells one of the mtools where the boot partition lies.
fn at_boot(mut command: Command, image: &Path) -> Command {
    command.arg("-i").arg(format!("{}@@2M", image.display()));
    command
}

/// Writes the system of an image over that of a disk, by the command that the documentation has.
fn upgrade(image: &Path, disk: &Path) -> Result<()> {
    let mut write = Command::new("dd");
    write.arg(format!("if={}", image.display())).arg(format!("of={}", disk.display()));
    ran(write.args([
        "bs=1M",
        "skip=1",
        "seek=1",
        "count=1023",
        "conv=notrunc,sparse",
        "status=none",
    ]))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    ran(Command::new("cp").arg("--sparse=always").arg(from).arg(to))
}

fn ran(command: &mut Command) -> Result<()> {
    let ended = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(ended.success(), "{command:?}: {ended}");
    Ok(())
}

fn step(what: &str) {
    eprintln!("image: {what}");
}

/// Runs a verb of the product that must succeed, and returns what it printed.
fn say(machine: &mut Machine, words: &str) -> Result<String> {
    machine.must(&format!("sallyport {words}"), PATIENCE)
}

/// Waits until both processes serve.
fn serving(machine: &mut Machine) -> Result<()> {
    let end = Instant::now() + START;
    loop {
        let ended = machine.run("sallyport status --json", PATIENCE)?;
        if let Ok(status) = serde_json::from_str::<Value>(&ended.out)
            && ["gate", "relay"].iter().all(|half| status[half]["serving"] == true)
        {
            return Ok(());
        }
        if Instant::now() > end {
            let journal = machine.run("journalctl -b -n 60 --no-pager; ip addr", PATIENCE)?;
            bail!("does not serve after {} s: {}{}", START.as_secs(), ended.err, journal.out);
        }
        // Another program's state, which has no event that could be awaited from here.
        thread::sleep(Duration::from_millis(500));
    }
}

/// Reads what the set-up left for the operator.
fn account(machine: &mut Machine) -> Result<Account> {
    let said = machine.must("cat /etc/sallyport/first-login", PATIENCE)?;
    let password = said.lines().find_map(|line| line.strip_prefix("password: "));
    let password = password.context("the set-up left no password")?.to_owned();
    let mode = machine.must("stat -c '%a %U' /etc/sallyport/first-login", PATIENCE)?;
    ensure!(mode.trim() == "600 root", "first-login is {}", mode.trim());
    let left = machine.run("test -e /state/setup", PATIENCE)?;
    ensure!(left.code == 1, "the set-up left its files in /state/setup");
    let ca = machine.must("cat /etc/sallyport/tls/ca.pem", PATIENCE)?.into_bytes();
    Ok(Account { ca, password })
}
