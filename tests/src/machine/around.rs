//! What stands around a machine, on the other end of its wire: clients, strangers and a next hop.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls;
use relay::demo::client::{Client, Secured};
use relay::demo::sink::{self, Arrived};
use relay::demo::stage::{CLIENT, GUARDED, HOP, LOGIN, NAME, STRANGER};
use relay::hosts::Host;
use relay::hosts::dial::{Answer, connect, dial};

use super::{WIRE, lay_wire};

/// How long silence is listened to: a SYN and two more.
const SILENCE: Duration = Duration::from_millis(3200);
/// How long what was acknowledged may take to reach the next hop.
const LONG: Duration = Duration::from_secs(180);

/// What a client needs to deliver.
pub struct Account {
    /// The authority that signed the relay's certificate, PEM.
    pub ca: Vec<u8>,
    /// The password of [`LOGIN`].
    pub password: String,
}

/// The host on the other end of the wire.
pub struct Around {
    /// It has [`WIRE`] and the addresses of clients, strangers and the next hop.
    pub host: Host,
    /// The authority of the next hop's certificate, PEM.
    pub hop_ca: String,
    /// What arrives at the next hop.
    pub arrived: Receiver<Arrived>,
}

impl Around {
    /// Lays the wire, gives the addresses and starts a next hop that keeps what arrives.
    ///
    /// # Errors
    ///
    /// If the host, its wire or an address cannot be made.
    pub fn new() -> Result<Self> {
        let host = Host::new()?;
        lay_wire(&host)?;
        for address in [CLIENT, STRANGER, HOP.ip()] {
            host.address(WIRE, ipnetwork::IpNetwork::new(address, 24)?)?;
        }
        let made = tls::make(&[HOP.ip().to_string()])?;
        let listener = host.within(|| TcpListener::bind(HOP))??;
        let (to, arrived) = mpsc::channel();
        let (chain, key) = (made.chain, made.key);
        thread::spawn(move || sink::serve(&listener, &chain, &key, &to));
        Ok(Self { host, hop_ca: made.ca, arrived })
    }

    /// Opens a session of the listed client, under TLS and logged in.
    ///
    /// # Errors
    ///
    /// If the relay does not answer, or refuses.
    pub fn session(&self, account: &Account) -> Result<Secured> {
        session(&self.host, account)
    }

    /// Shows that a stranger hears nothing.
    ///
    /// # Errors
    ///
    /// If the stranger hears something.
    pub fn stranger_hears_nothing(&self) -> Result<()> {
        let seen = attempt(&self.host, STRANGER, GUARDED)?;
        ensure!(seen == Answer::Silence, "the stranger saw {seen:?}");
        Ok(())
    }

    /// Waits until a message with every one of the subjects has arrived; returns how many came more than once.
    ///
    /// # Errors
    ///
    /// If one does not arrive in time.
    pub fn all_arrive(&self, subjects: &[String]) -> Result<usize> {
        let end = Instant::now() + LONG;
        let mut missing: HashSet<&str> = subjects.iter().map(String::as_str).collect();
        let mut again = 0;
        while !missing.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let message = match self.arrived.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            };
            let text = String::from_utf8_lossy(&message);
            let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
            let subject = line.context("a message without a subject arrived")?;
            if !missing.remove(subject) && subjects.iter().any(|one| one == subject) {
                again += 1;
            }
        }
        ensure!(missing.is_empty(), "acknowledged, and lost: {missing:?}");
        Ok(again)
    }
}

/// Opens a session of the listed client from a host, as [`Around::session`] does.
///
/// # Errors
///
/// If the relay does not answer, or refuses.
pub fn session(host: &Host, account: &Account) -> Result<Secured> {
    let stream = host.within(|| connect(CLIENT, GUARDED, Duration::from_secs(20)))?;
    let mut client = Client::greet(stream.context("connect")?)?.secure(NAME, &account.ca)?;
    client.login(LOGIN, &account.password)?;
    Ok(client)
}

fn attempt(host: &Host, from: IpAddr, to: SocketAddr) -> Result<Answer> {
    Ok(host.within(|| dial(from, to, SILENCE))??)
}

/// Returns a message with a subject, of some kilobytes.
#[must_use]
pub fn message(subject: &str) -> Vec<u8> {
    let mut text = format!(
        "From: Billing <billing@example.net>\r\nTo: customer@example.com\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{}@example.net>\r\n\r\n",
        subject.replace([' ', ';'], "-"),
    );
    text.extend(
        (0..100)
            .map(|line| format!("line {line} of a receipt that is long enough to be split\r\n")),
    );
    text.into_bytes()
}
