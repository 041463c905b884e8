//! The status page at work: its listener, and another one where a reload moves it.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::api::page::{Page, Sources};
use crate::api::server::{self, Place};
use crate::config::{self, ClientCertificates, Config};
use crate::net::tls::ServerTls;

/// The server of `[page]`. It ends when this is dropped.
pub(super) struct StatusPage {
    sources: Sources,
    /// Certificate and key in force.
    tls: watch::Receiver<Arc<ServerTls>>,
    /// What is served, and by what; none: nothing is.
    told: Option<Told>,
    place: Place,
    serving: JoinSet<()>,
}

/// What a page depends on in the configuration.
#[derive(PartialEq)]
struct Told {
    page: config::Page,
    hostname: String,
}

impl StatusPage {
    /// Prepares a page that is made of `sources`.
    pub(super) fn new(sources: Sources, tls: watch::Receiver<Arc<ServerTls>>) -> Self {
        Self { sources, tls, told: None, place: Place::default(), serving: JoinSet::new() }
    }

    /// Serves the page as the configuration says from now on. If that fails all stays as it was.
    ///
    /// # Errors
    ///
    /// A sentence for the operator.
    pub(super) fn renew(&mut self, config: &Config) -> Result<(), String> {
        let hostname = || config.hostname.clone();
        let wanted = config.page.clone().map(|page| Told { page, hostname: hostname() });
        if self.told == wanted {
            return Ok(());
        }
        let mut serving = JoinSet::new();
        if let Some(page) = Page::new(config, self.sources.clone()) {
            let address = page.settings().address;
            let listener = self.place.listen(address).map_err(|error| {
                format!(
                    "page.address {address}: {error}: name another, or end what listens there \
                     (another address with the port of now takes a restart)"
                )
            })?;
            let router = page.router();
            if page.settings().is_secured() {
                let tls = self.tls.clone();
                let open = move |stream| secured(stream, tls.borrow().clone());
                serving.spawn(server::serve(listener, open, router));
            } else {
                serving.spawn(server::serve(listener, server::plain, router));
            }
            serving.spawn(async move { page.watch().await });
        } else {
            self.place.leave();
        }
        (self.told, self.serving) = (wanted, serving);
        Ok(())
    }
}

/// Begins TLS on a connection, with the certificate of now. That of the listeners names their own protocol,
/// which no browser speaks (RFC 7301).
async fn secured(stream: TcpStream, tls: Arc<ServerTls>) -> io::Result<TlsStream<TcpStream>> {
    let config = tls.current(ClientCertificates::None).ok_or(io::ErrorKind::NotConnected)?;
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config)).accept(stream).await
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::control::wire::RelayStatus;
    use crate::journal::Journal;
    use crate::net::conduct::Conduct;
    use crate::net::login::Logins;
    use crate::net::routes::Routes;
    use crate::spool::Spool;

    const SHIPPED: &str = include_str!("../../../config/sallyport.toml");

    fn relay() -> RelayStatus {
        RelayStatus {
            pid: 1,
            serving: true,
            guard: "guarded".into(),
            sessions: 0,
            spool: None,
            has_room: true,
            troubled: Vec::new(),
            sandbox: None,
        }
    }

    fn sources(folder: &std::path::Path) -> Sources {
        let journal = Journal::memory();
        let mut config = Config::parse(SHIPPED).unwrap();
        config.spool.path = folder.join("spool");
        let routes = Routes::new(&config, &journal, &Arc::default());
        let users = folder.join("users.toml");
        Sources {
            spool: Arc::new(Spool::open(&config.spool, |_| {}).unwrap()),
            logins: Logins::start(&users, journal.clone(), Conduct::without_gate()).unwrap(),
            journal,
            routes: watch::Sender::new(routes).subscribe(),
            relay: Arc::new(relay),
            open: watch::Sender::new(Arc::default()).subscribe(),
        }
    }

    /// Returns the configuration with the page there, for these viewers.
    fn config(folder: &std::path::Path, address: Option<SocketAddr>, viewers: &[&str]) -> Config {
        let mut config = Config::parse(SHIPPED).unwrap();
        let viewers: Vec<String> = viewers.iter().map(|viewer| (*viewer).to_owned()).collect();
        config.page = address.map(|address| config::Page { address, viewers, names: Vec::new() });
        config.gate.interfaces.clear();
        config.tls.certificate = folder.join("c.pem");
        config.tls.key = folder.join("k.pem");
        (config.tls.also, config.tls.client_ca) = (Vec::new(), None);
        config.listeners.truncate(1);
        config.listeners[0].client_certificates = ClientCertificates::None;
        config
    }

    fn free() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Asks for the page and returns the first line of the answer.
    async fn asked(address: SocketAddr) -> io::Result<String> {
        let ask = move || {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.lines().next().unwrap_or_default().to_owned())
        };
        spawn_blocking(ask).await.unwrap()
    }

    #[tokio::test]
    async fn the_page_follows_the_configuration_and_stays_if_the_new_address_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
        let shown = config(folder, None, &[]);
        let tls = ServerTls::load(&shown, Journal::memory()).unwrap();
        let tls = watch::Sender::new(Arc::new(tls));
        let mut page = StatusPage::new(sources(folder), tls.subscribe());
        let (first, second) = (free(), free());
        page.renew(&config(folder, Some(first), &[])).unwrap();
        assert_eq!(asked(first).await.unwrap(), "HTTP/1.1 200 OK");
        page.renew(&config(folder, Some(first), &["ops"])).unwrap();
        assert_eq!(asked(first).await.unwrap(), "HTTP/1.1 401 Unauthorized");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = config(folder, taken.local_addr().ok(), &[]);
        let problem = page.renew(&there).unwrap_err();
        assert!(problem.starts_with("page.address 127.0.0.1:"), "{problem}");
        assert_eq!(asked(first).await.unwrap(), "HTTP/1.1 401 Unauthorized", "it stays");
        page.renew(&config(folder, Some(second), &[])).unwrap();
        assert_eq!(asked(second).await.unwrap(), "HTTP/1.1 200 OK");
        page.renew(&config(folder, None, &[])).unwrap();
        // The old server ends when its task is looked at next.
        while asked(second).await.is_ok() {}
        assert!(asked(first).await.is_err());
    }
}
