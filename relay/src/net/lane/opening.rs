//! How a lane makes a connection: names, addresses, TLS and the login.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Lane, lock};
use crate::config::{NextHop, RouteTls};
use crate::delivery::action::End;
use crate::delivery::login::Credentials;
use crate::delivery::terms::{Terms, Timeouts};
use crate::delivery::throttle::Demand;
use crate::net::connection::{Connection, Ended};
use crate::net::tls_client::TlsClient;

/// How long an open connection waits for another message.
pub(in crate::net) const IDLE: Duration = Duration::from_secs(5);
/// How many messages a connection carries: enough to make its handshake cheap, few enough that
/// several hosts behind one name share the mail.
pub(in crate::net) const MESSAGES: u32 = 100;
/// For the answer to the final dot (RFC 5321, section 4.5.3.2.6).
pub const FINAL_DOT: Duration = Duration::from_secs(600);
/// For the answer to QUIT.
pub(in crate::net) const QUIT: Duration = Duration::from_secs(5);
/// How long a connection to one address may take to be made, and a name to be looked up.
pub(in crate::net) const CONNECT: Duration = Duration::from_secs(30);
/// The most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 16;

impl Lane {
    /// Opens a connection to a host. A login that is refused is tried once more if there are other
    /// credentials by now: a token may have ended before its time.
    pub(super) async fn open(&self, host: usize) -> Result<Connection, Ended> {
        self.make_way();
        let Some(login) = &self.login else { return self.open_with(host, None).await };
        let credentials = login.credentials().await.map_err(ended)?;
        match self.open_with(host, Some(credentials.clone())).await {
            Err(refused @ Ended { end: End::LoginRefused(_), .. }) => {
                match login.others(&credentials).await.map_err(ended)? {
                    Some(others) => self.open_with(host, Some(others)).await,
                    None => Err(refused),
                }
            }
            opened => opened,
        }
    }

    /// Opens a connection to a host, all of whose addresses are tried in order (RFC 5321, section
    /// 5.1), those that refused while another worked come last.
    async fn open_with(
        &self,
        host: usize,
        credentials: Option<Credentials>,
    ) -> Result<Connection, Ended> {
        let hop = self.hop(host);
        let tls = match self.route.tls {
            RouteTls::Required | RouteTls::Implicit | RouteTls::Opportunistic => {
                Some(self.trust.now().await.map_err(|words| ended(End::Ours(words)))?)
            }
            RouteTls::None => None,
        };
        let found = look_up(hop).await.map_err(unfit)?;
        let found = lock(&self.addresses)[host].in_order(found, Instant::now());
        let mut problem = unfit("the name has no address".to_owned());
        let mut failed = Vec::new();
        for address in found {
            match self.open_at(address, hop, tls.clone(), credentials.clone()).await {
                Ok(connection) => {
                    lock(&self.addresses)[host].learn(address, &failed, Instant::now());
                    return Ok(connection);
                }
                Err(ended) => {
                    // Other addresses are the same server: they would say the same.
                    if matches!(ended.end, End::LoginRefused(_) | End::Unproved(_))
                        || ended.demand != Demand::AsBefore
                    {
                        return Err(ended);
                    }
                    failed.push(address);
                    problem = ended;
                }
            }
        }
        Err(problem)
    }

    async fn open_at(
        &self,
        address: SocketAddr,
        hop: &NextHop,
        tls: Option<TlsClient>,
        credentials: Option<Credentials>,
    ) -> Result<Connection, Ended> {
        if self.route.tls == RouteTls::None && !address.ip().to_canonical().is_loopback() {
            return Err(unfit(format!(
                "{address} is not loopback, and the route has `tls = \"none\"`"
            )));
        }
        let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(stream) => stream.map_err(|error| unfit(at(hop, address, &error)))?,
            Err(_) => return Err(unfit(at(hop, address, &"no connection in time"))),
        };
        // Commands are written whole: holding back a small one only makes it late.
        stream.set_nodelay(true).map_err(|error| unfit(error.to_string()))?;
        let timeouts =
            Timeouts { reply: self.route.timeout, final_dot: FINAL_DOT, idle: IDLE, quit: QUIT };
        let terms = Terms {
            hostname: self.hostname.clone(),
            tls: self.route.tls,
            credentials,
            timeouts,
            messages: MESSAGES,
        };
        Connection::open(stream, hop.clone(), tls, terms).await
    }

    /// Ends the oldest waiting connection if another one would be more than the route may have.
    fn make_way(&self) {
        let in_use: usize = lock(&self.traffic)
            .views(Instant::now())
            .map(|view| usize::try_from(view.in_use).unwrap_or(usize::MAX))
            .sum();
        let mut idle = lock(&self.idle);
        if !idle.is_empty() && idle.len() + in_use > self.route.connections {
            let (_, connection) = idle.remove(0);
            tokio::spawn(connection.quit());
        }
    }
}

/// Says what happened at an address of a next hop, which has several unless it is named by it.
fn at(hop: &NextHop, address: SocketAddr, what: &dyn Display) -> String {
    if hop.host.parse() == Ok(address.ip()) {
        what.to_string()
    } else {
        format!("{address}: {what}")
    }
}

const fn unfit(words: String) -> Ended {
    ended(End::Unfit(words))
}

const fn ended(end: End) -> Ended {
    Ended { end, demand: Demand::AsBefore }
}

/// Looks up the addresses of `hop`, at most [`ADDRESSES_MAX`].
async fn look_up(hop: &NextHop) -> Result<Vec<SocketAddr>, String> {
    match timeout(CONNECT, lookup_host((hop.host.as_str(), hop.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES_MAX).collect()),
        Ok(Err(error)) => Err(format!("the name cannot be looked up: {error}")),
        Err(_) => Err("the name cannot be looked up in time".to_owned()),
    }
}
