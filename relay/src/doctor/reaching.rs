//! Whether a connection to a next hop is made, and why not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Case;
use super::firewall::{Owner, StopsOut, stops_out};
use super::lost::Lost;
use super::no_way::{Off, why_lost};
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
    /// Neither a refusal nor silence.
    Unreachable {
        to: IpAddr,
        /// What the kernel said.
        words: String,
        /// Why it sends nothing there; none if it does, so that another said so.
        lost: Option<Lost>,
        /// The interfaces that are off, whose routes went with them; those that are meant first.
        off: Vec<Off>,
    },
    Silent {
        /// The rule of this host that drops what we send, or what is answered.
        rule: Option<StopsOut>,
        /// Another port of it that answers.
        other: Option<u16>,
    },
    /// This rule stops whoever looks, and not the relay.
    OnlyUs(StopsOut),
}

/// A connection, and which addresses of the host take any.
pub(super) struct Taken {
    pub(super) stream: TcpStream,
    pub(super) at: Vec<SocketAddr>,
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

/// Connects to the first of these addresses that takes us; they are tried side by side. Where none does, says what
/// [weighs](weigh) most.
pub(super) async fn connect(addresses: &[SocketAddr], patience: Duration) -> Result<Taken, Failed> {
    let tried = addresses.iter().map(|address| timeout(patience, TcpStream::connect(address)));
    let (mut taken, mut failed) = (None::<Taken>, Vec::new());
    for (address, tried) in addresses.iter().zip(join_all(tried).await) {
        match tried {
            Ok(Ok(stream)) => match &mut taken {
                Some(taken) => taken.at.push(*address),
                None => taken = Some(Taken { stream, at: vec![*address] }),
            },
            Ok(Err(error)) => failed.push((*address, Some(error))),
            Err(_) => failed.push((*address, None)),
        }
    }
    taken.ok_or_else(|| weigh(&failed))
}

/// Why no address of a host took us, and which of them say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) missed: Missed,
    pub(super) at: Vec<SocketAddr>,
}

/// Returns what counts where every address failed, none by an error but by time. No way to one says nothing while
/// another is silent, or refuses: a host without IPv6 has none to any address of that kind.
fn weigh(failed: &[(SocketAddr, Option<io::Error>)]) -> Failed {
    let weight = |error: Option<&io::Error>| match error.map(io::Error::kind) {
        None | Some(io::ErrorKind::TimedOut) => 2,
        Some(io::ErrorKind::ConnectionRefused) => 1,
        Some(_) => 0,
    };
    let most = failed.iter().map(|(_, error)| weight(error.as_ref())).max().unwrap_or(2);
    let those = || failed.iter().filter(|(_, error)| weight(error.as_ref()) == most);
    let told = those().find_map(|(address, error)| Some((address.ip(), error.as_ref()?)));
    let missed = match (most, told) {
        (1, _) => Missed::Refused { other: None },
        (0, Some((to, error))) => {
            let words = error.to_string();
            Missed::Unreachable { to, words, lost: None, off: Vec::new() }
        }
        (_, _) => Missed::Silent { rule: None, other: None },
    };
    Failed { missed, at: those().map(|(address, _)| *address).collect() }
}

/// Looks why there is no connection: our own rules, a service that does not run, or a provider that closes one port.
pub(super) async fn why_missed(failed: Failed, hop: &NextHop, case: &Case) -> Missed {
    let Failed { missed, at } = failed;
    // What a rule of ours rejects looks like a refusal, or like no route. Each family has rules of its own.
    let stopped = stopped(&at, case).await;
    let rule = stopped.iter().find_map(|one| one.relay.clone());
    if let (None, Some(rule)) = (&rule, stopped.into_iter().find_map(|one| one.us)) {
        let user = &case.config.relay.user;
        return match Owner::relay(user) {
            Owner::Of(_) => Missed::OnlyUs(rule),
            Owner::Nobody | Owner::Unknown => {
                Missed::Silent { rule: Some(of_unknown(rule, user)), other: None }
            }
        };
    }
    // Where answers are dropped no refusal is heard.
    let is_silent = matches!(missed, Missed::Silent { .. });
    let rule = rule.filter(|rule| is_silent || !rule.drops_answers);
    match missed {
        Missed::Silent { .. } | Missed::OnlyUs(_) => {}
        Missed::Refused { .. } | Missed::Unreachable { .. } if rule.is_some() => {}
        Missed::Unreachable { to, words, .. } => {
            let links = case.links.clone();
            let guarded = case.is_guarded().then(|| case.config.gate.interfaces.clone());
            let guarded = guarded.unwrap_or_default();
            let looked =
                spawn_blocking(move || why_lost(to, &links, &guarded)).await.ok().flatten();
            let (lost, off) = looked.unzip();
            return Missed::Unreachable { to, words, lost, off: off.unwrap_or_default() };
        }
        Missed::Refused { .. } => {
            let ports = [SUBMISSION[0], SUBMISSION[1], RELAYING];
            let ports = ports.into_iter().filter(|port| *port != hop.port);
            return Missed::Refused { other: answering(ports, &at, Shows::Service).await };
        }
    }
    let other = if rule.is_none() && hop.port == RELAYING {
        answering(SUBMISSION.into_iter(), &at, Shows::Host).await
    } else {
        None
    };
    Missed::Silent { rule, other }
}

/// Of attempts to one address, the rule of this host that surely stops them.
struct Stopped {
    /// Those of the relay.
    relay: Option<StopsOut>,
    /// Those of whoever looks.
    us: Option<StopsOut>,
}

/// Asks the rules of this host, which may ask for the user, of attempts to these addresses.
async fn stopped(at: &[SocketAddr], case: &Case) -> Vec<Stopped> {
    let (rules, links, at) = (case.rules.clone(), case.links.clone(), at.to_vec());
    let user = case.config.relay.user.clone();
    let asked = spawn_blocking(move || {
        let (relay, us) = (Owner::relay(&user), Owner::this_process());
        let by = |address, owner| stops_out(&rules, address, &links, owner);
        let of = |address| Stopped { relay: by(address, relay), us: by(address, us) };
        at.into_iter().map(of).collect()
    });
    asked.await.unwrap_or_default()
}

/// Looks for a rule that stops the relay's attempts to addresses that take ours: to each of them.
pub(super) async fn stops_relay_alone(at: &[SocketAddr], case: &Case) -> Option<StopsOut> {
    let stopped = stopped(at, case).await;
    // One that should have stopped us too was misread.
    let are_stopped = stopped.iter().all(|one| one.relay.is_some() && one.us.is_none());
    let rule = stopped.into_iter().next().filter(|_| are_stopped)?.relay?;
    let user = &case.config.relay.user;
    let says = format!("{}; it is for the relay's user, {user}, and lets this one pass", rule.says);
    Some(StopsOut { says, ..rule })
}

/// Says of a rule that stops whoever looks that it may not stop the relay, whose user is not known here. A command would
/// let the wrong one past it.
fn of_unknown(rule: StopsOut, user: &str) -> StopsOut {
    StopsOut {
        says: format!("{}; for this user, as relay.user ({user}) is not known here", rule.says),
        remedy: format!(
            "getent passwd {user}  # make that user, or name another in relay.user, and ask again: a rule tells users from \
             one another"
        ),
        ..rule
    }
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
        match (connect(&at, OTHER).await.map_err(|failed| failed.missed), shows) {
            (Ok(_), _) | (Err(Missed::Refused { .. }), Shows::Host) => return Some(port),
            (Err(Missed::Refused { .. }), Shows::Service)
            | (Err(Missed::Unreachable { .. } | Missed::Silent { .. } | Missed::OnlyUs(_)), _) => {}
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
        let failed = connect(&[closed], OTHER).await.err().unwrap();
        assert_eq!(failed, Failed { missed: Missed::Refused { other: None }, at: vec![closed] });
        let ports = [closed.port(), open.local_addr().unwrap().port()];
        let found = async |shows| answering(ports.into_iter(), &[closed], shows).await;
        assert_eq!(found(Shows::Service).await, Some(ports[1]));
        assert_eq!(found(Shows::Host).await, Some(ports[0]));
    }

    #[test]
    fn no_way_to_one_address_hides_nothing_of_another() {
        let [v4, v6]: [SocketAddr; 2] =
            ["192.0.2.1:25", "[2001:db8::1]:25"].map(|text| text.parse().unwrap());
        let silent = || Missed::Silent { rule: None, other: None };
        let refused = || Missed::Refused { other: None };
        let no_way = || Some(io::ErrorKind::NetworkUnreachable);
        let no = || Some(io::ErrorKind::ConnectionRefused);
        let words = io::Error::from(io::ErrorKind::NetworkUnreachable).to_string();
        let lost = Missed::Unreachable { to: v4.ip(), words, lost: None, off: Vec::new() };
        for (of_v4, of_v6, missed, at) in [
            (None, no_way(), silent(), vec![v4]),
            (no_way(), None, silent(), vec![v6]),
            (None, no(), silent(), vec![v4]),
            (None, Some(io::ErrorKind::TimedOut), silent(), vec![v4, v6]),
            (no(), no_way(), refused(), vec![v4]),
            (no(), no(), refused(), vec![v4, v6]),
            (no_way(), no_way(), lost, vec![v4, v6]),
        ] {
            let failed = [(v4, of_v4), (v6, of_v6)];
            let failed = failed.map(|(address, kind)| (address, kind.map(io::Error::from)));
            assert_eq!(weigh(&failed), Failed { missed, at }, "{failed:?}");
        }
    }

    #[test]
    fn a_rule_for_users_is_no_reason_for_a_command_where_the_relays_is_not_known() {
        let rule = StopsOut { says: "rule 7".into(), remedy: "x".into(), drops_answers: false };
        let told = of_unknown(rule, "nobody-here");
        assert!(told.says.starts_with("rule 7; for this user, as relay.user"), "{}", told.says);
        assert!(told.remedy.starts_with("getent passwd nobody-here"), "{}", told.remedy);
    }
}
