//! Answers the authority's proofs on port 80 (RFC 8555, section 8.3) while an order runs, and nothing else.
//!
//! Everybody can reach it, and it runs as root: it reads one bounded head of a request, compares its first line, and
//! tells whoever asks for anything else that there is no such thing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::bound::bound;

/// Where proofs are (RFC 8555, section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// The longest head of a request, octets.
const HEAD_MAX: usize = 4096;
/// The longest that a connection takes.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the next connection waits after one that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// The most connections at a time. Others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Connections that wait for a place.
const BACKLOG: i32 = 1024;
/// What is said to whoever asks for anything else.
const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The proofs of an order: what is answered, by token.
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs(Arc<Mutex<BTreeMap<String, String>>>);

impl Proofs {
    /// Answers `token` by `proof` from now on.
    pub(super) fn add(&self, token: String, proof: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token, proof);
    }

    /// Returns the reply to the head of a request.
    fn reply(&self, head: &[u8]) -> String {
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(proof) = token(head).and_then(|token| proofs.get(token)) else {
            return NOTHING.to_owned();
        };
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: \
             close\r\n\r\n{proof}",
            proof.len()
        )
    }
}

/// Returns the token that a request asks for: GET, its path and nothing behind it, by HTTP/1.
fn token(head: &[u8]) -> Option<&str> {
    let line = head.split(|octet| *octet == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let target = line.strip_prefix("GET ")?;
    let target = target.strip_suffix(" HTTP/1.1").or_else(|| target.strip_suffix(" HTTP/1.0"))?;
    let token = target.strip_prefix(PATH)?;
    let is_of_it = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    token.bytes().all(is_of_it).then_some(token)
}

/// Listens at an address, as the gate does: `[::]` takes IPv4 too, whatever net.ipv6.bindv6only says.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers until it is dropped; its connections end with it.
pub(super) async fn serve(listener: TcpListener, proofs: Proofs) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = Arc::clone(&room).acquire_owned().await;
        let place = place.expect("invariant: the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            // A connection that broke before it was accepted is nobody's; want of descriptors passes.
            sleep(PAUSE).await;
            continue;
        };
        let proofs = proofs.clone();
        connections.spawn(async move {
            // Who is slow, or gone, gets no answer.
            let _ = timeout(WITHIN, answer(stream, &proofs)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, proofs: &Proofs) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !is_whole(&head) && head.len() < HEAD_MAX {
        let left = u64::try_from(HEAD_MAX - head.len()).unwrap_or(0);
        if (&mut stream).take(left).read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let reply = if is_whole(&head) { proofs.reply(&head) } else { NOTHING.to_owned() };
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // What was sent and never read would turn the end into a reset, which may overtake the reply.
    let mut rest = [0; 1024];
    let mut left = HEAD_MAX;
    while left > 0 {
        match stream.read(&mut rest).await? {
            0 => break,
            octets => left = left.saturating_sub(octets),
        }
    }
    Ok(())
}

/// Tells whether the head has its end.
fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|four| four == b"\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs() -> Proofs {
        let proofs = Proofs::default();
        proofs.add("tok-en_1".into(), "tok-en_1.thumb".into());
        proofs
    }

    #[test]
    fn only_the_token_of_an_order_is_answered() {
        for (row, head, is_answered) in [
            (
                "the proof",
                "GET /.well-known/acme-challenge/tok-en_1 HTTP/1.1\r\nHost: x\r\n\r\n",
                true,
            ),
            ("HTTP/1.0", "GET /.well-known/acme-challenge/tok-en_1 HTTP/1.0\r\n\r\n", true),
            ("another token", "GET /.well-known/acme-challenge/tok-en_2 HTTP/1.1\r\n\r\n", false),
            ("no token", "GET /.well-known/acme-challenge/ HTTP/1.1\r\n\r\n", false),
            ("a query", "GET /.well-known/acme-challenge/tok-en_1?x HTTP/1.1\r\n\r\n", false),
            ("above it", "GET /.well-known/acme-challenge/../tok-en_1 HTTP/1.1\r\n\r\n", false),
            ("the root", "GET / HTTP/1.1\r\n\r\n", false),
            ("another verb", "POST /.well-known/acme-challenge/tok-en_1 HTTP/1.1\r\n\r\n", false),
            ("small letters", "get /.well-known/acme-challenge/tok-en_1 HTTP/1.1\r\n\r\n", false),
            ("no version", "GET /.well-known/acme-challenge/tok-en_1\r\n\r\n", false),
            ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
            (
                "an address",
                "GET http://x/.well-known/acme-challenge/tok-en_1 HTTP/1.1\r\n\r\n",
                false,
            ),
            ("nothing", "\r\n\r\n", false),
        ] {
            let reply = proofs().reply(head.as_bytes());
            if is_answered {
                assert!(reply.ends_with("\r\n\r\ntok-en_1.thumb"), "{row}: {reply}");
                assert!(reply.contains("\r\nContent-Length: 14\r\n"), "{row}: {reply}");
            } else {
                assert_eq!(reply, NOTHING, "{row}");
            }
        }
        assert_eq!(proofs().reply(b"GET /\xff HTTP/1.1\r\n\r\n"), NOTHING, "no text");
    }

    /// Sends octets to a responder and returns all that comes back.
    async fn ask(address: SocketAddr, octets: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn whatever_is_sent_gets_one_reply_and_the_end() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, proofs()));
        let right = b"GET /.well-known/acme-challenge/tok-en_1 HTTP/1.1\r\n\r\n";
        assert!(ask(address, right).await.ends_with("tok-en_1.thumb"));
        let long = [b"GET /", [b'a'; HEAD_MAX].as_slice()].concat();
        let twice = [right.as_slice(), right.as_slice()].concat();
        for (row, octets, wanted) in [
            ("a head without end", &b"GET / HTTP/1.1\r\nA: b"[..], NOTHING),
            ("a head that is too long", &long, NOTHING),
            ("zeros", &[0; 512], NOTHING),
            ("a handshake of TLS", &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], NOTHING),
        ] {
            assert_eq!(ask(address, octets).await, wanted, "{row}");
        }
        assert_eq!(ask(address, &twice).await.matches("HTTP/1.1").count(), 1, "a second request");
        serving.abort();
    }

    #[tokio::test]
    async fn more_connections_than_there_is_room_for_wait_and_are_answered() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, proofs()));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let asked = tokio::spawn(ask(address, b"GET / HTTP/1.1\r\n\r\n"));
        silent.pop();
        assert_eq!(asked.await.unwrap(), NOTHING);
        serving.abort();
    }
}
