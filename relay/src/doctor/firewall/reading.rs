//! Reading the rules of this network: once, for every check, and not for ever.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::ruleset::{Families, Ruleset};
use super::{iptables, nft};
use crate::doctor::aside;

/// Where the kernel lists the tables of the elder iptables, by family.
const ELDER: [(&str, &str, Families); 2] = [
    ("/proc/self/net/ip_tables_names", "iptables-save", Families::V4),
    ("/proc/self/net/ip6_tables_names", "ip6tables-save", Families::V6),
];
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
        Ok(text) => match nft::read(&text) {
            Ok(rules) => read.rules = rules,
            Err(problem) => {
                read.left_out
                    .push(format!("firewall: what nft prints is not understood: {problem}"));
            }
        },
        Err(problem) => read.left_out.push(format!("firewall: the rules of nftables: {problem}")),
    }
    for (tables, program, families) in ELDER {
        match fs::read_to_string(tables) {
            Ok(names) if names.trim().is_empty() => {}
            Ok(_) => match output(program, &[], until) {
                Ok(text) => read.rules.chains.extend(iptables::read(&text, families).chains),
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
    fn who_waits_too_long_is_told_nothing() {
        let told = Arc::new((Mutex::new(None), Condvar::new()));
        assert!(Reading { until: Instant::now(), told }.wait().is_none());
        assert!(Reading::of_nothing().wait().is_some());
    }
}
