//! An HTTP/1.1 server for few callers: one loop that accepts, a task for each connection.
//!
//! It ends when it is dropped, and its connections with it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many connections are served at a time; others wait in the socket's backlog.
pub const CONNECTIONS_MAX: usize = 64;

/// The largest body of a request that is read, octets.
pub const BODY_MAX: usize = 64 << 10;

/// The largest head of a request, octets.
const HEAD_MAX: usize = 32 << 10;

/// How long a connection may take for what must come before requests, and for the reply to what is wrong.
const OPENING: Duration = Duration::from_secs(10);

/// How long a caller may take for the head of a request, the silence before it included.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection may last. What is under way then is given [`LAST`].
const LIFE: Duration = Duration::from_secs(600);

/// How long the last answer of a connection may take.
const LAST: Duration = Duration::from_secs(30);

/// How long the loop waits when the process has no descriptor for another connection.
const BREATHER: Duration = Duration::from_millis(100);

/// Who asks; handlers take it as an `Extension`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor(pub SocketAddr);

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
struct Patience {
    opening: Duration,
    head: Duration,
    life: Duration,
    last: Duration,
}

const PATIENCE: Patience = Patience { opening: OPENING, head: HEAD, life: LIFE, last: LAST };

/// Where a server listens. The socket stays while the address does, whatever else changes, so that no caller is
/// refused meanwhile.
#[derive(Debug, Default)]
pub struct Place {
    held: Option<(SocketAddr, std::net::TcpListener)>,
}

impl Place {
    /// Listens on an address, with the socket of now if it is the same. If that fails the socket of now stays.
    ///
    /// # Errors
    ///
    /// What the operating system says: the address is taken, or not of this host.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = match &self.held {
            Some((now, socket)) if *now == address => socket.try_clone()?,
            Some(_) | None => {
                let socket = std::net::TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                self.held = Some((address, socket.try_clone()?));
                socket
            }
        };
        TcpListener::from_std(socket)
    }

    /// Closes the socket, once its servers have ended.
    pub fn leave(&mut self) {
        self.held = None;
    }
}

/// Leaves a connection as it is: HTTP in the clear.
///
/// # Errors
///
/// None.
pub async fn plain(stream: TcpStream) -> io::Result<TcpStream> {
    std::future::ready(Ok(stream)).await
}

/// Serves `router` for ever. `open` makes of an accepted connection what HTTP is spoken over, such as TLS;
/// see [`plain`].
pub async fn serve<O, F, S>(listener: TcpListener, open: O, router: Router)
where
    O: Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_with(listener, open, router, PATIENCE).await;
}

async fn serve_with<O, F, S>(listener: TcpListener, open: O, router: Router, patience: Patience)
where
    O: Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(DefaultBodyLimit::max(BODY_MAX));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let Ok((stream, visitor)) = listener.accept().await else {
            tokio::time::sleep(BREATHER).await;
            continue;
        };
        let (open, router) = (open.clone(), router.clone().layer(Extension(Visitor(visitor))));
        connections.spawn(async move {
            if let Ok(Ok(stream)) = timeout(patience.opening, open(stream)).await {
                converse(stream, router, patience).await;
            }
            drop(place);
        });
    }
}

/// Answers the requests of one connection. How it ends is the caller's business.
async fn converse<S>(stream: S, router: Router, patience: Patience)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(HEAD_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    if timeout(patience.life, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(patience.last, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Serves a page that names its visitor.
    fn serving(patience: Patience) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Place::default().listen(address).unwrap();
        let address = listener.local_addr().unwrap();
        let page = |Extension(Visitor(visitor)): Extension<Visitor>| async move {
            format!("for {}", visitor.port())
        };
        let router = Router::new().route("/", get(page));
        (address, tokio::spawn(serve_with(listener, plain, router, patience)))
    }

    /// Reads to the end of a page.
    async fn answer(stream: &mut TcpStream) -> String {
        let (mut text, wanted) =
            (Vec::new(), format!("for {}", stream.local_addr().unwrap().port()));
        while !String::from_utf8_lossy(&text).ends_with(&wanted) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{text:?}");
        }
        String::from_utf8(text).unwrap()
    }

    /// Waits until the server closes; returns what it said before.
    async fn last_words(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        while stream.read_buf(&mut text).await.is_ok_and(|octets| octets > 0) {}
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests_and_ends_with_the_server() {
        let (address, server) = serving(PATIENCE);
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..3 {
            stream.write_all(ASK).await.unwrap();
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
        }
        server.abort();
        assert_eq!(last_words(&mut stream).await, "");
    }

    #[tokio::test]
    async fn who_is_silent_or_slow_or_stays_too_long_is_closed() {
        let soon = Duration::from_millis(50);
        let rows = [
            ("silent", Patience { head: soon, ..PATIENCE }, &b""[..]),
            ("slow", Patience { head: soon, ..PATIENCE }, b"GET / HT"),
            ("silent after an answer", Patience { head: soon, ..PATIENCE }, ASK),
            ("there for long", Patience { life: soon, ..PATIENCE }, ASK),
        ];
        for (name, patience, sent) in rows {
            let (address, server) = serving(patience);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent).await.unwrap();
            let words = timeout(Duration::from_secs(20), last_words(&mut stream)).await;
            assert!(words.is_ok(), "{name}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, server) = serving(PATIENCE);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD_MAX + 1));
        // The server may close before it has all.
        let _ = stream.write_all(head.as_bytes()).await;
        let words = last_words(&mut stream).await;
        assert!(words.is_empty() || words.starts_with("HTTP/1.1 431"), "{words}");
        server.abort();
    }

    #[tokio::test]
    async fn beyond_the_most_connections_callers_wait_for_a_place() {
        let (address, server) = serving(PATIENCE);
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(ASK).await.unwrap();
            answer(&mut stream).await;
            held.push(stream);
        }
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(ASK).await.unwrap();
        let waits = timeout(Duration::from_millis(50), answer(&mut late)).await;
        assert!(waits.is_err());
        held.pop();
        assert!(answer(&mut late).await.contains(" 200 "));
        server.abort();
    }
}
