//! The stream under a connection, in the clear or under TLS, and what is on its way through it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::delivery::login::Secret;

pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Given up: no octet passes any more.
    Gone,
}

/// What is to be sent, and how far that has got.
pub(super) enum Outgoing {
    Nothing,
    Octets {
        octets: Secret,
        sent: usize,
    },
    /// All is written and may lie in a buffer of TLS.
    Unflushed,
    /// Nothing leaves any more. What the next hop said before may still be there to read.
    Failed,
}

pub(super) enum Moved {
    Read(usize),
    Wrote(usize),
    Flushed,
}

/// Which way octets were to move when it failed.
pub(super) enum Direction {
    In,
    Out,
}

impl Outgoing {
    pub(super) fn advance(&mut self, count: usize) {
        if let Self::Octets { octets, sent } = self {
            *sent += count;
            if *sent >= octets.len() {
                *self = Self::Unflushed;
            }
        }
    }
}

impl Stream {
    /// Writes, flushes or reads, in this order: an answer that is read was not given before the
    /// octets it answers had left us.
    pub(super) fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        outgoing: &Outgoing,
        incoming: &mut [u8],
    ) -> Poll<Result<Moved, (Direction, io::Error)>> {
        let out = match outgoing {
            Outgoing::Octets { octets, sent } => {
                Pin::new(&mut *self).poll_write(context, &octets[*sent..]).map_ok(Moved::Wrote)
            }
            Outgoing::Unflushed => {
                Pin::new(&mut *self).poll_flush(context).map_ok(|()| Moved::Flushed)
            }
            Outgoing::Nothing | Outgoing::Failed => Poll::Pending,
        };
        if let Poll::Ready(out) = out {
            return Poll::Ready(out.map_err(|error| (Direction::Out, error)));
        }
        let mut buffer = ReadBuf::new(incoming);
        let read = Pin::new(self).poll_read(context, &mut buffer);
        read.map_ok(|()| Moved::Read(buffer.filled().len())).map_err(|error| (Direction::In, error))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
