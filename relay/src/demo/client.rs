//! A small SMTP client of its own, so that the demo does not test the relay with the relay's code.
//!
//! Blocking, one command at a time, for short conversations with a server that answers in time.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest reply that is read, octets.
const REPLY_MAX: u64 = 64 * 1024;

/// A conversation in progress, in the clear or under TLS.
pub struct Client<S: Read + Write> {
    stream: BufReader<S>,
}

/// A conversation under TLS.
pub type Secured = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A reply: the code and the lines' texts.
#[derive(Debug)]
pub struct Answer {
    /// Three digits.
    pub code: u16,
    /// What stands after the code, a line each.
    pub lines: Vec<String>,
}

impl Client<TcpStream> {
    /// Reads the banner on a connection that was made.
    ///
    /// # Errors
    ///
    /// If the banner is not a 220.
    pub fn greet(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.expect(220)?;
        Ok(client)
    }

    /// Asks for TLS, shakes hands with a server that must be `name` by the authority `ca_pem`, and
    /// says EHLO.
    ///
    /// # Errors
    ///
    /// If any step is refused or the certificate does not verify.
    pub fn secure(mut self, name: &str, ca_pem: &[u8]) -> anyhow::Result<Secured> {
        self.say("EHLO client.example.net", 250)?;
        self.say("STARTTLS", 220)?;
        ensure!(self.stream.buffer().is_empty(), "the server sent more than its 220 before TLS");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned())?;
        let tls = ClientConnection::new(Arc::new(config), name)?;
        let stream = StreamOwned::new(tls, self.stream.into_inner());
        let mut client = Client { stream: BufReader::new(stream) };
        client.say("EHLO client.example.net", 250).context("after the handshake")?;
        Ok(client)
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a command and reads its reply, whose code must be `code`.
    ///
    /// # Errors
    ///
    /// If the reply is another, or the connection ends.
    pub fn say(&mut self, command: &str, code: u16) -> anyhow::Result<Answer> {
        self.write(format!("{command}\r\n").as_bytes())?;
        self.expect(code)
            .with_context(|| format!("after {}", command.split(' ').next().unwrap_or(command)))
    }

    /// Logs in by AUTH PLAIN (RFC 4616).
    ///
    /// # Errors
    ///
    /// If the login is refused.
    pub fn login(&mut self, user: &str, password: &str) -> anyhow::Result<()> {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        self.say(&format!("AUTH PLAIN {response}"), 235).map(drop)
    }

    /// Sends a message whose lines end in CRLF, and returns the reply to its end.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub fn send(&mut self, from: &str, to: &str, message: &[u8]) -> anyhow::Result<Answer> {
        self.say(&format!("MAIL FROM:<{from}> SIZE={}", message.len()), 250)?;
        self.say(&format!("RCPT TO:<{to}>"), 250)?;
        self.say("DATA", 354)?;
        let mut wire = Vec::with_capacity(message.len() + 64);
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        self.write(&wire)?;
        self.expect(250).context("after the final dot")
    }

    /// Reads what the server still says until it ends the connection, at most 64 KiB.
    ///
    /// # Errors
    ///
    /// If the connection is reset, or the server is silent for ten seconds.
    pub fn last_words(&mut self) -> io::Result<String> {
        let mut words = Vec::new();
        self.stream.by_ref().take(REPLY_MAX).read_to_end(&mut words)?;
        Ok(String::from_utf8_lossy(&words).into_owned())
    }

    fn write(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(octets)?;
        Ok(stream.flush()?)
    }

    fn expect(&mut self, code: u16) -> anyhow::Result<Answer> {
        let answer = self.read()?;
        if answer.code != code {
            bail!("expected {code}, got {} {}", answer.code, answer.lines.join(" / "));
        }
        Ok(answer)
    }

    fn read(&mut self) -> anyhow::Result<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.stream.by_ref().take(REPLY_MAX).read_line(&mut line)?;
            ensure!(length > 0, "the server ended the connection");
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code: u16 = code.with_context(|| format!("not a reply: {line:?}"))?;
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            ensure!(lines.len() <= 100, "the reply does not end");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Answer { code, lines });
            }
        }
    }
}
