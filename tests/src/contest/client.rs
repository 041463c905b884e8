//! One client of the load generator: a whole SMTP session under STARTTLS with a login, or in the clear.
//!
//! It trusts no reply: one that is not the expected is an error, which the load counts and shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest group of replies that is read, octets.
const REPLIES_MAX: usize = 64 << 10;
/// Servers, in rustls' sense, whose tickets a client keeps.
const TICKETS: usize = 8;

/// What a client needs to get through STARTTLS and AUTH PLAIN.
#[derive(Clone)]
pub struct Login {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    auth: Vec<u8>,
    handshake: Handshake,
}

/// How handshakes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Each without knowledge of an earlier one.
    Full,
    /// With a ticket, where the server gave one.
    Resumed,
}

impl Login {
    /// Returns the login `user` at a server that must be `name` by the authority `ca_pem`.
    ///
    /// # Errors
    ///
    /// What the server answered, or the connection failed with.
    pub fn new(
        name: &str,
        ca_pem: &str,
        (user, password): (&str, &str),
        handshake: Handshake,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if handshake == Handshake::Full {
            tls.resumption = Resumption::disabled();
        }
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        Ok(Self {
            tls: Arc::new(tls),
            name: ServerName::try_from(name.to_owned())?,
            auth: format!("AUTH PLAIN {response}\r\n").into_bytes(),
            handshake,
        })
    }

    /// Returns the same for one client, which shares its tickets with no other.
    pub fn with_own_tickets(&self) -> Self {
        let mut tls = ClientConfig::clone(&self.tls);
        if self.handshake == Handshake::Resumed {
            tls.resumption = Resumption::in_memory_sessions(TICKETS);
        }
        Self { tls: Arc::new(tls), ..self.clone() }
    }
}

/// How a client sends the commands of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commands {
    /// MAIL, RCPT and DATA in one write (RFC 2920).
    Pipelined,
    /// Each after the reply to the one before.
    InTurn,
}

/// What a client sends, as it goes over the wire.
pub struct Message {
    /// MAIL, RCPT and DATA.
    commands: [&'static [u8]; 3],
    /// The same in one piece.
    group: Vec<u8>,
    /// The text and the dot that ends it.
    body: Vec<u8>,
    /// How many were sent: no two are the same, since a repeat is not stored again.
    sent: AtomicU64,
}

impl Message {
    /// Returns a message of at least `size` octets for the recipient of `rcpt`, a whole command.
    pub fn new(size: usize, rcpt: &'static str) -> Self {
        let commands: [&'static [u8]; 3] =
            [b"MAIL FROM:<billing@example.net>\r\n", rcpt.as_bytes(), b"DATA\r\n"];
        let mut body =
            b"From: billing@example.net\r\nTo: customer@example.com\r\nSubject: Your bill\r\n\
            Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <bill-0000000000000000@example.net>\r\n\r\n"
                .to_vec();
        while body.len() < size {
            body.extend_from_slice(
                b"a line of a message that is as long as the row of the table says\r\n",
            );
        }
        body.extend_from_slice(b".\r\n");
        Self { commands, group: commands.concat(), body, sent: AtomicU64::new(0) }
    }

    /// Returns the text of the next one.
    fn next(&self) -> Vec<u8> {
        let number = format!("bill-{:016x}@", self.sent.fetch_add(1, Ordering::Relaxed));
        let mut body = self.body.clone();
        if let Some(place) = body.windows(5).position(|octets| octets == b"bill-") {
            body[place..place + number.len()].copy_from_slice(number.as_bytes());
        }
        body
    }
}

enum Stream {
    Clear(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
    Gone,
}

/// A session that is ready for messages.
pub struct Client {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects and says EHLO; with a `login` also STARTTLS, EHLO and AUTH.
    ///
    /// # Errors
    ///
    /// What the server answered, or the connection failed with.
    pub async fn connect(address: SocketAddr, login: Option<&Login>) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: Stream::Clear(stream), buffer: Vec::new() };
        client.replies(&[220]).await.context("the greeting")?;
        client.say(EHLO, 250).await.context("EHLO")?;
        if let Some(login) = login {
            client.say(b"STARTTLS\r\n", 220).await.context("STARTTLS")?;
            client.secure(login).await.context("the handshake")?;
            client.say(EHLO, 250).await.context("EHLO after the handshake")?;
            client.say(&login.auth, 235).await.context("AUTH")?;
        }
        Ok(client)
    }

    async fn secure(&mut self, login: &Login) -> Result<()> {
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            bail!("under TLS already");
        };
        let connector = TlsConnector::from(Arc::clone(&login.tls));
        let stream = connector.connect(login.name.clone(), stream).await?;
        self.stream = Stream::Secured(Box::new(stream));
        Ok(())
    }

    /// Tells whether the session's handshake used a ticket of an earlier one.
    pub fn is_resumed(&self) -> bool {
        let Stream::Secured(stream) = &self.stream else { return false };
        stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Returns protocol version, key exchange and cipher suite; nothing in the clear.
    pub fn tls(&self) -> Option<String> {
        let Stream::Secured(stream) = &self.stream else { return None };
        let tls = stream.get_ref().1;
        let exchange = tls.negotiated_key_exchange_group()?.name();
        let suite = tls.negotiated_cipher_suite()?.suite();
        Some(format!("{:?}, {exchange:?}, {suite:?}", tls.protocol_version()?))
    }

    /// Sends a message and waits until the server has taken it.
    ///
    /// # Errors
    ///
    /// What the server answered, or the connection failed with.
    pub async fn send(&mut self, message: &Message, commands: Commands) -> Result<()> {
        match commands {
            Commands::Pipelined => {
                self.write(&message.group).await?;
                self.replies(&[250, 250, 354]).await.context("MAIL, RCPT, DATA")?;
            }
            Commands::InTurn => {
                for (command, code) in message.commands.into_iter().zip([250, 250, 354]) {
                    self.say(command, code).await.context("MAIL, RCPT or DATA")?;
                }
            }
        }
        self.say(&message.next(), 250).await.context("the final dot")
    }

    /// Ends the session in order.
    ///
    /// # Errors
    ///
    /// What the server answered, or the connection failed with.
    pub async fn quit(mut self) -> Result<()> {
        self.say(b"QUIT\r\n", 221).await.context("QUIT")
    }

    async fn say(&mut self, octets: &[u8], code: u16) -> Result<()> {
        self.write(octets).await?;
        self.replies(&[code]).await
    }

    async fn write(&mut self, octets: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(octets).await?,
            Stream::Secured(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await?;
            }
            Stream::Gone => bail!("no connection"),
        }
        Ok(())
    }

    /// Reads replies that must have these codes, and nothing after them.
    async fn replies(&mut self, codes: &[u16]) -> Result<()> {
        loop {
            if let Some(found) = codes_of(&self.buffer, codes.len()) {
                ensure!(
                    found == codes,
                    "{codes:?} expected, got {}",
                    String::from_utf8_lossy(&self.buffer).trim_end()
                );
                self.buffer.clear();
                return Ok(());
            }
            ensure!(self.buffer.len() < REPLIES_MAX, "the replies do not end");
            let octets = match &mut self.stream {
                Stream::Clear(stream) => stream.read_buf(&mut self.buffer).await?,
                Stream::Secured(stream) => stream.read_buf(&mut self.buffer).await?,
                Stream::Gone => bail!("no connection"),
            };
            ensure!(octets > 0, "the server ended the connection");
        }
    }
}

const EHLO: &[u8] = b"EHLO client.example.net\r\n";

/// Returns the codes of the replies in `text`, once it holds `count` whole ones or one that says no.
fn codes_of(text: &[u8], count: usize) -> Option<Vec<u16>> {
    let mut codes = Vec::with_capacity(count);
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if !line.ends_with(b"\n") || line.get(3) == Some(&b'-') {
            continue;
        }
        let code = line.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        codes.push(code.and_then(|code| code.parse().ok()).unwrap_or(0));
    }
    (codes.len() >= count || codes.iter().any(|code| !(200..400).contains(code))).then_some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_whole_or_refusing() {
        for (text, count, wanted) in [
            ("", 1, None),
            ("250 2.1.0 o", 1, None),
            ("250-a\r\n250-b\r\n", 1, None),
            ("250-a\r\n250 b\r\n", 1, Some(vec![250])),
            ("250 a\r\n250 b\r\n", 3, None),
            ("250 a\r\n250 b\r\n354 c\r\n", 3, Some(vec![250, 250, 354])),
            ("250 a\r\n452 b\r\n", 3, Some(vec![250, 452])),
            ("hello\r\n", 1, Some(vec![0])),
        ] {
            assert_eq!(codes_of(text.as_bytes(), count), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_message_has_its_size_and_its_end() {
        let message = Message::new(4096, "RCPT TO:<a@example.com>\r\n");
        assert!((4096..4200).contains(&message.body.len()));
        assert!(message.body.ends_with(b"\r\n.\r\n"));
        let (first, second) = (message.next(), message.next());
        assert_eq!((first.len(), second.len()), (message.body.len(), message.body.len()));
        assert_ne!(first, second);
        assert!(message.group.ends_with(b"RCPT TO:<a@example.com>\r\nDATA\r\n"));
    }
}
