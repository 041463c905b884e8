//! The stage of the demo: a relay host, the world on the other end of its wire, a configuration,
//! and the product as a child process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::next_hop::{NextHop, wait_for};
use crate::cli::tls;
use crate::hosts::Host;
use crate::hosts::process::{self, Signal};

/// The name of the relay host, in its certificate too.
pub const NAME: &str = "relay.example.net";
/// The relay host on its wire.
pub const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// A client on the allowed network, 192.0.2.0/28.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
/// A stranger.
pub const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
/// The next hop.
pub const HOP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200)), 2587);
/// The guarded port.
pub const GUARDED: SocketAddr = SocketAddr::new(RELAY, 2525);
/// Another service of the relay host, which the gate leaves alone.
pub const OTHER: SocketAddr = SocketAddr::new(RELAY, 8080);
/// The login of the client.
pub const LOGIN: &str = "app";

/// The stage. Dropping it ends the child processes.
pub struct Stage {
    /// The relay host; its interface is `guard0`.
    pub relay: Host,
    /// Everybody else.
    pub world: Host,
    /// The next hop in the world.
    pub hop: NextHop,
    /// The certificate of the authority that clients trust, PEM.
    pub ca: Vec<u8>,
    /// The password of [`LOGIN`].
    pub password: String,
    folder: PathBuf,
    program: PathBuf,
    product: Option<Child>,
    _other: JoinHandle<()>,
}

impl Stage {
    /// Makes the hosts, joins them, starts the next hop and writes the configuration into `folder`,
    /// where a BPF file system is mounted at `bpf`. `program` is the product.
    ///
    /// # Errors
    ///
    /// If anything cannot be made; root is needed.
    pub fn set(folder: &Path, program: &Path) -> anyhow::Result<Self> {
        let (relay, world) = (Host::new()?, Host::new()?);
        lay(&relay, &world)?;
        let other = relay.within(|| TcpListener::bind(OTHER))??;
        let other = std::thread::spawn(move || {
            // Accepting is all that this service does.
            other.incoming().for_each(drop);
        });
        let hop_certificate = tls::make(&[HOP.ip().to_string()])?;
        let hop = NextHop::start(&world, HOP, &folder.join("hop"), &hop_certificate)?;
        let mut stage = Self {
            relay,
            world,
            hop,
            ca: Vec::new(),
            password: String::new(),
            folder: folder.into(),
            program: program.into(),
            product: None,
            _other: other,
        };
        stage.configure(&hop_certificate.ca)?;
        Ok(stage)
    }

    fn configure(&mut self, hop_ca: &str) -> anyhow::Result<()> {
        let at = self.folder.display();
        fs::write(self.folder.join("hop-ca.pem"), hop_ca)?;
        // 65534 is nobody's number on every Linux.
        let text = format!(
            "hostname = \"{NAME}\"\npostmaster = \"postmaster@example.net\"\n\
             [gate]\ninterfaces = [\"guard0\"]\nstate = \"{at}/gate\"\n\
             pins = \"{at}/bpf/sallyport\"\nsocket = \"{at}/run/gate.sock\"\n\
             [[gate.allow]]\ncidr = \"192.0.2.0/28\"\ntag = \"demo\"\nnote = \"the allowed network\"\n\
             [relay]\nuser = \"65534\"\nsocket = \"{at}/run/relay.sock\"\nusers = \"{at}/users.toml\"\n\
             [[listener]]\naddress = \"{GUARDED}\"\n\
             [tls]\ncertificate = \"{at}/tls/chain.pem\"\nkey = \"{at}/tls/key.pem\"\n\
             [[policy]]\ntag = \"demo\"\nsenders = [\"@example.net\"]\n\
             [[route]]\nname = \"next-hop\"\ndefault = true\nhosts = [\"{}:{}\"]\n\
             ca-file = \"{at}/hop-ca.pem\"\n\
             [spool]\npath = \"{at}/spool\"\nreserve = \"0B\"\n",
            HOP.ip(),
            HOP.port(),
        );
        fs::write(self.config(), text)?;
        self.command(&["config", "check", &self.config().display().to_string()])?;
        // Clients that can be told no address for a name come by the address.
        self.command(&["tls", "init", "--name", NAME, "--name", &RELAY.to_string()])?;
        self.ca = fs::read(self.folder.join("tls/ca.pem"))?;
        let said = self.command(&["user", "add", LOGIN])?;
        let password = said.lines().find_map(|line| line.strip_prefix("password: "));
        self.password = password.map(str::to_owned).context("`user add` printed no password")?;
        Ok(())
    }

    /// Adds lines to the `[gate]` table of the configuration.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn say_of_the_gate(&self, lines: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.config())?;
        let text = text.replacen("[gate]\n", &format!("[gate]\n{lines}\n"), 1);
        Ok(fs::write(self.config(), text)?)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("sallyport.toml")
    }

    /// Starts the product and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it ends, or does not serve within 20 seconds; its log is in the error.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = fs::File::create(self.folder.join("log"))?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config()).arg("run").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        self.product = Some(self.relay.spawn(&mut command)?);
        self.serving().map_err(|error| error.context(self.log()))
    }

    /// Waits until both processes serve.
    ///
    /// # Errors
    ///
    /// If that takes more than 20 seconds or the product ended.
    pub fn serving(&mut self) -> anyhow::Result<()> {
        let ended = wait_for("the product to serve", || {
            if let Some(Ok(Some(status))) = self.product.as_mut().map(Child::try_wait) {
                return Some(Some(status));
            }
            // Not "--check": strangers who knock are no good health, and no reason not to serve.
            let status = self.listing(&["status"]).ok()?;
            let serves = ["gate", "relay"].iter().all(|half| status[half]["serving"] == true);
            serves.then_some(None)
        })?;
        match ended {
            None => Ok(()),
            Some(status) => bail!("the product ended ({status})"),
        }
    }

    /// Sends a signal to the parent of both processes.
    ///
    /// # Errors
    ///
    /// If the product was not started, or has ended.
    pub fn signal_parent(&self, signal: Signal) -> anyhow::Result<()> {
        let product = self.product.as_ref().context("nothing was started")?;
        Ok(process::signal(product.id(), signal)?)
    }

    /// Ends the product in order and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it was not started.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal_parent(Signal::TERM)?;
        let mut product = self.product.take().context("nothing was started")?;
        product.wait()?;
        Ok(())
    }

    /// Cuts the wire and lays a new one, as when a network card is taken out and put back: the interfaces of
    /// both ends have the names and addresses of the former ones.
    ///
    /// # Errors
    ///
    /// If there is no wire.
    pub fn lay_again(&self) -> anyhow::Result<()> {
        self.relay.cut("guard0")?;
        lay(&self.relay, &self.world)
    }

    /// Returns what the product wrote to its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Returns the command line of the product with `words`, to be run in the relay host.
    #[must_use]
    pub fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config()).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.program(words);
        Ok(self.relay.within(|| command.output())??)
    }

    /// Runs a verb in the relay host and returns what it printed.
    ///
    /// # Errors
    ///
    /// If it fails, with what it said.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.run(words)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("sallyport {}: {}", words.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a listing verb and returns its JSON.
    ///
    /// # Errors
    ///
    /// As [`Stage::command`], or if it prints no JSON.
    pub fn listing(&self, words: &[&str]) -> anyhow::Result<Value> {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.command(&words)?).with_context(|| words.join(" "))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // One that has ended needs no signal.
        let _ = self.signal_parent(Signal::TERM);
        let Some(mut product) = self.product.take() else { return };
        let _ = product.wait();
    }
}

/// An address of the demo's one network.
fn network(address: IpAddr) -> anyhow::Result<ipnetwork::IpNetwork> {
    Ok(ipnetwork::IpNetwork::new(address, 24)?)
}

/// Lays the wire between the hosts.
fn lay(relay: &Host, world: &Host) -> anyhow::Result<()> {
    Host::join((relay, "guard0"), (world, "wire0")).context("the wire")?;
    relay.address("guard0", network(RELAY)?)?;
    for address in [CLIENT, STRANGER, HOP.ip()] {
        world.address("wire0", network(address)?)?;
    }
    Ok(())
}
