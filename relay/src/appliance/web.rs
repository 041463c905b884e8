//! What the relay tells over HTTP, and where.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api::health::{self, Gate, Look};
use crate::api::server;
use crate::config::{Config, Metrics};

/// The HTTP server of `[metrics]`. It ends when this is dropped.
pub(super) struct Web {
    relay: Look,
    gate: Arc<Gate>,
    told: Option<Metrics>,
    serving: JoinSet<()>,
}

impl Web {
    /// Prepares what is told: how the relay is, and the gate behind its control socket.
    pub(super) fn new(config: &Config, relay: Look) -> Self {
        let gate = &config.gate;
        let socket = (!gate.interfaces.is_empty()).then(|| gate.socket.clone());
        let gate = Arc::new(Gate::behind(socket));
        Self { relay, gate, told: None, serving: JoinSet::new() }
    }

    /// Listens where the configuration says from now on. If that fails all stays as it was.
    ///
    /// # Errors
    ///
    /// A sentence for the operator.
    pub(super) fn renew(&mut self, config: &Config) -> Result<(), String> {
        if self.told == config.metrics {
            return Ok(());
        }
        let listener = config.metrics.as_ref().map(|metrics| bind(metrics.address)).transpose()?;
        self.serving = JoinSet::new();
        if let Some(listener) = listener {
            self.serving.spawn(server::serve(listener, server::plain, self.pages()));
        }
        self.told.clone_from(&config.metrics);
        Ok(())
    }

    fn pages(&self) -> Router {
        health::pages(Arc::clone(&self.relay), Arc::clone(&self.gate))
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    server::bind(address).map_err(|error| {
        format!(
            "metrics.address {address}: {error}: name another, or end what listens there (another \
             address with the port of now takes a restart)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the configuration with this address.
    fn config(address: Option<SocketAddr>) -> Config {
        let mut config = Config::parse(include_str!("../../../config/sallyport.toml")).unwrap();
        config.metrics = address.map(|address| Metrics { address });
        config
    }

    /// Tells whether somebody listens.
    fn listens(address: SocketAddr) -> bool {
        std::net::TcpStream::connect(address).is_ok()
    }

    /// Returns an address that nobody listens on.
    fn free() -> SocketAddr {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_address_follows_the_configuration_and_stays_if_the_new_one_is_taken() {
        let look: Look = Arc::new(|| unreachable!("nobody asks"));
        let mut web = Web::new(&config(None), look);
        let (first, second) = (free(), free());
        web.renew(&config(Some(first))).unwrap();
        assert!(listens(first));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let problem = web.renew(&config(taken.local_addr().ok())).unwrap_err();
        assert!(problem.contains("name another"), "{problem}");
        assert!(listens(first), "the old one stays");
        web.renew(&config(Some(second))).unwrap();
        assert!(listens(second));
        web.renew(&config(None)).unwrap();
        // The old server ends when its task is looked at next.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!listens(second));
    }
}
