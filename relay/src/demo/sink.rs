//! A next hop of our own for hosts without a mail server: it takes every message over STARTTLS and
//! keeps it.
//!
//! It is written apart from the relay's session, so that the demo does not test the relay with the
//! relay's code. It serves one connection at a time and trusts its client: not for use elsewhere.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A message that arrived, dots unstuffed.
pub type Arrived = Vec<u8>;

/// Serves connections until the receiver of messages is gone. `chain` and `key` are PEM.
///
/// # Errors
///
/// If the certificate cannot be used.
pub fn serve(
    listener: &TcpListener,
    chain: &str,
    key: &str,
    to: &Sender<Arrived>,
) -> anyhow::Result<()> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let config = Arc::new(config);
    for stream in listener.incoming() {
        // A connection that fails is its client's matter: the relay tries again.
        let _ = stream.context("accept").and_then(|stream| converse(stream, &config, to));
    }
    Ok(())
}

fn converse(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    to: &Sender<Arrived>,
) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 sink.example.net ESMTP\r\n")?;
    if session(&mut stream, None)? == Next::Secure {
        let tls = ServerConnection::new(config.clone())?;
        let mut stream = BufReader::new(StreamOwned::new(tls, stream.into_inner()));
        session(&mut stream, Some(to))?;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Next {
    Secure,
    End,
}

/// Answers commands until STARTTLS or the end; takes mail only where there is somebody to keep it.
fn session<S: Read + Write>(
    stream: &mut BufReader<S>,
    keep: Option<&Sender<Arrived>>,
) -> anyhow::Result<Next> {
    loop {
        let mut line = String::new();
        if stream.by_ref().take(4096).read_line(&mut line)? == 0 {
            return Ok(Next::End);
        }
        let verb = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match (verb.as_str(), keep) {
            ("EHLO", None) => "250-sink.example.net\r\n250-STARTTLS\r\n250 8BITMIME",
            ("EHLO", Some(_)) => "250-sink.example.net\r\n250-PIPELINING\r\n250 8BITMIME",
            ("STARTTLS", None) => {
                stream.get_mut().write_all(b"220 go ahead\r\n")?;
                stream.get_mut().flush()?;
                return Ok(Next::Secure);
            }
            ("DATA", Some(to)) => {
                stream.get_mut().write_all(b"354 go on\r\n")?;
                stream.get_mut().flush()?;
                to.send(message(stream)?).context("nobody waits for the message")?;
                "250 2.0.0 kept"
            }
            ("MAIL" | "RCPT" | "RSET" | "NOOP", Some(_)) => "250 2.0.0 fine",
            ("QUIT", _) => "221 2.0.0 bye",
            (_, None) => "530 5.7.0 STARTTLS first",
            (_, Some(_)) => "502 5.5.1 not here",
        };
        stream.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
        stream.get_mut().flush()?;
        if verb == "QUIT" {
            return Ok(Next::End);
        }
    }
}

/// Reads a message up to its lone dot (RFC 5321, section 4.5.2).
fn message<S: Read>(stream: &mut BufReader<S>) -> anyhow::Result<Arrived> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        anyhow::ensure!(stream.read_until(b'\n', &mut line)? > 0, "the message has no end");
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Ok(message),
            Some(rest) => message.extend_from_slice(rest),
            None => message.extend_from_slice(&line),
        }
    }
}
