//! The next hops: their names, the way to them, their certificates, our login there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use tokio::time::timeout;

use super::firewall::Owner;
use super::no_way::unreachable;
use super::reaching::{Missed, Taken, addresses, connect, stops_relay_alone, why_missed};
use super::routes::{Chosen, chosen};
use super::{Case, Cause, Finding, Looked, files};
use crate::config::{NextHop, Route, RouteTls};
use crate::event::wording::word;
use crate::net::probe::{LogIn, Refused, Step, greet, may_log_in};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a hop may take from its name to the end of the conversation: all that the check has, but for a second.
/// Pauses of five seconds before the greeting are usual, and more is allowed (RFC 5321, section 4.5.3.2.1).
const WALK: Duration = Duration::from_secs(13);
/// The most hosts that are looked at.
const HOPS_MAX: usize = 32;

/// What was seen of one next hop.
#[derive(Clone, Debug)]
struct Seen {
    route: String,
    host: String,
    port: u16,
    tls: RouteTls,
    /// The file of the password or token that our login is proved by.
    secret: Option<PathBuf>,
    reached: Reached,
}

/// How far one came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reached {
    /// Its name does not resolve.
    NoName(String),
    /// No connection.
    Not(Missed),
    /// It answered, or did not in so long.
    Spoke(Result<(), Refused>, Duration),
    /// A file that the route names may not be read by whoever runs this.
    NotOurs(PathBuf),
}

pub(super) fn look(case: &Case) -> Looked {
    let to = case.asked.to.as_deref();
    // That there is none was told by the routes' own check.
    let Chosen::These(routes) = chosen(&case.config, to) else { return Looked::default() };
    let mut looked = Looked::default();
    let log_in = if to.is_some() { LogIn::Try } else { LogIn::Leave };
    let hops: Vec<(&Route, &NextHop)> = routes
        .iter()
        .flat_map(|route| route.hosts.iter().map(|host| (*route, &host.hop)))
        .collect();
    let with_login = routes.iter().filter(|route| route.login.is_some());
    looked.left_out.extend(with_login.filter_map(|route| match log_in {
        LogIn::Leave => Some(format!(
            "next hops: the login of route {}: sallyport doctor --to {} tries it",
            route.name,
            word(&route.name)
        )),
        LogIn::Try if !may_log_in(route) => Some(format!(
            "next hops: the login of route {}: a token is got from its issuer, which may be good only once",
            route.name
        )),
        LogIn::Try => None,
    }));
    if hops.len() > HOPS_MAX {
        let rest = hops.len() - HOPS_MAX;
        looked.left_out.push(format!(
            "next hops: {rest} of them, since there are many: --to ROUTE looks at one route's"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Looked::left_out(format!("next hops: {error}")),
    };
    let walks = hops.into_iter().take(HOPS_MAX).map(|(route, hop)| walk(route, hop, case, log_in));
    let seen = runtime.block_on(join_all(walks));
    // A name server that hangs holds a thread: nobody waits for it.
    runtime.shutdown_background();
    looked.findings.extend(seen.iter().filter_map(judge));
    looked.left_out.extend(seen.iter().filter_map(|one| match &one.reached {
        Reached::NotOurs(file) => Some(format!(
            "next hops: {}:{} of route {}: {} may not be read by this user",
            one.host,
            one.port,
            one.route,
            file.display()
        )),
        Reached::Not(Missed::OnlyUs(rule)) => Some(format!(
            "next hops: {}:{} of route {}: for this user alone the firewall {}",
            one.host, one.port, one.route, rule.says
        )),
        Reached::NoName(_) | Reached::Not(_) | Reached::Spoke(_, _) => None,
    }));
    let user = &case.config.relay.user;
    if !seen.is_empty() && Owner::relay(user) == Owner::Unknown {
        looked.left_out.push(format!(
            "next hops: what rules of the firewall for users do to the relay: relay.user ({user}) is not known here"
        ));
    }
    looked
}

/// Goes as far as mail would, and says goodbye before a message.
async fn walk(route: &Route, hop: &NextHop, case: &Case, log_in: LogIn) -> Seen {
    let until = Instant::now() + WALK;
    let reached = match addresses(hop, hop.port).await {
        Err(why) => Reached::NoName(why),
        Ok(addresses) => match connect(&addresses, CONNECT).await {
            Err(failed) => Reached::Not(why_missed(failed, hop, case).await),
            Ok(Taken { stream, at }) => {
                let left = until.saturating_duration_since(Instant::now());
                let hostname = &case.config.hostname;
                let spoken = greet(route, hop, hostname, stream, log_in, left);
                // The relay is another user than whoever looks.
                let rule = timeout(left, stops_relay_alone(&at, case));
                let (spoken, rule) = join(spoken, rule).await;
                let rule = rule.ok().flatten();
                let shut = match &spoken {
                    Err(Refused::Surely { step: Step::Ours, .. }) => files::shut_for_us(route),
                    Ok(_) | Err(_) => None,
                };
                match (rule, shut) {
                    (Some(rule), _) => {
                        Reached::Not(Missed::Silent { rule: Some(rule), other: None })
                    }
                    (None, Some(file)) => Reached::NotOurs(file.to_owned()),
                    (None, None) => Reached::Spoke(spoken.map(drop), left),
                }
            }
        },
    };
    let tls = route.tls;
    let secret = route.login_file().map(Path::to_owned);
    Seen { route: route.name.clone(), host: hop.host.clone(), port: hop.port, tls, secret, reached }
}

fn judge(seen: &Seen) -> Option<Finding> {
    let Seen { route, host, port, reached, .. } = seen;
    let hop = format!("{host}:{port} of route {route}");
    Some(match reached {
        // Told as left out.
        Reached::Spoke(Ok(()), _) | Reached::NotOurs(_) | Reached::Not(Missed::OnlyUs(_)) => {
            return None;
        }
        Reached::NoName(why) => Finding::new(
            Cause::HopName,
            format!("{hop}: the name cannot be looked up: {why}"),
            format!(
                "getent hosts {host}; /etc/resolv.conf names the name servers; or mend hosts of the route"
            ),
        ),
        Reached::Not(Missed::Refused { other }) => refuses(&hop, seen, *other),
        Reached::Not(Missed::Unreachable { to, words, lost, off }) => {
            unreachable(&hop, *to, words, lost.as_ref(), off)
        }
        Reached::Not(Missed::Silent { rule: Some(rule), .. }) => Finding::new(
            Cause::FirewallOut,
            format!("{hop}: this host's own firewall {}", rule.says),
            rule.remedy.as_str(),
        ),
        Reached::Not(Missed::Silent { other: Some(other), .. }) => Finding::new(
            Cause::Port25Closed,
            format!(
                "{hop} does not answer, and port {other} of the same host does: the provider of this host most likely closes port 25"
            ),
            format!(
                "hand mail to a smarthost by port {other} with a login, or have the provider open port 25"
            ),
        ),
        Reached::Not(Missed::Silent { rule: None, other: None }) => Finding::new(
            Cause::HopSilent,
            format!(
                "{hop} does not answer: it is down, or something on the way drops what we send"
            ),
            "does it answer other hosts? If so ask the provider of this host what it filters",
        ),
        Reached::Spoke(Err(Refused::Surely { step, words }), _) => spoke(&hop, seen, *step, words),
        Reached::Spoke(Err(Refused::Late { step }), after) => late(&hop, *step, *after),
    })
}

/// Nobody listens there: whether the service runs at all comes before what it might say.
fn refuses(hop: &str, seen: &Seen, other: Option<u16>) -> Finding {
    let Seen { route, host, port, .. } = seen;
    let says =
        "its host answers, and nobody listens on that port (or a firewall before it says so)";
    let look = format!(
        "on {host} `ss -ltn 'sport = :{port}'` shows whether anybody listens, and `systemctl status` of its mail \
         server (postfix, exim4 …) why not"
    );
    let (says, remedy) = match other {
        Some(other) => (
            format!("{hop} refuses connections: {says}; its port {other} takes them"),
            format!("is {host}:{other} meant? Then name it in hosts of route {route}; else {look}"),
        ),
        None => (
            format!("{hop} refuses connections: {says}, nor on another port for mail"),
            format!(
                "does its service run? {look}; start it there, or name the right port in hosts of route {route}"
            ),
        ),
    };
    Finding::new(Cause::HopRefuses, says, remedy)
}

fn late(hop: &str, step: Step, after: Duration) -> Finding {
    let what = match step {
        Step::Ours => "to our own files",
        Step::Greeting => "with its greeting",
        Step::Hello => "to EHLO",
        Step::Starttls => "to STARTTLS",
        Step::Handshake => "in the TLS handshake",
        Step::Login => "to our login",
    };
    Finding::new(
        Cause::HopSlow,
        format!("{hop} is connected, and there was no answer {what} within {} s", after.as_secs()),
        "nothing, if it makes everybody wait, and mail leaves; for TLS from the first octet (port 465) set tls = \
         \"implicit\"",
    )
}

fn spoke(hop: &str, seen: &Seen, step: Step, words: &str) -> Finding {
    let route = &seen.route;
    let says = format!("{hop}: {words}");
    match step {
        Step::Ours => Finding::new(
            Cause::HopOther,
            says,
            format!("mend what route {route} names: its ca-file, certificate, password or token"),
        ),
        Step::Greeting => Finding::new(Cause::HopGreeting, says, "ask its operator why"),
        Step::Hello if words.contains("STARTTLS") => Finding::new(
            Cause::HopNoStarttls,
            says,
            format!(
                "use its port for submission (587, or 465 with tls = \"implicit\" in route {route}); something between may take STARTTLS away"
            ),
        ),
        Step::Hello | Step::Starttls => Finding::new(
            Cause::HopOther,
            says,
            "ask its operator: it refuses us before any message",
        ),
        Step::Handshake => Finding::new(
            Cause::HopCertificate,
            says,
            format!(
                "{}  # shows what it has; ask the operator of {} whether that certificate is theirs before anything is \
                 changed here: another may answer in its place",
                look_at_certificate(seen),
                seen.host
            ),
        ),
        Step::Login => Finding::new(
            Cause::HopLogin,
            says,
            match &seen.secret {
                Some(file) => format!(
                    "put the right password or token in {}: it is tried at once, and no mail bounces meanwhile",
                    file.display()
                ),
                None => format!(
                    "mend the certificate and key of route {route}, or have the next hop take them; then sallyport route \
                     resume {}: no mail bounces meanwhile",
                    word(route)
                ),
            },
        ),
    }
}

/// Returns the command that shows the certificate of a next hop.
fn look_at_certificate(Seen { host, port, tls, .. }: &Seen) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let starttls = match tls {
        RouteTls::Implicit => "",
        RouteTls::Required | RouteTls::Opportunistic | RouteTls::None => "-starttls smtp ",
    };
    format!("openssl s_client {starttls}-connect {host}:{port} </dev/null")
}

#[cfg(test)]
mod tests {
    use super::super::firewall::StopsOut;
    use super::*;

    fn seen(reached: Reached) -> Seen {
        let (route, host) = ("r".into(), "mx.example.net".into());
        let secret = Some("/etc/sallyport/secrets/a".into());
        Seen { route, host, port: 25, tls: RouteTls::Required, secret, reached }
    }

    #[test]
    fn of_a_certificate_its_operator_is_asked_before_anything_is_changed() {
        let words = "no".into();
        let reached = Reached::Spoke(Err(Refused::Surely { step: Step::Handshake, words }), WALK);
        let seen = seen(reached);
        let told = |seen: &Seen| judge(seen).unwrap().remedy;
        let at = "openssl s_client -starttls smtp -connect mx.example.net:25 </dev/null  # ";
        assert!(told(&seen).starts_with(at), "{}", told(&seen));
        assert!(told(&seen).contains("ask the operator of mx.example.net"), "{}", told(&seen));
        let seen = Seen { host: "2001:db8::1".into(), port: 465, tls: RouteTls::Implicit, ..seen };
        let at = "openssl s_client -connect [2001:db8::1]:465 </dev/null  # ";
        assert!(told(&seen).starts_with(at), "{}", told(&seen));
    }

    #[test]
    fn each_place_where_a_walk_ends_has_its_cause() {
        let rule =
            |says: &str| StopsOut { says: says.into(), remedy: "x".into(), drops_answers: false };
        let silent = |says: Option<&str>, other| {
            Reached::Not(Missed::Silent { rule: says.map(rule), other })
        };
        let to = "192.0.2.1".parse().unwrap();
        let no_way = || Missed::Unreachable { to, words: "x".into(), lost: None, off: Vec::new() };
        let told = |told| Reached::Spoke(told, WALK);
        let spoke = |step, words: &str| told(Err(Refused::Surely { step, words: words.into() }));
        let late = |step| told(Err(Refused::Late { step }));
        let rows = [
            (told(Ok(())), None),
            (Reached::NotOurs("/x".into()), None),
            (late(Step::Greeting), Some("hop-slow")),
            (late(Step::Login), Some("hop-slow")),
            (Reached::NoName("x".into()), Some("hop-name")),
            (Reached::Not(Missed::Refused { other: None }), Some("hop-refuses")),
            (Reached::Not(Missed::Refused { other: Some(587) }), Some("hop-refuses")),
            (Reached::Not(no_way()), Some("hop-unreachable")),
            (silent(Some("rule 7"), None), Some("firewall-out")),
            (Reached::Not(Missed::OnlyUs(rule("rule 7"))), None),
            (silent(None, Some(587)), Some("port-25-closed")),
            (silent(None, None), Some("hop-silent")),
            (spoke(Step::Ours, "x"), Some("hop-other")),
            (spoke(Step::Greeting, "554 no"), Some("hop-greeting")),
            (spoke(Step::Hello, "does not offer STARTTLS"), Some("hop-no-starttls")),
            (spoke(Step::Hello, "EHLO was answered 550"), Some("hop-other")),
            (spoke(Step::Starttls, "454"), Some("hop-other")),
            (spoke(Step::Handshake, "expired"), Some("hop-certificate")),
            (spoke(Step::Login, "535"), Some("hop-login")),
        ];
        for (reached, wanted) in rows {
            let seen = seen(reached);
            assert_eq!(judge(&seen).map(|found| found.cause.id()), wanted, "{:?}", seen.reached);
        }
    }

    #[test]
    fn where_nobody_listens_it_is_asked_whether_the_service_runs_and_how_to_look() {
        let reached = Reached::Not(Missed::Refused { other: None });
        let seen = seen(reached);
        let told = judge(&seen).unwrap();
        assert!(told.says.contains("nobody listens on that port"), "{}", told.says);
        assert!(told.remedy.starts_with("does its service run? on mx.example.net `ss -ltn"));
        let reached = Reached::Not(Missed::Refused { other: Some(587) });
        let told = judge(&Seen { reached, ..seen }).unwrap();
        assert!(told.remedy.starts_with("is mx.example.net:587 meant?"), "{}", told.remedy);
    }

    #[test]
    fn a_login_that_is_refused_names_the_file_or_how_the_same_is_tried_again() {
        let words = "535 5.7.8".into();
        let refused = Err(Refused::Surely { step: Step::Login, words });
        let seen = seen(Reached::Spoke(refused, WALK));
        let told = judge(&seen).unwrap().remedy;
        assert!(told.contains("in /etc/sallyport/secrets/a: it is tried at once"), "{told}");
        let told = judge(&Seen { secret: None, ..seen }).unwrap().remedy;
        assert!(told.contains("then sallyport route resume r:"), "{told}");
    }
}
