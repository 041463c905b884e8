//! Pebble, the authority that Let's Encrypt tests clients of ACME by, with a DNS that believes what it is told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls;
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{RELAY, STRANGER};
use relay::hosts::Host;
use relay::http::{Wire, agent};
use serde_json::json;

/// Where clients ask it. It stands where no client of the gate does.
const ACME: SocketAddr = SocketAddr::new(STRANGER, 14000);
/// Where its own certificates are.
const MANAGEMENT: SocketAddr = SocketAddr::new(STRANGER, 15000);
/// Where it asks for the addresses of names.
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8053);
/// Where those are told.
const DNS_MANAGEMENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8055);
/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The authority and its DNS, by which every name leads to the relay host until something else is said. Both end when
/// it is dropped.
pub struct Pebble {
    host: Host,
    folder: PathBuf,
    processes: Vec<Child>,
}

impl Pebble {
    /// Starts both in a host, which has the address [`STRANGER`]; their files go to `folder`, which is made.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub fn start(program: &Path, host: &Host, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let made = tls::make(&[STRANGER.to_string()])?;
        for (name, text) in
            [("ca.pem", &made.ca), ("chain.pem", &made.chain), ("key.pem", &made.key)]
        {
            fs::write(folder.join(name), text)?;
        }
        let config = json!({ "pebble": {
            "listenAddress": ACME.to_string(),
            "managementListenAddress": MANAGEMENT.to_string(),
            "certificate": folder.join("chain.pem"),
            "privateKey": folder.join("key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
        }});
        let file = folder.join("pebble.json");
        fs::write(&file, config.to_string())?;
        let mut pebble = Self { host: host.again()?, folder: folder.into(), processes: Vec::new() };

        let mut dns = Command::new(program.with_file_name("pebble-challtestsrv"));
        dns.args(["-dns01", &DNS.to_string(), "-management", &DNS_MANAGEMENT.to_string()]);
        dns.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        dns.args(["-defaultIPv4", &RELAY.to_string(), "-defaultIPv6", ""]);
        pebble.run(dns, "dns.log")?;
        let mut authority = Command::new(program);
        authority.arg("-config").arg(file).args(["-dnsserver", &DNS.to_string()]);
        // Every order proves anew, at once, and no request fails by chance.
        authority.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        authority.env("PEBBLE_WFE_NONCEREJECT", "0");
        pebble.run(authority, "pebble.log")?;
        for address in [ACME, MANAGEMENT, DNS_MANAGEMENT] {
            let look = || host.within(|| TcpStream::connect(address)).ok()?.ok();
            wait_for("the authority to listen", look).with_context(|| pebble.log())?;
        }
        Ok(pebble)
    }

    fn run(&mut self, mut command: Command, log: &str) -> Result<()> {
        let log = fs::File::create(self.folder.join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.push(self.host.spawn(&mut command)?);
        Ok(())
    }

    /// Returns what it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("dns.log") + &read("pebble.log")
    }

    /// Returns the flags that have `init` order here, without the one for its terms.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let directory = format!("https://{ACME}/dir");
        let ca = self.folder.join("ca.pem").display().to_string();
        ["--acme", "--acme-directory", &directory, "--acme-ca", &ca].map(str::to_owned).to_vec()
    }

    /// Returns the root of the chains that it signs, PEM; it is a new one with each start.
    ///
    /// # Errors
    ///
    /// If it does not tell.
    pub fn root(&self) -> Result<String> {
        let ca = self.folder.join("ca.pem");
        self.host.within(|| {
            let agent = agent(Some(&ca), Wire::Tls, PATIENCE).map_err(anyhow::Error::msg)?;
            let mut answer = agent.get(format!("https://{MANAGEMENT}/roots/0")).call()?;
            Ok(answer.body_mut().read_to_string()?)
        })?
    }

    /// Lets a name lead to another address, or again to the relay host.
    ///
    /// # Errors
    ///
    /// If the DNS does not take it.
    pub fn lead(&self, name: &str, address: Option<IpAddr>) -> Result<()> {
        match address {
            Some(address) => self.tell("/add-a", &json!({ "host": name, "addresses": [address] })),
            None => self.tell("/clear-a", &json!({ "host": name })),
        }
    }

    fn tell(&self, path: &str, what: &serde_json::Value) -> Result<()> {
        let body = what.to_string();
        let answer = self.host.within(|| -> Result<String> {
            let mut stream = TcpStream::connect(DNS_MANAGEMENT)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(
                stream,
                "POST {path} HTTP/1.0\r\nHost: dns\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })??;
        ensure!(answer.split(' ').nth(1) == Some("200"), "{path}: {answer}");
        Ok(())
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended needs no signal.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
