//! The product on a machine: set up, started, asked.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use relay::demo::stage::{GUARDED, HOP, LOGIN, NAME, RELAY};
use serde_json::Value;
use tests::machine::Machine;
use tests::machine::around::Account;

/// How long a command of the product may take on a machine in software.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long the product may take until both processes serve.
const START: Duration = Duration::from_secs(180);
/// Where the product keeps everything: on the disk.
const FOLDER: &str = "/var/sallyport";
const CONFIG: &str = "/var/sallyport/sallyport.toml";
const LOG: &str = "/tmp/sallyport.log";

/// Makes the machine's card and disk usable, as after every boot.
pub fn settle_in(machine: &mut Machine) -> Result<()> {
    machine.must("mount -t ext4 /dev/vda /var", PATIENCE)?;
    machine.must(&format!("ip addr add {RELAY}/24 dev eth0 && ip link set eth0 up"), PATIENCE)?;
    Ok(())
}

/// Writes the configuration, certificate and login to the disk, and flushes them.
pub fn install(machine: &mut Machine, hop_ca: &str) -> Result<Account> {
    machine.must(&format!("mkdir -p {FOLDER}"), PATIENCE)?;
    machine.write(&format!("{FOLDER}/hop-ca.pem"), hop_ca.as_bytes())?;
    let text = format!(
        "hostname = \"{NAME}\"\npostmaster = \"postmaster@example.net\"\n\
         [gate]\ninterfaces = [\"eth0\"]\nstate = \"{FOLDER}/gate\"\n\
         [[gate.allow]]\ncidr = \"192.0.2.0/28\"\ntag = \"demo\"\n\
         [relay]\nusers = \"{FOLDER}/users.toml\"\n\
         [[listener]]\naddress = \"{GUARDED}\"\n\
         [tls]\ncertificate = \"{FOLDER}/tls/chain.pem\"\nkey = \"{FOLDER}/tls/key.pem\"\n\
         [[policy]]\ntag = \"demo\"\nsenders = [\"@example.net\"]\n\
         [[route]]\nname = \"next-hop\"\ndefault = true\nhosts = [\"{}:{}\"]\n\
         ca-file = \"{FOLDER}/hop-ca.pem\"\n\
         [spool]\npath = \"{FOLDER}/spool\"\nreserve = \"0B\"\n",
        HOP.ip(),
        HOP.port(),
    );
    machine.write(CONFIG, text.as_bytes())?;
    say(machine, &format!("tls init --name {NAME} --name {RELAY}"))?;
    let ca = machine.must(&format!("cat {FOLDER}/tls/ca.pem"), PATIENCE)?.into_bytes();
    let said = say(machine, &format!("user add {LOGIN}"))?;
    let password = said.lines().find_map(|line| line.strip_prefix("password: "));
    let password = password.context("`user add` printed no password")?.to_owned();
    machine.must("sync", PATIENCE)?;
    Ok(Account { ca, password })
}

/// Returns the command that runs a verb of the product.
pub fn command(words: &str) -> String {
    format!("sallyport --config {CONFIG} {words}")
}

/// Runs a verb of the product that must succeed, and returns what it printed.
pub fn say(machine: &mut Machine, words: &str) -> Result<String> {
    machine.must(&command(words), PATIENCE)
}

/// Runs a listing verb and returns its JSON.
pub fn listing(machine: &mut Machine, words: &str) -> Result<Value> {
    let ended = machine.run(&command(&format!("{words} --json")), PATIENCE)?;
    let parsed = serde_json::from_str(&ended.out);
    parsed.with_context(|| format!("{words}: {}{}", ended.out, ended.err))
}

/// Starts the product and waits until both processes serve; returns `status`.
pub fn start(machine: &mut Machine) -> Result<Value> {
    machine.must(
        &format!(
            "setsid sallyport --config {CONFIG} run </dev/null >{LOG} 2>&1 & echo $! >/tmp/pid"
        ),
        PATIENCE,
    )?;
    let end = Instant::now() + START;
    loop {
        if machine.run("kill -0 $(cat /tmp/pid)", PATIENCE)?.code != 0 {
            bail!("the product ended: {}", log(machine));
        }
        if let Ok(status) = listing(machine, "status")
            && ["gate", "relay"].iter().all(|half| status[half]["serving"] == true)
        {
            return Ok(status);
        }
        if Instant::now() > end {
            bail!("does not serve after {} s: {}", START.as_secs(), log(machine));
        }
        // Another program's state, which has no event that could be awaited from here.
        thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the end of what the product wrote to its log.
pub fn log(machine: &mut Machine) -> String {
    let ended = machine.run(&format!("tail -n 25 {LOG}"), PATIENCE);
    ended.map_or_else(|error| format!("{error:#}"), |ended| ended.out)
}
