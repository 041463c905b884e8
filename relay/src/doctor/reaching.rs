//! Whether a connection to a next hop is made, and why not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::firewall::{Reading, stops_out};
use crate::config::NextHop;

/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(4);
/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// The port that providers close, and those where the same servers take mail with a login.
const RELAYING: u16 = 25;
const SUBMISSION: [u16; 2] = [587, 465];
/// How long another port of a host may take to answer.
const OTHER: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    Refused {
        /// Another port for mail of the same host that takes connections.
        other: Option<u16>,
    },
    Unreachable(String),
    Silent {
        /// The rule of this host that drops what we send.
        rule: Option<String>,
        /// Another port of it that answers.
        other: Option<u16>,
    },
}

/// Looks a next hop's name up.
pub(super) async fn addresses(hop: &NextHop, port: u16) -> Result<Vec<SocketAddr>, String> {
    match timeout(LOOK_UP, lookup_host((hop.host.as_str(), port))).await {
        Ok(Ok(found)) => {
            let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
            if found.is_empty() { Err("it has no address".to_owned()) } else { Ok(found) }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no name server answers in time".to_owned()),
    }
}

/// Connects to the first of these addresses that takes us; they are tried side by side.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    patience: Duration,
) -> Result<TcpStream, Missed> {
    let tried = addresses.iter().map(|address| timeout(patience, TcpStream::connect(address)));
    let mut missed = Missed::Silent { rule: None, other: None };
    for tried in join_all(tried).await {
        match tried {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                missed = Missed::Refused { other: None };
            }
            Ok(Err(error)) if error.kind() != io::ErrorKind::TimedOut => {
                missed = Missed::Unreachable(error.to_string());
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(missed)
}

/// Looks why there is no connection: our own rules, a service that does not run, or a provider that closes one port.
pub(super) async fn why_missed(
    missed: Missed,
    hop: &NextHop,
    addresses: &[SocketAddr],
    rules: &Reading,
) -> Missed {
    // What a rule of ours rejects looks like a refusal, or like no route.
    let rule = match addresses.first().copied() {
        Some(address) => {
            let rules = rules.clone();
            spawn_blocking(move || stops_out(&rules, address)).await.ok().flatten()
        }
        None => None,
    };
    match missed {
        Missed::Silent { .. } => {}
        Missed::Refused { .. } | Missed::Unreachable(_) if rule.is_some() => {}
        Missed::Unreachable(_) => return missed,
        Missed::Refused { .. } => {
            let ports = [SUBMISSION[0], SUBMISSION[1], RELAYING];
            let ports = ports.into_iter().filter(|port| *port != hop.port);
            return Missed::Refused { other: answering(ports, addresses, Shows::Service).await };
        }
    }
    let other = if rule.is_none() && hop.port == RELAYING {
        answering(SUBMISSION.into_iter(), addresses, Shows::Host).await
    } else {
        None
    };
    Missed::Silent { rule, other }
}

/// What an answer of another port is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// That the host is reached: a refusal shows it as well.
    Host,
    /// That its service runs.
    Service,
}

/// Returns the first of these ports of a host that answers.
async fn answering(
    ports: impl Iterator<Item = u16>,
    addresses: &[SocketAddr],
    shows: Shows,
) -> Option<u16> {
    for port in ports {
        let at: Vec<_> = addresses.iter().map(|one| SocketAddr::new(one.ip(), port)).collect();
        match (connect(&at, OTHER).await, shows) {
            (Ok(_), _) | (Err(Missed::Refused { .. }), Shows::Host) => return Some(port),
            (Err(Missed::Refused { .. }), Shows::Service)
            | (Err(Missed::Unreachable(_) | Missed::Silent { .. }), _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_answers_shows_a_service_only_if_it_takes_connections() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let missed = connect(&[closed], OTHER).await.unwrap_err();
        assert_eq!(missed, Missed::Refused { other: None });
        let ports = [closed.port(), open.local_addr().unwrap().port()];
        let found = async |shows| answering(ports.into_iter(), &[closed], shows).await;
        assert_eq!(found(Shows::Service).await, Some(ports[1]));
        assert_eq!(found(Shows::Host).await, Some(ports[0]));
    }
}
