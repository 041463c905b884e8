//! One client, followed in: its entry, its ban, spikes that are about it, its tag's policy, the way back to it.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use relay_common::verdict::Verdict;

use super::ended::{Ended, ended, gone};
use super::spiking::{Loud, loud, spiking};
use super::way::{Way, way_back};
use super::{Case, Cause, Finding, Looked, Process};
use crate::config::{Config, Gate, Who};
use crate::control::client::ask_soon;
use crate::control::wire::{Ban, Explanation, GateRequest};
use crate::gate::View;

/// How long the gate may take to say what it does with the client.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was seen of a client.
#[derive(Clone, Debug)]
struct Seen {
    client: IpAddr,
    /// Whether it is this host itself.
    is_here: bool,
    verdict: Option<Judged>,
    /// When its entry ended, and which it was, if it had one.
    ended: Option<Ended>,
    way: Option<Way>,
    /// The guarded interfaces on which the kernel drops what its own routes would answer by another one.
    strict: Vec<String>,
    guarded: Vec<String>,
    is_served_over_its_family: bool,
    /// Open spikes that are about it.
    spikes: Vec<Loud>,
    /// The tag of its entry, if no policy speaks of it.
    tag_without_policy: Option<String>,
}

/// What the gate says of a connection attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Judged {
    passes: bool,
    reason: String,
    entry: Option<IpNetwork>,
    tag: Option<String>,
    banned_until: Option<Timestamp>,
    /// The networks whose bans hold it; none: they are not known.
    bans: Vec<IpNetwork>,
}

pub(super) fn look(case: &Case) -> Looked {
    let Some(client) = case.asked.from.map(|from| from.to_canonical()) else {
        return Looked::default();
    };
    let mut left_out = Vec::new();
    let verdict = if case.is_guarded() {
        verdict(case, client).map_err(|why| left_out.push(format!("the client: {why}"))).ok()
    } else {
        None
    };
    let is_stranger =
        verdict.as_ref().is_some_and(|judged| judged.entry.is_none() && !judged.passes);
    let ended = if is_stranger {
        ended(case, client).unwrap_or_else(|why| {
            left_out.push(format!("the client: whether it had an entry that ended: {why}"));
            None
        })
    } else {
        None
    };
    let guarded = case.links.with_upper(&case.config.gate.interfaces);
    let way = way_back(client, &case.config.listeners, &guarded, &case.links)
        .map_err(|error| left_out.push(format!("the client: the way back to it: {error}")))
        .ok();
    let strict = if client.is_ipv4() {
        guarded.iter().filter(|name| is_strict(name)).cloned().collect()
    } else {
        Vec::new()
    };
    let tag = verdict.as_ref().and_then(|judged| judged.tag.clone());
    let seen = Seen {
        client,
        is_here: case.links.has(client),
        ended,
        way,
        strict,
        guarded,
        is_served_over_its_family: is_served(&case.config, client.is_ipv4()),
        spikes: case.gate.says().map(|status| loud(&status.spikes, client)).unwrap_or_default(),
        tag_without_policy: tag.filter(|tag| !has_policy(&case.config, tag)),
        verdict,
    };
    Looked { findings: judge(&seen), left_out }
}

/// Asks the loaded program by the gate's process, or the pinned tables if that does not answer: one that did not
/// say how it is, is not asked again.
fn verdict(case: &Case, source: IpAddr) -> Result<Judged, String> {
    let gate = &case.config.gate;
    let question = GateRequest::Explain { source, port: None };
    let asked = match &case.gate {
        Process::Says(_) => {
            let asked = ask_soon::<_, Explanation>(PATIENCE, &gate.socket, "gate", &question);
            asked.map_err(|error| error.to_string())
        }
        Process::Dead => Err("the gate does not run".to_owned()),
        Process::Silent(why) | Process::Unasked(why) => Err(why.clone()),
    };
    let asked = match asked {
        Ok(said) => {
            let bans = if said.reason == "banned" { bans(gate, source) } else { Vec::new() };
            return Ok(Judged {
                bans,
                passes: !said.verdict.starts_with("drop"),
                reason: said.reason,
                entry: said.entry,
                tag: said.tag,
                banned_until: said.banned_until,
            });
        }
        Err(why) => why,
    };
    let view = View::open(&gate.pins).map_err(|tables| {
        format!(
            "neither the gate's process nor its tables say what becomes of it: {asked}; {tables}"
        )
    })?;
    let (verdict, listed) = (view.verdict(source), view.listed(source));
    Ok(Judged {
        passes: matches!(verdict, Verdict::Pass(_) | Verdict::Spare(_)),
        reason: verdict.reason().name().to_owned(),
        entry: listed.as_ref().and_then(|listed| listed.net.map(crate::gate::cidr::network)),
        tag: listed.and_then(|listed| listed.tag),
        banned_until: None,
        bans: Vec::new(),
    })
}

/// Asks the gate's process which bans hold a client; none if it does not say.
fn bans(gate: &Gate, client: IpAddr) -> Vec<IpNetwork> {
    let listed = ask_soon::<_, Vec<Ban>>(PATIENCE, &gate.socket, "gate", &GateRequest::BanList);
    Ban::holding(&listed.unwrap_or_default(), client)
}

/// Tells whether the kernel drops packets on an interface whose answers would leave by another one
/// (rp_filter of ip-sysctl). The stricter of the two settings counts.
fn is_strict(interface: &str) -> bool {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
        text.ok().and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0)
    };
    !interface.contains('/') && read("all").max(read(interface)) == 1
}

/// Returns whether a listener serves a family.
pub(super) fn is_served(config: &Config, is_v4: bool) -> bool {
    config.listeners.iter().any(|listener| {
        let ip = listener.address.ip();
        ip.is_ipv4() == is_v4 || (ip.is_ipv6() && ip.is_unspecified())
    })
}

fn has_policy(config: &Config, tag: &str) -> bool {
    config.policies.iter().any(|policy| match &policy.who {
        Who::Tag(of) => of == tag,
        Who::Login(_) => false,
    })
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let client = seen.client;
    let mut found = Vec::new();
    found.extend(seen.verdict.as_ref().and_then(|judged| barred(seen, judged)));
    match &seen.way {
        Some(Way::Nowhere(lost)) => found.push(Finding::new(
            Cause::NoRouteBack,
            format!("this host has no way back to {client} ({lost}), so no answer reaches it"),
            lost.remedy(client),
        )),
        Some(Way::By(name)) if !seen.strict.is_empty() && !seen.guarded.contains(name) => {
            let by = seen.strict.join(", ");
            found.push(Finding::new(
                Cause::ReversePath,
                format!("answers to {client} would leave by {name}, so the kernel drops what it sends to {by} (rp_filter = 1)"),
                format!("route {client} by the interface that it comes by, or: sysctl net.ipv4.conf.all.rp_filter=2"),
            ));
        }
        Some(Way::By(_) | Way::Here) | None => {}
    }
    if seen.verdict.as_ref().is_some_and(|judged| judged.entry.is_some()) {
        found.extend(seen.spikes.iter().map(|spike| spiking(client, spike)));
    }
    if !seen.is_served_over_its_family {
        let (its, other) = if client.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        found.push(Finding::new(
            Cause::FamilyNotServed,
            format!("{client} speaks {its}, and every listener has an address of {other}"),
            "[[listener]] with address = \"[::]:2525\" takes both",
        ));
    }
    if let Some(tag) = &seen.tag_without_policy {
        found.push(Finding::new(
            Cause::TagWithoutPolicy,
            format!("{client} is listed with tag {tag}, of which no [[policy]] speaks: what it may send says its login's policy alone"),
            format!("nothing, if that is meant; else [[policy]] with tag = \"{tag}\""),
        ));
    }
    found
}

/// Says by what the gate keeps the client out.
fn barred(seen: &Seen, judged: &Judged) -> Option<Finding> {
    let client = seen.client;
    if judged.passes || seen.is_here {
        return None;
    }
    let admit = format!("sallyport allow add {}", IpNetwork::from(client));
    let entry =
        judged.entry.map_or_else(|| "its entry".to_owned(), |entry| format!("its entry {entry}"));
    Some(match (judged.reason.as_str(), &seen.ended) {
        ("banned", _) => banned(client, judged),
        ("over_rate" | "source_over_rate", _) => Finding::new(
            Cause::OverRate,
            format!("more attempts come in the name of {client} or its entry than {entry} gives"),
            "raise connect-rate or source-rate of the entry, or have the client keep its connections; if its own log \
             has no such attempts, somebody forges them",
        ),
        (_, Some(ended)) if judged.entry.is_none() => gone(client, ended, &admit),
        (reason, _) if judged.entry.is_none() && reason != "shut" => Finding::new(
            Cause::NotListed,
            format!("{client} is not on the allowlist ({reason})"),
            admit,
        ),
        // Told by the gate's own check, or not for this client alone.
        _ => return None,
    })
}

/// Names the bans that hold a client: each is of a network, and lifted by its name alone.
fn banned(client: IpAddr, judged: &Judged) -> Finding {
    let until = judged.banned_until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    let own = IpNetwork::from(client);
    let named: Vec<_> = judged.bans.iter().map(ToString::to_string).collect();
    let (with, remedy) = match named.as_slice() {
        [] => (String::new(), "sallyport ban list says by which ban, by whom and why; sallyport ban remove NETWORK lifts it".to_owned()),
        some => {
            let all = if judged.bans.iter().any(|ban| *ban != own) { "for all of that network; " } else { "" };
            (
                format!(" with {}", some.join(" and ")),
                format!("sallyport ban remove {}  # {all}sallyport ban list says by whom and why", some.join(" ")),
            )
        }
    };
    Finding::new(Cause::Banned, format!("{client} is banned{until}{with}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::ended::How;
    use crate::doctor::lost::Lost;

    fn admitted() -> Seen {
        let entry = Some("192.0.2.0/24".parse().unwrap());
        let verdict =
            Judged { passes: true, reason: "admitted".into(), entry, ..Judged::default() };
        Seen {
            client: "192.0.2.7".parse().unwrap(),
            is_here: false,
            verdict: Some(verdict),
            ended: None,
            way: Some(Way::By("eth0".into())),
            strict: Vec::new(),
            guarded: vec!["eth0".into()],
            is_served_over_its_family: true,
            spikes: Vec::new(),
            tag_without_policy: None,
        }
    }

    fn barred(reason: &str, entry: Option<&str>) -> Seen {
        let entry = entry.map(|entry| entry.parse().unwrap());
        let verdict = Judged { reason: reason.into(), entry, ..Judged::default() };
        Seen { verdict: Some(verdict), ..admitted() }
    }

    #[test]
    fn each_thing_that_keeps_a_client_out_has_its_cause() {
        let network = "192.0.2.0/24".parse().unwrap();
        let ended = |how| Some(Ended { network, at: Timestamp::UNIX_EPOCH, how });
        let by = |name: &str| Some(Way::By(name.to_owned()));
        let strict = || vec!["eth0".to_owned()];
        let forged = || vec![Loud::Forged { since: Timestamp::UNIX_EPOCH }];
        let rows: [(&str, Seen, &[&str]); 17] = [
            ("admitted", admitted(), &[]),
            ("a stranger", barred("unlisted_syn", None), &["not-listed"]),
            (
                "one whose entry ended",
                Seen { ended: ended(How::Expired), ..barred("unlisted_syn", None) },
                &["entry-expired"],
            ),
            (
                "one whose entry was taken away",
                Seen { ended: ended(How::Removed), ..barred("unlisted_syn", None) },
                &["entry-removed"],
            ),
            ("banned", barred("banned", Some("192.0.2.0/24")), &["banned"]),
            ("over its rate", barred("source_over_rate", Some("192.0.2.0/24")), &["over-rate"]),
            ("a mapped one", barred("mapped_source", None), &["not-listed"]),
            ("while the gate is shut", barred("shut", None), &[]),
            ("this host", Seen { is_here: true, ..barred("unlisted_syn", None) }, &[]),
            (
                "no way back",
                Seen { way: Some(Way::Nowhere(Lost::no_route())), ..admitted() },
                &["no-route-back"],
            ),
            ("another way, not strict", Seen { way: by("eth1"), ..admitted() }, &[]),
            (
                "another way, strict",
                Seen { way: by("eth1"), strict: strict(), ..admitted() },
                &["reverse-path"],
            ),
            ("the same way, strict", Seen { strict: strict(), ..admitted() }, &[]),
            (
                "the other family",
                Seen { is_served_over_its_family: false, ..admitted() },
                &["family-not-served"],
            ),
            ("in its name", Seen { spikes: forged(), ..admitted() }, &["spike-open"]),
            (
                "in the name of others",
                Seen { spikes: forged(), ..barred("unlisted_syn", None) },
                &["not-listed"],
            ),
            (
                "a tag",
                Seen { tag_without_policy: Some("a".into()), ..admitted() },
                &["tag-without-policy"],
            ),
        ];
        for (row, seen, wanted) in rows {
            let found: Vec<_> = judge(&seen).iter().map(|found| found.cause.id()).collect();
            assert_eq!(found, wanted, "{row}");
        }
    }

    #[test]
    fn the_ban_that_holds_is_the_one_to_remove() {
        let judged = |bans: &[&str]| Judged {
            reason: "banned".into(),
            bans: bans.iter().map(|ban| ban.parse().unwrap()).collect(),
            ..Judged::default()
        };
        let client = "192.0.2.7".parse().unwrap();
        for (bans, begins) in [
            (&["192.0.2.0/24"][..], "sallyport ban remove 192.0.2.0/24  # for all of that network"),
            (&["192.0.2.7/32"], "sallyport ban remove 192.0.2.7/32  # sallyport ban list"),
            (
                &["192.0.2.0/24", "192.0.2.7/32"],
                "sallyport ban remove 192.0.2.0/24 192.0.2.7/32  # for",
            ),
            (&[], "sallyport ban list says by which"),
        ] {
            let told = banned(client, &judged(bans));
            assert!(told.remedy.starts_with(begins), "{}", told.remedy);
            assert!(bans.iter().all(|ban| told.says.contains(ban)), "{}", told.says);
        }
    }

    #[test]
    fn a_gate_that_did_not_answer_is_not_asked_again() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gate.sock");
        let hangs = UnixListener::bind(&socket).unwrap();
        hangs.set_nonblocking(true).unwrap();
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[[listener]]\naddress = '192.0.2.1:25'\n\
             [gate]\ninterfaces = ['none0']\nsocket = '{}'\npins = '{1}/pins'\nstate = '{1}'\n",
            socket.display(),
            folder.path().display()
        );
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let from = Some("2001:db8::7".parse().unwrap());
        let case = Case {
            asked: crate::doctor::Asked { from, to: None },
            gate: Process::Silent("it hangs".into()),
            ..Case::of_the_dead(config)
        };
        let Looked { findings, left_out } = look(&case);
        assert!(findings.iter().any(|found| found.cause == Cause::FamilyNotServed), "{findings:?}");
        assert!(left_out.iter().any(|why| why.contains("it hangs")), "{left_out:?}");
        assert!(hangs.accept().is_err(), "it was asked");
    }
}
