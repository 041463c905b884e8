//! Answers the authority's proofs on port 80 (RFC 8555, section 8.3) while an order runs, and nothing else.
//!
//! Everybody can reach it, and it runs as root: it reads one bounded head of a request, compares its first line, and
//! tells whoever asks for anything else that there is no such thing. Nobody keeps others out by being slow.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::bound::bound;
use crate::policy::conduct::Source;

/// Where proofs are (RFC 8555, section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// The longest head of a request, octets.
const HEAD_MAX: usize = 4096;
/// The most that is read of one connection, octets: a head, and as much of what nobody asked for.
const READ_MAX: usize = 2 * HEAD_MAX;
/// The longest that the head of a request takes, and then the reply with its end.
const WITHIN: Duration = Duration::from_secs(2);
/// How long the next connection waits after one that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// The most connections at a time. The oldest makes way for another one: whoever sends nothing keeps nobody out, and
/// an authority sends its request at once.
const CONNECTIONS_MAX: usize = 256;
/// The most of them from one address, of IPv6 from one /64. An authority asks for each name of a certificate.
const OF_SOURCE_MAX: usize = 16;
/// Connections that wait for a place.
const BACKLOG: i32 = 1024;
/// What is said to whoever asks for anything else.
const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What requests come by.
trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<C: AsyncRead + AsyncWrite + Unpin> Connection for C {}

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

/// The connections that are answered, the oldest first.
#[derive(Default)]
struct Places {
    taken: VecDeque<(Source, AbortHandle)>,
    answering: JoinSet<()>,
}

impl Places {
    /// Answers a connection; which one makes way for it, [`leaving`] says.
    fn take(&mut self, source: Source, answered: impl Future<Output = ()> + Send + 'static) {
        while self.answering.try_join_next().is_some() {}
        self.taken.retain(|(_, task)| !task.is_finished());
        let sources = self.taken.iter().map(|(source, _)| *source);
        if let Some((_, task)) = leaving(sources, source).and_then(|at| self.taken.remove(at)) {
            task.abort();
        }
        self.taken.push_back((source, self.answering.spawn(answered)));
    }
}

/// Returns the place of the connection that makes way for another one, where those that are there have these sources,
/// the oldest first; none: there is room.
fn leaving(taken: impl ExactSizeIterator<Item = Source> + Clone, source: Source) -> Option<usize> {
    let mut own = taken.clone().enumerate().filter(|(_, other)| *other == source).map(|(at, _)| at);
    let oldest = own.next();
    // One is counted already.
    if own.count() + 1 >= OF_SOURCE_MAX {
        oldest
    } else {
        (taken.len() >= CONNECTIONS_MAX).then_some(0)
    }
}

/// Answers until it is dropped; its connections end with it.
pub(super) async fn serve(listener: TcpListener, proofs: Proofs) {
    let mut places = Places::default();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // A connection that broke before it was accepted is nobody's; want of descriptors passes.
            sleep(PAUSE).await;
            continue;
        };
        let proofs = proofs.clone();
        places.take(Source::of(peer.ip(), None), async move {
            // Who is slow, or gone, gets no answer.
            let _ = answer(stream, &proofs).await;
        });
        // What has come already is answered before it could have to make way.
        yield_now().await;
    }
}

async fn answer(mut stream: impl Connection, proofs: &Proofs) -> io::Result<()> {
    let head = timeout(WITHIN, head(&mut stream)).await??;
    let reply = if is_whole(&head) { proofs.reply(&head) } else { NOTHING.to_owned() };
    timeout(WITHIN, end(stream, &reply, READ_MAX - head.len())).await?
}

/// Reads the head of a request; what is not whole is too long, or has an end too early.
async fn head(stream: &mut impl Connection) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !is_whole(&head) && head.len() < HEAD_MAX {
        let left = u64::try_from(HEAD_MAX - head.len()).unwrap_or(0);
        if (&mut *stream).take(left).read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Replies and ends, after at most `left` more octets.
async fn end(mut stream: impl Connection, reply: &str, left: usize) -> io::Result<()> {
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // What was sent and never read would turn the end into a reset, which may overtake the reply.
    let left = u64::try_from(left).unwrap_or(0);
    copy(&mut stream.take(left), &mut sink()).await.map(drop)
}

/// Tells whether the head has its end.
fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|four| four == b"\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, split};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

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

    #[test]
    fn the_oldest_makes_way_and_of_one_address_its_own_oldest() {
        let of = |number: usize| {
            let octets = u16::try_from(number).unwrap().to_be_bytes();
            Source::of([192, 0, octets[0], octets[1]].into(), None)
        };
        let six = |text: &str| Source::of(text.parse().unwrap(), None);
        let few = |count: usize| vec![of(1); count];
        let others: Vec<_> = (2..CONNECTIONS_MAX + 2).map(of).collect();
        let full = [few(OF_SOURCE_MAX - 1), others.clone()].concat();
        let last = [others[..9].to_vec(), few(OF_SOURCE_MAX)].concat();
        let network = vec![six("2001:db8::1"); OF_SOURCE_MAX];
        for (row, taken, source, wanted) in [
            ("nobody is there", vec![], of(1), None),
            ("room for one more of it", few(OF_SOURCE_MAX - 1), of(1), None),
            ("as many of it as may be", few(OF_SOURCE_MAX), of(1), Some(0)),
            ("another is older", last.clone(), of(1), Some(9)),
            ("room for another", last, of(1000), None),
            ("all are there", others, of(1), Some(0)),
            ("all, and few of it", full[..CONNECTIONS_MAX].to_vec(), of(1), Some(0)),
            ("its /64", network.clone(), six("2001:db8::2"), Some(0)),
            ("another /64", network, six("2001:db8:0:1::1"), None),
            ("IPv4 by a socket of both", few(OF_SOURCE_MAX), six("::ffff:192.0.0.1"), Some(0)),
        ] {
            assert_eq!(leaving(taken.into_iter(), source), wanted, "{row}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_silent_keeps_nobody_out() {
        let (mut places, source) = (Places::default(), Source::of([192, 0, 2, 1].into(), None));
        let mut connect = || {
            let (client, server) = duplex(1024);
            let answered = async move { drop(answer(server, &proofs()).await) };
            places.take(source, answered);
            client
        };
        let began = Instant::now();
        let mut silent: Vec<_> = (0..2 * OF_SOURCE_MAX).map(|_| connect()).collect();
        let mut last = connect();
        let request = b"GET / HTTP/1.1\r\n\r\n";
        last.write_all(request).await.unwrap();
        let mut said = String::new();
        last.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, NOTHING);
        // The oldest made way, without a word.
        for (place, early) in silent[..=OF_SOURCE_MAX].iter_mut().enumerate() {
            let mut said = Vec::new();
            early.read_to_end(&mut said).await.unwrap();
            assert_eq!(said, b"", "{place}");
        }
        // The others are heard, as long as they have time.
        for late in &mut silent[OF_SOURCE_MAX + 1..] {
            late.write_all(request).await.unwrap();
            let mut said = String::new();
            late.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, NOTHING);
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "somebody was waited for");
    }

    #[tokio::test]
    async fn of_what_nobody_asked_for_no_more_is_read_than_is_said() {
        let room = 512;
        let (client, server) = duplex(room);
        let (mut from, mut to) = split(client);
        let send = async {
            let mut taken = 0;
            while let Ok(octets @ 1..) = to.write(&[b'a'; 64]).await {
                taken += octets;
            }
            taken
        };
        let mut said = String::new();
        let proofs = proofs();
        let (answered, taken, heard) =
            tokio::join!(answer(server, &proofs), send, from.read_to_string(&mut said));
        answered.unwrap();
        heard.unwrap();
        assert_eq!(said, NOTHING);
        assert!((READ_MAX..=READ_MAX + room).contains(&taken), "{taken}");
    }
}
