//! The product: the release program's relay, unguarded, as a user without rights.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use relay::cli::tls::Made;
use relay::demo::next_hop::wait_for;
use serde_json::Value;

use super::process;
use super::{LOGIN, NAME, SINK};

/// Where it listens. The bench has a network of its own, so that no port is taken.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);
/// A next hop that never says a word.
const SILENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2600);
/// nobody's number on every Linux.
pub const NOBODY: u32 = 65534;
/// How long a connection is waited for at the start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The product with its folder; it runs between [`Product::start`] and [`Product::kill`].
pub struct Product {
    /// The password of [`LOGIN`].
    pub password: String,
    /// Where everything of it lies.
    pub folder: PathBuf,
    program: PathBuf,
    relay: Option<Child>,
    /// Its kernel takes connections, nobody ever reads from them.
    _silent: TcpListener,
}

impl Product {
    /// Writes the configuration into `folder`, which is made. Mail for [`SINK`] goes there, all other to a next
    /// hop that is silent: such mail waits, and nothing of it is written to the disk again.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn set(folder: &Path, program: &Path, made: &Made) -> Result<Self> {
        fs::create_dir_all(folder.join("tls"))?;
        chown(folder, Some(NOBODY), Some(NOBODY))?;
        let at = folder.display();
        let text = format!(
            "hostname = \"{NAME}\"\npostmaster = \"postmaster@example.net\"\n\
             [gate]\nrequired = false\n\
             [relay]\nuser = \"{NOBODY}\"\nsocket = \"{at}/run/relay.sock\"\nusers = \"{at}/users.toml\"\n\
             [[listener]]\naddress = \"{ADDRESS}\"\n\
             [tls]\ncertificate = \"{at}/tls/chain.pem\"\nkey = \"{at}/tls/key.pem\"\n\
             [limits]\nsessions = 5000\nsessions-per-source = 5000\n\
             [[policy]]\nlogin = \"{LOGIN}\"\nsenders = [\"@example.net\"]\n\
             [[route]]\nname = \"sink\"\ndomains = [\"sink.example\"]\nhosts = [\"{SINK}\"]\ntls = \"none\"\n\
             [[route]]\nname = \"silent\"\ndefault = true\nhosts = [\"{SILENT}\"]\ntls = \"none\"\n\
             connections = 1\n\
             [spool]\npath = \"{at}/spool\"\nreserve = \"0B\"\n"
        );
        fs::write(folder.join("sallyport.toml"), text)?;
        for (name, text) in [("chain.pem", &made.chain), ("key.pem", &made.key)] {
            fs::write(folder.join("tls").join(name), text)?;
            chown(folder.join("tls").join(name), Some(NOBODY), Some(NOBODY))?;
        }
        let mut product = Self {
            password: String::new(),
            folder: folder.to_owned(),
            program: program.to_owned(),
            relay: None,
            _silent: TcpListener::bind(SILENT)?,
        };
        let said = product.command(&["user", "add", LOGIN])?;
        let password = said.lines().find_map(|line| line.strip_prefix("password: "));
        password.context("`user add` printed no password")?.clone_into(&mut product.password);
        Ok(product)
    }

    /// Starts the relay on an empty spool and waits until it greets.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn start(&mut self) -> Result<()> {
        self.kill()?;
        match fs::remove_dir_all(self.folder.join("spool")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Err(_) | Ok(()) => {}
        }
        settle_disk();
        self.start_again().map(drop)
    }

    /// Starts the relay on the spool that is there; returns how long it took until a client could connect.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn start_again(&mut self) -> Result<Duration> {
        self.kill()?;
        let log = fs::File::create(self.folder.join("log"))?;
        for name in ["run", "spool"] {
            fs::create_dir_all(self.folder.join(name))?;
            chown(self.folder.join(name), Some(NOBODY), Some(NOBODY))?;
        }
        let mut command = self.line(&["relay"]);
        command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        self.relay = Some(command.spawn().context("the product cannot be started")?);
        let up = wait_for("the product to listen", || {
            if let Some(Ok(Some(status))) = self.relay.as_mut().map(Child::try_wait) {
                return Some(Err(status));
            }
            TcpStream::connect_timeout(&ADDRESS, PATIENCE).ok().map(Ok)
        });
        let took = begun.elapsed();
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        match up.with_context(log)? {
            Ok(_) => Ok(took),
            Err(status) => bail!("the product ended ({status}):\n{}", log()),
        }
    }

    /// Ends the relay at once, as a crash would: nothing waits for the silent next hop.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut relay) = self.relay.take() {
            relay.kill()?;
            relay.wait()?;
        }
        Ok(())
    }

    /// Returns the CPU time that the relay has used.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid()?)
    }

    /// Returns the memory of the relay, bytes.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn pss(&self) -> Result<u64> {
        process::pss(self.pid()?)
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.relay.as_ref().context("the product was not started")?.id())
    }

    /// Returns what `sallyport status` says about the spool: `name` is one of its numbers.
    ///
    /// # Errors
    ///
    /// If the product, its folder or its socket cannot be used.
    pub fn spool(&self, name: &str) -> Result<u64> {
        let status: Value = serde_json::from_str(&self.command(&["status", "--json"])?)?;
        status["relay"]["spool"][name].as_u64().with_context(|| format!("status has no {name}"))
    }

    fn line(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.folder.join("sallyport.toml")).args(words);
        command
    }

    fn command(&self, words: &[&str]) -> Result<String> {
        let output = self.line(words).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("sallyport {}: {}", words.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // It is gone either way.
        let _ = self.kill();
    }
}

/// Writes out what the disk still owes, removed files included, so that no load pays for the one before.
pub fn settle_disk() {
    rustix::fs::sync();
}
