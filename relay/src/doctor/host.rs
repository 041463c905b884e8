//! The host as a whole: the relay's user, its limits, the clock, the host's own name.

use std::fs;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Case, Cause, Finding, Looked};
use crate::appliance::opening::descriptors;
use crate::appliance::privilege::{Identity, group};
use crate::gate;

/// How far in the future a file may be written, for clocks that were set a little.
const TOLERANCE: Duration = Duration::from_secs(120);
/// A time before which no clock is right: this program is newer (2026-01-01).
const BEFORE_US: Duration = Duration::from_secs(1_767_225_600);
/// The most files of a folder that are looked at.
const FILES_MAX: usize = 10_000;

/// What was seen of the host.
#[derive(Clone, Debug)]
struct Seen {
    user: Result<(), String>,
    has_admin_group: bool,
    /// What does not hold of the sandbox of each process that runs.
    weak: Vec<(&'static str, String)>,
    /// How many files the relay may open, and how many its limits ask for; none if it is not known.
    descriptors: Option<(u64, u64)>,
    now: Duration,
    /// The newest time of a file that we wrote, and the file.
    newest: Option<(Duration, String)>,
    /// Whether the kernel says that something keeps the clock; none if it does not say.
    is_kept: Option<bool>,
}

pub(super) fn look(case: &Case) -> Looked {
    let config = &case.config;
    let mut left_out = Vec::new();
    let limit = case.relay.says().and_then(|status| {
        let text = fs::read_to_string(format!("/proc/{}/limits", status.pid));
        let text = text.map_err(|error| {
            left_out.push(format!("host: how many files the relay may open: {error}"));
        });
        open_files(&text.ok()?)
    });
    let gate = case.gate.says().and_then(|status| status.sandbox.clone()?.lacks);
    let relay = case.relay.says().and_then(|status| status.sandbox.clone()?.lacks);
    let weak = gate.map(|lacks| ("gate", lacks)).into_iter();
    let seen = Seen {
        user: Identity::of(&config.relay.user).map(drop).map_err(|error| error.to_string()),
        has_admin_group: group(&config.gate.admin_group).is_some(),
        weak: weak.chain(relay.map(|lacks| ("relay", lacks))).collect(),
        descriptors: limit.map(|limit| (limit, descriptors(config))),
        now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        newest: newest(&[&config.spool.path, &config.gate.state]),
        is_kept: gate::clock_is_kept(),
    };
    let is_guarded = case.is_guarded();
    Looked { findings: judge(&seen, config, is_guarded), left_out }
}

/// Reads the limit that counts of open files from `/proc/PID/limits`.
fn open_files(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let word = line.split_whitespace().next()?;
    if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
}

fn newest(folders: &[&Path]) -> Option<(Duration, String)> {
    let files = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|all| all.take(FILES_MAX));
    let times = files.flatten().filter_map(|file| {
        let at = file.metadata().ok()?.modified().ok()?;
        Some((at.duration_since(SystemTime::UNIX_EPOCH).ok()?, file.path().display().to_string()))
    });
    times.max()
}

fn judge(seen: &Seen, config: &crate::config::Config, is_guarded: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(problem) = &seen.user {
        found.push(Finding::new(
            Cause::UserMissing,
            problem.as_str(),
            "useradd --system --shell /usr/sbin/nologin sallyport, or name another user in relay.user",
        ));
    }
    if let Some((may, wanted)) = seen.descriptors
        && may < wanted
    {
        found.push(Finding::new(
            Cause::Descriptors,
            format!("the relay may open {may} files and sockets at a time, and its limits ask for {wanted}: clients beyond that are not accepted"),
            "raise LimitNOFILE of the unit (or ulimit -Hn) and restart, or lower limits.sessions",
        ));
    }
    found.extend(seen.weak.iter().map(|(process, lacks)| {
        Finding::new(
            Cause::SandboxWeak,
            format!("whoever took over the {process} could do more than he should: {lacks}"),
            "nothing, if this kernel must stay; else as it says; sandbox = \"required\" then keeps it so",
        )
    }));
    if seen.now < BEFORE_US {
        found.push(wrong_clock(
            "this host's clock shows a time before this program was written".to_owned(),
        ));
    } else if let Some((at, file)) = &seen.newest
        && at.saturating_sub(seen.now) > TOLERANCE
    {
        let ahead = at.saturating_sub(seen.now).as_secs();
        found.push(wrong_clock(format!(
            "{file} was written {ahead} s in the future: this host's clock is behind, or was ahead"
        )));
    }
    if seen.is_kept == Some(false) {
        found.push(Finding::new(
            Cause::ClockUnsynchronised,
            "nothing keeps this host's clock, says the kernel (adjtimex): it may be ahead or behind, and certificates and retries go by it",
            "timedatectl set-ntp true, or the service that is to keep it: chronyc tracking (with rtcsync, to tell the kernel), ntpq -p",
        ));
    }
    if is_guarded && !seen.has_admin_group {
        let group = &config.gate.admin_group;
        found.push(Finding::new(
            Cause::GroupMissing,
            format!("there is no group {group}: only root may change the allowlist"),
            format!(
                "nothing, if that is meant; else groupadd --system {group} and restart the gate"
            ),
        ));
    }
    found
}

fn wrong_clock(says: String) -> Finding {
    Finding::new(
        Cause::ClockBehind,
        says,
        "timedatectl shows the clock; set it, since certificates, retries and bans' ends go by it",
    )
}

pub(super) fn look_up_name(case: &Case) -> Looked {
    let name = &case.config.hostname;
    let found = (name.as_str(), 25).to_socket_addrs();
    let found = found.map(|all| all.map(|one| one.ip()).collect::<Vec<_>>());
    judge_name(name, found.map_err(|error| error.to_string()), &|ip| case.links.has(ip))
}

fn judge_name(
    name: &str,
    found: Result<Vec<IpAddr>, String>,
    is_ours: &dyn Fn(IpAddr) -> bool,
) -> Looked {
    let all = match found {
        Ok(all) => all,
        Err(why) => {
            let found = Finding::new(
                Cause::HostnameUnresolved,
                format!(
                    "the hostname {name} does not resolve here ({why}): clients that use it do not find this host"
                ),
                "an A or AAAA record for it; or set hostname to the name that clients use",
            );
            return vec![found].into();
        }
    };
    // Loopback is this host for itself alone: others hear something else of DNS, or nothing.
    let others: Vec<IpAddr> = all.into_iter().filter(|ip| !ip.is_loopback()).collect();
    if others.is_empty() {
        return Looked::left_out(format!(
            "hostname: what DNS tells others of {name}: here it leads to loopback, by /etc/hosts most likely (dig \
             {name} asks DNS)"
        ));
    }
    if others.iter().any(|ip| is_ours(*ip)) {
        return Looked::default();
    }
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let found = Finding::new(
        Cause::HostnameElsewhere,
        format!(
            "the hostname {name} resolves to {}, which this host does not have",
            others.join(", ")
        ),
        "nothing, if a load balancer or NAT stands before it; else mend the record",
    );
    vec![found].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn healthy() -> Seen {
        Seen {
            user: Ok(()),
            has_admin_group: true,
            weak: Vec::new(),
            descriptors: Some((10_000, 1_000)),
            now: BEFORE_US + TOLERANCE,
            newest: Some((BEFORE_US, "/x".into())),
            is_kept: Some(true),
        }
    }

    #[test]
    fn each_state_of_the_host_has_its_cause() {
        let text = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
            [gate]\ninterfaces = [\"eth0\"]\n[[listener]]\naddress = \"[::]:2525\"\n";
        let config = Config::parse(text).unwrap();
        let future =
            |seconds| Some((BEFORE_US + TOLERANCE + Duration::from_secs(seconds), "/x".into()));
        let rows: [(&str, Seen, &[&str]); 11] = [
            ("healthy", healthy(), &[]),
            (
                "nothing known",
                Seen { descriptors: None, newest: None, is_kept: None, ..healthy() },
                &[],
            ),
            ("no user", Seen { user: Err("x".into()), ..healthy() }, &["user-missing"]),
            ("no group", Seen { has_admin_group: false, ..healthy() }, &["group-missing"]),
            ("few files", Seen { descriptors: Some((999, 1_000)), ..healthy() }, &["descriptors"]),
            ("enough files", Seen { descriptors: Some((1_000, 1_000)), ..healthy() }, &[]),
            (
                "no landlock",
                Seen { weak: vec![("relay", "no landlock".into())], ..healthy() },
                &["sandbox-weak"],
            ),
            ("1970", Seen { now: Duration::from_secs(9), ..healthy() }, &["clock-behind"]),
            ("a file of tomorrow", Seen { newest: future(86_400), ..healthy() }, &["clock-behind"]),
            ("a file of the next second", Seen { newest: future(1), ..healthy() }, &[]),
            ("not kept", Seen { is_kept: Some(false), ..healthy() }, &["clock-unsynchronised"]),
        ];
        for (row, seen, wanted) in rows {
            let found = judge(&seen, &config, true);
            let found: Vec<_> = found.iter().map(|found| found.cause.id()).collect();
            assert_eq!(found, wanted, "{row}");
        }
    }

    #[test]
    fn the_limit_that_counts_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            1024                 524288               files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files  unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
        assert!(open_files(&fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }

    /// A row's name, what a name resolves to, what is found, and how much is left out.
    type Name<'a> = (&'a str, Result<Vec<IpAddr>, String>, &'a [&'a str], usize);

    #[test]
    fn a_name_is_to_lead_here_and_loopback_says_nothing_of_dns() {
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let there = "203.0.113.1".parse().unwrap();
        let home = "127.0.1.1".parse().unwrap();
        let rows: [Name<'_>; 6] = [
            ("here, and elsewhere", Ok(vec![there, here]), &[], 0),
            ("elsewhere", Ok(vec![there]), &["hostname-elsewhere"], 0),
            ("home alone", Ok(vec![home]), &[], 1),
            ("home, and here", Ok(vec![home, here]), &[], 0),
            ("home, and elsewhere", Ok(vec![home, there]), &["hostname-elsewhere"], 0),
            ("nowhere", Err("no".into()), &["hostname-unresolved"], 0),
        ];
        for (row, found, wanted, left_out) in rows {
            let is_ours = |ip: IpAddr| ip == here || ip.is_loopback();
            let looked = judge_name("relay.example.net", found, &is_ours);
            let causes: Vec<_> = looked.findings.iter().map(|found| found.cause.id()).collect();
            assert_eq!((causes.as_slice(), looked.left_out.len()), (wanted, left_out), "{row}");
        }
    }
}
