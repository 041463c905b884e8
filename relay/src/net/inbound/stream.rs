//! A client's connection, in the clear or under TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::net::tls::{ClientIdentity, client_identity, describe, exporter};
use crate::session::Channel;

/// How long a client may take to see our last words.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what it still sends is thrown away for that, octets.
const LINGER_OCTETS: usize = 256 << 10;

/// The first octet of every handshake: the type of its record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Octets read at a time.
const PIECE: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

/// What a client sent, a password perhaps: it is wiped when it is dropped.
pub(super) struct Octets(Vec<u8>);

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Octets {
    fn drop(&mut self) {
        // All at once: messages pass here too, and Vec's own way is one octet after the other.
        self.0.as_mut_slice().zeroize();
    }
}

impl ZeroizeOnDrop for Octets {}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Clear(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
    /// A handshake failed, or was given up: there is nothing to talk to.
    Gone,
}

/// Returns whether octets wait in the kernel: how many of the first one.
fn arrived(socket: &TcpStream) -> usize {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    rustix::net::recv(socket, &mut [0_u8; 1], flags).map_or(0, |(_, octets)| octets)
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Stream {
    /// Returns what the client sends, at most [`PIECE`] octets. None: it will send no more, and under
    /// TLS has said so. An end of the connection that is not announced there is an error, since
    /// anybody on the way could have made it (RFC 8446, section 6.1).
    pub(super) async fn read(&mut self) -> io::Result<Octets> {
        // A client that is silent for hours holds no buffer: the octets are read into the thread's,
        // and only those that came are kept.
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = match self {
                    Self::Clear(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                    Self::Secured(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                    Self::Gone => Poll::Ready(Err(gone())),
                };
                let came = read.map_ok(|()| Octets(buffer.filled().to_vec()));
                // What one client sends must not lie where the next one's is read.
                buffer.filled_mut().zeroize();
                came
            })
        })
        .await
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
        arrived(stream)
    }

    /// Tells whether the client has sent something that nobody has read, under TLS too.
    pub(super) fn has_unread(&self) -> bool {
        let socket = match self {
            Self::Clear(stream) => stream,
            Self::Secured(stream) => {
                let (socket, tls) = stream.get_ref();
                // Octets that were decrypted wait to be taken before more are read.
                if !tls.wants_read() {
                    return true;
                }
                socket
            }
            Self::Gone => return false,
        };
        arrived(socket) > 0
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
            server_name: connection.server_name().map(str::to_owned),
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
            while thrown < LINGER_OCTETS {
                match self.read().await?.len() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes only what is wiped when it is dropped.
    const fn wiped<T: ZeroizeOnDrop>(what: T) -> T {
        what
    }

    #[tokio::test]
    async fn octets_of_two_clients_do_not_mix_and_an_end_is_empty() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut ends = Vec::new();
        for _ in 0..2 {
            let client = TcpStream::connect(at).await.unwrap();
            ends.push((client, Stream::Clear(listener.accept().await.unwrap().0)));
        }
        for (said, (client, _)) in ["NOOP\r\n", "RSET with more\r\n"].into_iter().zip(&mut ends) {
            client.write_all(said.as_bytes()).await.unwrap();
        }
        let [(first, ours), (second, theirs)] = &mut ends[..] else { unreachable!() };
        let said = wiped(theirs.read().await.unwrap());
        assert_eq!(*said, *b"RSET with more\r\n");
        assert_eq!(*ours.read().await.unwrap(), *b"NOOP\r\n");
        first.shutdown().await.unwrap();
        assert_eq!(*ours.read().await.unwrap(), *b"");
        let long = vec![b'x'; PIECE + 1];
        second.write_all(&long).await.unwrap();
        let mut come = Vec::new();
        while come.len() < long.len() {
            let piece = theirs.read().await.unwrap();
            assert!((1..=PIECE).contains(&piece.len()));
            come.extend_from_slice(&piece);
        }
        assert_eq!(come, long);
    }
}
