//! A next hop with a script: behaves as a mail server does, but for what it is told to do else.
//!
//! It listens on loopback, on a port of the system's choosing, with a certificate that it makes
//! itself, and ends when it is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest line and the largest message that a peer takes, octets.
const TAKEN_MAX: usize = 16 << 20;

/// Who a certificate is for, and who signed it.
#[derive(Clone, Copy, Debug)]
pub enum Certificate {
    /// For `localhost`, by the authority whose certificate [`Peer::authority`] gives.
    Good,
    /// By that authority, for `other.example.net`.
    OtherName,
    /// For `localhost`, by itself.
    SelfSigned,
}

/// How a peer behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What it shows under TLS.
    pub certificate: Certificate,
    /// What it offers before TLS.
    pub before_tls: Vec<&'static str>,
    /// What it offers under TLS.
    pub under_tls: Vec<&'static str>,
    /// What it answers in place of its usual answer: the start of a command and the answer. The
    /// first that fits a command is used, once. `"BANNER"` stands for the greeting, `"."` for the
    /// end of a message; [`CLOSE`] closes the connection without an answer.
    pub instead: Vec<(&'static str, &'static str)>,
}

/// The answer that is none: the connection is closed.
pub const CLOSE: &str = "close";

impl Default for Manners {
    /// A well-behaved submission server.
    fn default() -> Self {
        Self {
            certificate: Certificate::Good,
            before_tls: vec!["STARTTLS"],
            under_tls: vec!["PIPELINING", "SIZE 1000000", "8BITMIME", "AUTH PLAIN LOGIN"],
            instead: Vec::new(),
        }
    }
}

/// Something that happened at a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A connection was made.
    Connected,
    /// A command came, as it was written, without its end.
    Command(String),
    /// A message was taken: what stood between DATA and the final dot, unstuffed; or a chunk.
    Message(Vec<u8>),
    /// A connection ended.
    Closed,
}

/// A next hop with a script.
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate of its authority, PEM.
    pub authority: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    _serving: JoinSet<()>,
}

impl Peer {
    /// Starts a peer.
    ///
    /// # Errors
    ///
    /// If it cannot listen, or its certificates cannot be made.
    pub async fn start(manners: Manners) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (config, authority) = certificates(manners.certificate)?;
        let (tell, seen) = mpsc::unbounded_channel();
        let script = Script {
            tls: TlsAcceptor::from(Arc::new(config)),
            instead: Arc::new(Mutex::new(manners.instead.clone())),
            manners,
            tell,
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while sessions.try_join_next().is_some() {}
                sessions.spawn(script.clone().serve(stream));
            }
        });
        Ok(Self { address, authority, seen, _serving: serving })
    }

    /// Waits for the next thing that happens.
    ///
    /// # Panics
    ///
    /// If nothing happens within 30 s.
    pub async fn next(&mut self) -> Seen {
        let next = timeout(PATIENCE, self.seen.recv()).await;
        next.expect("something happens at the peer in time").expect("the peer serves")
    }

    /// Waits for the next message and returns it; what happened before it is forgotten.
    ///
    /// # Panics
    ///
    /// As [`Peer::next`].
    pub async fn message(&mut self) -> Vec<u8> {
        loop {
            if let Seen::Message(message) = self.next().await {
                return message;
            }
        }
    }

    /// Waits until a connection ends, and returns all that happened until then.
    ///
    /// # Panics
    ///
    /// As [`Peer::next`].
    pub async fn until_closed(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Seen::Closed => return all,
                seen => all.push(seen),
            }
        }
    }

    /// Returns what has happened and was not looked at yet.
    pub fn so_far(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

#[derive(Clone)]
struct Script {
    tls: TlsAcceptor,
    manners: Manners,
    instead: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    tell: mpsc::UnboundedSender<Seen>,
}

/// What follows a command.
enum Then {
    GoOn,
    StartTls,
    Close,
}

impl Script {
    async fn serve(self, stream: TcpStream) {
        self.see(Seen::Connected);
        // However a connection ends, it has ended.
        let _ = self.converse(stream).await;
        self.see(Seen::Closed);
    }

    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufStream::new(stream);
        let banner = self.instead_of("BANNER").unwrap_or("220 peer.example.net ESMTP");
        if banner == CLOSE {
            return Ok(());
        }
        say(&mut stream, banner).await?;
        if self.session(&mut stream, &self.manners.before_tls).await? {
            let stream = self.tls.accept(stream.into_inner()).await?;
            self.session(&mut BufStream::new(stream), &self.manners.under_tls).await?;
        }
        Ok(())
    }

    /// Answers commands until the connection ends or TLS begins; tells whether TLS begins.
    async fn session<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        offers: &[&str],
    ) -> io::Result<bool> {
        while let Some(command) = read_line(stream).await? {
            self.see(Seen::Command(command.clone()));
            match self.answer(stream, &command, offers).await? {
                Then::GoOn => {}
                Then::StartTls => return Ok(true),
                Then::Close => break,
            }
        }
        Ok(false)
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        command: &str,
        offers: &[&str],
    ) -> io::Result<Then> {
        if let Some(count) = command.strip_prefix("BDAT ") {
            return self.take_chunk(stream, count).await;
        }
        match self.instead_of(command) {
            Some(CLOSE) => return Ok(Then::Close),
            Some(answer) => {
                say(stream, answer).await?;
                return Ok(if answer.starts_with("421") { Then::Close } else { Then::GoOn });
            }
            None => {}
        }
        let verb = command.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" => {
                let offers: Vec<_> = offers.iter().map(|offer| format!("250-{offer}")).collect();
                let lines = format!("250-peer.example.net\r\n{}\r\n250 HELP", offers.join("\r\n"));
                say(stream, &lines).await?;
            }
            "STARTTLS" => {
                say(stream, "220 2.0.0 go").await?;
                return Ok(Then::StartTls);
            }
            "AUTH" => say(stream, "235 2.7.0 welcome").await?,
            "MAIL" => say(stream, "250 2.1.0 ok").await?,
            "RCPT" => say(stream, "250 2.1.5 ok").await?,
            "DATA" => {
                say(stream, "354 go on").await?;
                return self.take(stream).await;
            }
            "RSET" => say(stream, "250 2.0.0 ok").await?,
            "QUIT" => {
                say(stream, "221 2.0.0 bye").await?;
                return Ok(Then::Close);
            }
            _ => say(stream, "500 5.5.2 what").await?,
        }
        Ok(Then::GoOn)
    }

    /// Takes a message and answers it.
    async fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
    ) -> io::Result<Then> {
        let mut message = Vec::new();
        loop {
            let mut line = Vec::new();
            stream.read_until(b'\n', &mut line).await?;
            if !line.ends_with(b"\r\n") || message.len() + line.len() > TAKEN_MAX {
                return Ok(Then::Close);
            }
            if line == b".\r\n" {
                break;
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.see(Seen::Message(message));
        let answer = self.instead_of(".").unwrap_or("250 2.0.0 queued");
        if answer == CLOSE {
            return Ok(Then::Close);
        }
        say(stream, answer).await?;
        Ok(Then::GoOn)
    }

    /// Takes a chunk and answers it; `count` is what follows the verb. The script's answer to
    /// `"BDAT"` comes once its octets have.
    async fn take_chunk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        count: &str,
    ) -> io::Result<Then> {
        let size = count.trim_end_matches(" LAST").parse().unwrap_or(TAKEN_MAX + 1);
        if size > TAKEN_MAX {
            return Ok(Then::Close);
        }
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk).await?;
        self.see(Seen::Message(chunk));
        let answer = self.instead_of("BDAT").unwrap_or("250 2.0.0 queued");
        if answer == CLOSE {
            return Ok(Then::Close);
        }
        say(stream, answer).await?;
        Ok(Then::GoOn)
    }

    /// Takes the first answer of the script that fits `command`.
    fn instead_of(&self, command: &str) -> Option<&'static str> {
        let mut instead = self.instead.lock().expect("no session panics while it holds the script");
        let place = instead.iter().position(|(start, _)| command.starts_with(start))?;
        Some(instead.remove(place).1)
    }

    fn see(&self, seen: Seen) {
        // A test that has seen enough has dropped its end.
        let _ = self.tell.send(seen);
    }
}

async fn read_line<S: AsyncRead + Unpin + AsyncWrite>(
    stream: &mut BufStream<S>,
) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    let line = line.strip_suffix(b"\r\n").map(<[u8]>::to_vec);
    Ok(line.and_then(|line| String::from_utf8(line).ok()))
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufStream<S>,
    words: &str,
) -> io::Result<()> {
    stream.write_all(format!("{words}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// Makes what a peer shows, and the authority that a client is to trust.
fn certificates(certificate: Certificate) -> anyhow::Result<(ServerConfig, String)> {
    let mut issuer = CertificateParams::new(Vec::new())?;
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    issuer.distinguished_name.push(DnType::CommonName, "the authority of a peer");
    let authority = CertifiedIssuer::self_signed(issuer, KeyPair::generate()?)?;
    let name = match certificate {
        Certificate::Good | Certificate::SelfSigned => "localhost",
        Certificate::OtherName => "other.example.net",
    };
    let leaf = CertificateParams::new(vec![name.to_owned()])?;
    let key = KeyPair::generate()?;
    let shown = match certificate {
        Certificate::SelfSigned => leaf.self_signed(&key)?,
        Certificate::Good | Certificate::OtherName => leaf.signed_by(&key, &authority)?,
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![shown.der().clone()], key)?;
    Ok((config, authority.pem()))
}
