//! What the relay tells over HTTP, and where.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::gate::telling::guarded_ports;
use super::guard::Watched;
use crate::alert::listing::{Fares, Open};
use crate::api::health::{self, Gate, Look};
use crate::api::metrics::{self, Sources};
use crate::api::server::{self, Place};
use crate::config::{Config, Metrics};
use crate::meter::Meter;
use crate::net::routes::Routes;
use crate::spool::Spool;

/// What the pages are made of.
pub(super) struct Rooms {
    /// Tells how the relay is.
    pub relay: Look,
    /// What the relay sees of the gate.
    pub watched: Watched,
    pub spool: Arc<Spool>,
    /// Those of the configuration in force.
    pub routes: watch::Receiver<Arc<Routes>>,
    pub meter: Arc<Meter>,
    /// The open troubles.
    pub open: Open,
    /// How the channels of alerts fare.
    pub fares: Fares,
}

/// What of the configuration is told, and where.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    metrics: Metrics,
    certificates: Vec<PathBuf>,
}

/// The HTTP server of `[metrics]`. It ends when this is dropped.
pub(super) struct Web {
    rooms: Rooms,
    gate: Arc<Gate>,
    ports: Vec<u16>,
    started_at: Timestamp,
    told: Option<Told>,
    place: Place,
    serving: JoinSet<()>,
}

impl Web {
    /// Prepares what is told.
    pub(super) fn new(config: &Config, rooms: Rooms) -> Self {
        let gate = &config.gate;
        let socket = (!gate.interfaces.is_empty()).then(|| gate.socket.clone());
        Self {
            rooms,
            gate: Arc::new(Gate::behind(socket)),
            ports: guarded_ports(config),
            started_at: Timestamp::now(),
            told: None,
            place: Place::default(),
            serving: JoinSet::new(),
        }
    }

    /// Tells what the configuration says, and where, from now on. If that fails all stays as it was.
    ///
    /// # Errors
    ///
    /// A sentence for the operator.
    pub(super) fn renew(&mut self, config: &Config) -> Result<(), String> {
        let certificates = certificates(config);
        let wanted = config.metrics.clone().map(|metrics| Told { metrics, certificates });
        if self.told == wanted {
            return Ok(());
        }
        let mut serving = JoinSet::new();
        if let Some(wanted) = &wanted {
            let address = wanted.metrics.address;
            let listener = self.place.listen(address).map_err(|error| {
                format!(
                    "metrics.address {address}: {error}: name another, or end what listens there \
                     (another address with the port of now takes a restart)"
                )
            })?;
            serving.spawn(server::serve(listener, server::plain, self.pages(wanted)));
        } else {
            self.place.leave();
        }
        (self.told, self.serving) = (wanted, serving);
        Ok(())
    }

    fn pages(&self, told: &Told) -> Router {
        let Rooms { relay, watched, spool, routes, meter, open, fares } = &self.rooms;
        let (watched, ports) = (watched.clone(), self.ports.clone());
        let sources = Sources {
            relay: Arc::clone(relay),
            gate: Arc::clone(&self.gate),
            survey: Arc::new(move |most| watched.survey(&ports, most)),
            entries: told.metrics.entries,
            spool: Arc::clone(spool),
            routes: routes.clone(),
            meter: Arc::clone(meter),
            open: open.clone(),
            fares: fares.clone(),
            certificates: told.certificates.clone(),
            started_at: self.started_at,
        };
        health::pages(Arc::clone(relay), Arc::clone(&self.gate)).merge(metrics::page(sources))
    }
}

/// Returns the files of our certificates, towards clients and towards next hops.
fn certificates(config: &Config) -> Vec<PathBuf> {
    let tls = &config.tls;
    let also = tls.also.iter().map(|also| &also.certificate);
    let own = config.routes.iter().filter_map(|route| route.certificate.as_ref());
    let own = own.map(|own| &own.certificate);
    let mut files: Vec<PathBuf> =
        [&tls.certificate].into_iter().chain(also).chain(own).cloned().collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    /// Returns the configuration with this address.
    fn config(address: Option<SocketAddr>) -> Config {
        let mut config = Config::parse(include_str!("../../../config/sallyport.toml")).unwrap();
        config.metrics = address.map(|address| Metrics { address, entries: 10 });
        config
    }

    /// Returns the rooms of a relay without mail.
    fn rooms(folder: &std::path::Path) -> Rooms {
        let mut config = config(None);
        config.spool.path = folder.join("spool");
        let journal = crate::journal::Journal::memory();
        let register = crate::net::register::Register::open(folder).unwrap();
        let routes = Routes::new(&config, &journal, &Arc::new(register));
        Rooms {
            relay: Arc::new(|| unreachable!("nobody asks")),
            watched: Watched::new(&config),
            spool: Arc::new(Spool::open(&config.spool, |_| {}).unwrap()),
            routes: watch::Sender::new(routes).subscribe(),
            meter: Arc::clone(journal.meter()),
            open: watch::Sender::new(Arc::default()).subscribe(),
            fares: watch::Sender::new(Arc::default()).subscribe(),
        }
    }

    /// Tells whether somebody listens.
    fn listens(address: SocketAddr) -> bool {
        std::net::TcpStream::connect(address).is_ok()
    }

    /// Returns an address that nobody listens on.
    fn free() -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_address_follows_the_configuration_and_stays_if_the_new_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut web = Web::new(&config(None), rooms(folder.path()));
        let (first, second) = (free(), free());
        web.renew(&config(Some(first))).unwrap();
        assert!(listens(first));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let problem = web.renew(&config(taken.local_addr().ok())).unwrap_err();
        assert!(problem.contains("name another"), "{problem}");
        assert!(listens(first), "the old one stays");
        web.renew(&config(Some(second))).unwrap();
        assert!(listens(second));
        let mut fewer = config(Some(second));
        fewer.metrics = Some(Metrics { address: second, entries: 0 });
        web.renew(&fewer).unwrap();
        assert!(listens(second), "the same socket is served anew");
        web.renew(&config(None)).unwrap();
        // The old server ends when its task is looked at next.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!listens(second));
    }
}
