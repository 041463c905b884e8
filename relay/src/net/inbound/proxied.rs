//! What a load balancer says of its client, before anything else on the connection.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::smtp::proxy::{HeaderFault, HeaderReader, Origin};

/// How long a proxy may take for its header. It knows it before it connects, and sends it at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Octets looked at a time.
const LOOK: usize = 512;

/// Why a connection of a proxy is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHeader {
    /// What came is no header.
    #[error(transparent)]
    Bad(#[from] HeaderFault),
    /// It did not come in time.
    #[error("the PROXY header does not come")]
    Late,
    /// The connection ended before, as with a health check that only connects.
    #[error("the connection ended")]
    Gone,
}

/// Reads the header, and not one octet of what follows it: that may be the first of a TLS handshake.
pub(super) async fn origin(socket: &mut TcpStream, patience: Duration) -> Result<Origin, NoHeader> {
    timeout(patience, read(socket)).await.unwrap_or(Err(NoHeader::Late))
}

async fn read(socket: &mut TcpStream) -> Result<Origin, NoHeader> {
    let mut reader = HeaderReader::default();
    let mut buffer = [0; LOOK];
    loop {
        let octets = socket.peek(&mut buffer).await.map_err(|_| NoHeader::Gone)?;
        if octets == 0 {
            return Err(NoHeader::Gone);
        }
        let mut rest = &buffer[..octets];
        let found = reader.read(&mut rest);
        let taken = octets - rest.len();
        socket.read_exact(&mut buffer[..taken]).await.map_err(|_| NoHeader::Gone)?;
        if let Some(found) = found {
            return Ok(found?);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (proxy, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_follows_the_header_stays_in_the_socket() {
        let (mut proxy, mut ours) = pair().await;
        proxy.write_all(b"PROXY UNKNOWN\r\n\x16\x03\x01").await.unwrap();
        assert_eq!(origin(&mut ours, PATIENCE).await, Ok(Origin::Connection));
        let mut next = [0; 3];
        ours.read_exact(&mut next).await.unwrap();
        assert_eq!(next, *b"\x16\x03\x01");
    }

    #[tokio::test]
    async fn a_header_in_pieces_is_waited_for_and_one_that_is_longer_than_a_look_too() {
        let (mut proxy, mut ours) = pair().await;
        let reading = tokio::spawn(async move { origin(&mut ours, PATIENCE).await });
        let mut header =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x07\xfb\xcb\x00\x71\x07\xc0\x00\x02\x01".to_vec();
        header.extend_from_slice(b"\xdc\x04\x09\xdd\x04\x07\xec");
        header.resize(header.len() + 0x07ec, 0xaa);
        for piece in header.chunks(9) {
            proxy.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let client = "203.0.113.7:56324".parse().unwrap();
        assert_eq!(reading.await.unwrap(), Ok(Origin::Client(client)));
    }

    #[tokio::test]
    async fn silence_and_half_a_header_have_their_deadline() {
        let (mut proxy, mut ours) = pair().await;
        let soon = Duration::from_millis(20);
        assert_eq!(origin(&mut ours, soon).await, Err(NoHeader::Late));
        proxy.write_all(b"PROXY TCP4 203.0.113.7").await.unwrap();
        assert_eq!(origin(&mut ours, soon).await, Err(NoHeader::Late));
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_fault() {
        let (proxy, mut ours) = pair().await;
        drop(proxy);
        assert_eq!(origin(&mut ours, PATIENCE).await, Err(NoHeader::Gone));
        let (mut proxy, mut ours) = pair().await;
        proxy.write_all(b"EHLO client.example.net\r\n").await.unwrap();
        let fault = NoHeader::Bad(HeaderFault::Missing);
        assert_eq!(origin(&mut ours, PATIENCE).await, Err(fault));
    }
}
