//! A client's connection, in the clear or under TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::tls::{ClientIdentity, client_identity, describe, exporter};
use crate::session::Channel;

/// How long a client may take to see our last words.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what it still sends is thrown away for that, octets.
const LINGER_OCTETS: usize = 256 << 10;

/// The first octet of every handshake: the type of its record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Clear(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
    /// A handshake failed, or was given up: there is nothing to talk to.
    Gone,
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Stream {
    /// Returns what the client sends. No octets: it will send no more, and under TLS has said so. An
    /// end of the connection that is not announced there is an error, since anybody on the way could
    /// have made it (RFC 8446, section 6.1).
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Secured(stream) => stream.read(buffer).await,
            Self::Gone => Err(gone()),
        }
    }

    pub(super) async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(octets).await,
            Self::Secured(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::Gone => Err(gone()),
        }
    }

    /// Returns what has arrived before anybody asked for it; it stays to be read.
    pub(super) fn early_octets(&self) -> usize {
        let Self::Clear(stream) = self else { return 0 };
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        rustix::net::recv(stream, &mut [0_u8; 1], flags).map_or(0, |(_, octets)| octets)
    }

    /// Makes the handshake and returns what it came to. Dropped before its end, it leaves no
    /// connection. What begins like no handshake ends at its first octet: a client in the clear may
    /// wait for our greeting after fewer than a record's head has.
    pub(super) async fn secure(&mut self, config: Arc<ServerConfig>) -> io::Result<Channel> {
        let Self::Clear(stream) = std::mem::replace(self, Self::Gone) else { return Err(gone()) };
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 || first != [HANDSHAKE] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let connection = stream.get_ref().1;
        let channel = Channel {
            description: describe(connection),
            exporter: exporter(connection),
            names: client_identity(connection).map(ClientIdentity::into_logins).unwrap_or_default(),
        };
        *self = Self::Secured(Box::new(stream));
        Ok(channel)
    }

    /// Closes the connection, under TLS with a `close_notify` (RFC 8446, section 6.1). What a client
    /// still sends is thrown away for a moment: closing with unread octets would reset the
    /// connection, and the client might never see our last words.
    pub(super) async fn close(mut self) {
        let closed = timeout(LINGER, async {
            match &mut self {
                Self::Clear(stream) => stream.shutdown().await?,
                Self::Secured(stream) => stream.shutdown().await?,
                Self::Gone => return Err(gone()),
            }
            let mut thrown = 0;
            let mut buffer = [0; 4096];
            while thrown < LINGER_OCTETS {
                match self.read(&mut buffer).await? {
                    0 => break,
                    octets => thrown += octets,
                }
            }
            Ok(())
        });
        // Gone is gone, however it went.
        let _: Result<io::Result<()>, _> = closed.await;
    }
}
