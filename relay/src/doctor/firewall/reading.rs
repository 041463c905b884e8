//! Reading the rules of this network: once, for every check, and not for ever.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::ruleset::{Chain, Families, Ruleset};
use super::{iptables, nft};
use crate::doctor::aside;

/// Where the kernel lists the tables of the elder iptables, by family.
const ELDER: [(&str, Families); 2] = [
    ("/proc/self/net/ip_tables_names", Families::V4),
    ("/proc/self/net/ip6_tables_names", Families::V6),
];
/// What the newer iptables says of itself in what it saved: now, and in its first versions.
const NEWER: [&str; 2] = ["(nf_tables)", "xtables-save"];

/// Which of the two that are called iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Its tables are its own.
    Elder,
    /// It writes rules of nftables.
    Newer,
}
/// Where distributions put such programs, which a user's PATH may lack.
const FOLDERS: &str = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin";
/// How long all such programs may take. One that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(8);
/// How much longer whoever waits for the rules does so: to understand them takes a while, too.
const GRACE: Duration = Duration::from_secs(1);
/// The most that is read of what such a program prints, octets.
const OUTPUT_MAX: u64 = 256 << 20;

/// What was read.
#[derive(Debug, Default)]
pub(in crate::doctor) struct Rules {
    pub(super) rules: Ruleset,
    /// What could not be read, and why.
    pub(super) left_out: Vec<String>,
}

/// The reading, under way or done.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Reading {
    until: Instant,
    told: Arc<(Mutex<Option<Arc<Rules>>>, Condvar)>,
}

impl Reading {
    /// Begins to read, on a thread of its own.
    pub(in crate::doctor) fn begin() -> Self {
        let until = Instant::now() + PATIENCE;
        let reading = Self { until: until + GRACE, told: Arc::default() };
        let told = Arc::clone(&reading.told);
        thread::spawn(move || {
            let read = read(until);
            *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
            told.1.notify_all();
        });
        reading
    }

    /// Waits for what was read; none if it was not in time.
    pub(in crate::doctor) fn wait(&self) -> Option<Arc<Rules>> {
        let (told, rings) = &*self.told;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.until.saturating_duration_since(Instant::now());
        let waited = rings.wait_timeout_while(told, left, |told| told.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Returns the reading of a host without rules.
    #[cfg(test)]
    pub(in crate::doctor) fn of_nothing() -> Self {
        let told = Mutex::new(Some(Arc::default()));
        Self { until: Instant::now(), told: Arc::new((told, Condvar::new())) }
    }
}

/// Reads the rules of this network, and says what could not be read.
fn read(until: Instant) -> Rules {
    let mut read = Rules::default();
    match output("nft", &["-j", "list", "ruleset"], until) {
        Ok(text) => {
            let saved = if nft::is_partial(&text) { read.saved(until) } else { Ruleset::default() };
            match nft::read(&text, &saved) {
                Ok(rules) => read.rules = rules,
                Err(problem) => {
                    read.left_out
                        .push(format!("firewall: what nft prints is not understood: {problem}"));
                }
            }
        }
        Err(problem) => read.left_out.push(format!("firewall: the rules of nftables: {problem}")),
    }
    for (tables, families) in ELDER {
        match fs::read_to_string(tables) {
            Ok(names) if names.trim().is_empty() => {}
            Ok(_) => match save(Age::Elder, families, until) {
                Ok(rules) => read.rules.chains.extend(rules.chains.into_iter().map(of_elder)),
                Err(problem) => {
                    read.left_out.push(format!("firewall: the rules of iptables: {problem}"));
                }
            },
            // This kernel has no such tables.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                read.left_out.push(format!("firewall: the rules of iptables: {tables}: {error}"));
            }
        }
    }
    read
}

/// Names the elder program by its own name where it has one: behind the common one may be the newer.
fn of_elder(chain: Chain) -> Chain {
    match chain.table.split_once(' ') {
        Some((program, table)) if place(&format!("{program}-legacy")).is_some() => {
            Chain { table: format!("{program}-legacy {table}"), ..chain }
        }
        Some(_) | None => chain,
    }
}

impl Rules {
    /// Returns the rules that the newer iptables wrote, as it prints them itself.
    fn saved(&mut self, until: Instant) -> Ruleset {
        let mut saved = Ruleset::default();
        for families in [Families::V4, Families::V6] {
            match save(Age::Newer, families, until) {
                Ok(rules) => saved.chains.extend(rules.chains),
                Err(problem) => self.left_out.push(format!(
                    "firewall: the extensions (xt) in rules that iptables wrote: {problem}"
                )),
            }
        }
        saved
    }
}

/// Returns what one of the two saves. Each has a name of its own; behind the common one is whichever the host has
/// chosen.
fn save(age: Age, families: Families, until: Instant) -> Result<Ruleset, String> {
    let program = match families {
        Families::V6 => "ip6tables",
        Families::V4 | Families::Both => "iptables",
    };
    let own = match age {
        Age::Elder => format!("{program}-legacy-save"),
        Age::Newer => format!("{program}-nft-save"),
    };
    if place(&own).is_some() {
        return Ok(iptables::read(&output(&own, &[], until)?, families));
    }
    let text = output(&format!("{program}-save"), &[], until)?;
    if age_of(&text) != Some(age) {
        return Err(format!("{own} is not installed, and {program}-save does not show them"));
    }
    Ok(iptables::read(&text, families))
}

/// Returns which of the two saved this; none if it saved nothing.
fn age_of(text: &str) -> Option<Age> {
    let said = text.lines().find(|line| line.starts_with("# Generated by "))?;
    Some(if NEWER.iter().any(|word| said.contains(word)) { Age::Newer } else { Age::Elder })
}

/// Runs a program of the system and returns what it printed. If it has not done so at `until`, it is ended.
fn output(program: &str, arguments: &[&str], until: Instant) -> Result<String, String> {
    let place = place(program)
        .ok_or_else(|| format!("{program} is not installed, so they are not known"))?;
    let mut command = Command::new(place);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
    let told = |error: io::Error| format!("{program}: {error}");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(told)?;
    let printed = aside(whole(child.stdout.take()));
    let complained = aside(whole(child.stderr.take()));
    let left = || until.saturating_duration_since(Instant::now());
    let Ok(printed) = printed.recv_timeout(left()) else {
        end(child);
        return Err(format!("{program} did not answer in time, and was ended"));
    };
    // It closed its output, so it ends.
    let status = child.wait().map_err(told)?;
    if !status.success() {
        let said = complained.recv_timeout(left()).ok().and_then(Result::ok).unwrap_or_default();
        return Err(format!("{program}: {}", said.lines().next().unwrap_or("failed")));
    }
    printed.map_err(told)
}

fn place(program: &str) -> Option<PathBuf> {
    let folders = std::env::var("PATH")
        .map_or_else(|_| FOLDERS.to_owned(), |path| format!("{path}:{FOLDERS}"));
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Returns what reads a pipe to its end.
fn whole<P: io::Read + Send + 'static>(
    pipe: Option<P>,
) -> impl FnOnce() -> io::Result<String> + Send {
    move || {
        let mut octets = Vec::new();
        pipe.map(|pipe| pipe.take(OUTPUT_MAX).read_to_end(&mut octets)).transpose()?;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }
}

/// Ends a program, and leaves it to a thread to see its end: one that the kernel holds cannot be waited for.
fn end(mut child: Child) {
    // One that is gone meanwhile is ended, too.
    let _ = child.kill();
    thread::spawn(move || child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended_and_one_that_fails_is_quoted() {
        let soon = || Instant::now() + Duration::from_millis(50);
        let late = || Instant::now() + Duration::from_secs(60);
        let problem = output("sleep", &["600"], soon()).unwrap_err();
        assert_eq!(problem, "sleep did not answer in time, and was ended");
        let problem = output("sh", &["-c", "echo no such table >&2; exit 1"], late()).unwrap_err();
        assert_eq!(problem, "sh: no such table");
        assert_eq!(output("sh", &["-c", "echo all"], late()).unwrap(), "all\n");
        let problem = output("no-such-program", &[], late()).unwrap_err();
        assert!(problem.starts_with("no-such-program is not installed"), "{problem}");
    }

    #[test]
    fn the_two_that_are_called_iptables_are_told_apart() {
        for (said, wanted) in [
            ("", None),
            ("# Generated by iptables-save v1.8.9 on Mon Nov 30 08:35:04 2026", Some(Age::Elder)),
            ("# Generated by iptables-save v1.4.21 on Mon Nov 30 08:35:04 2026", Some(Age::Elder)),
            (
                "# Generated by iptables-nft-save v1.8.9 (nf_tables) on Mon Nov 30 08:35:04 2026",
                Some(Age::Newer),
            ),
            ("# Generated by xtables-save v1.8.2 on Mon Nov 30 08:35:04 2026", Some(Age::Newer)),
        ] {
            assert_eq!(age_of(&format!("{said}\n*filter\n")), wanted, "{said}");
        }
    }

    #[test]
    fn who_waits_too_long_is_told_nothing() {
        let told = Arc::new((Mutex::new(None), Condvar::new()));
        assert!(Reading { until: Instant::now(), told }.wait().is_none());
        assert!(Reading::of_nothing().wait().is_some());
    }
}
