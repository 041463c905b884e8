//! What processes cost, read from /proc: CPU time and memory (proc(5)).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// USER_HZ, in which the kernel tells CPU time: part of its interface, and 100 wherever Rust and BPF run.
const TICKS_PER_SECOND: u64 = 100;

/// Returns the numbers of all processes that work in `folder` or below it.
pub fn working_in(folder: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(of(*pid, "cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

/// Returns the command name of a process, if there is one.
pub fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(of(pid, "comm")).ok()?.trim_end().to_owned())
}

/// Returns the CPU time that a process has used, and that of its children that ended.
///
/// # Errors
///
/// If the process is gone.
pub fn cpu(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(of(pid, "stat"))?;
    let ticks = ticks_of(&text).context("/proc/PID/stat has too few fields")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Returns the proportional set size of a process: its own memory and its share of what it shares, bytes.
///
/// # Errors
///
/// If the process is gone.
pub fn pss(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(of(pid, "smaps_rollup"))?;
    pss_of(&text).context("/proc/PID/smaps_rollup has no Pss")
}

fn of(pid: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

/// Sums utime, stime, cutime and cstime. The name before them, in parentheses, may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u64> =
        fields.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn pss_of(rollup: &str) -> Option<u64> {
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(kib.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 2 0 0 0 10 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(ticks_of(stat), Some(37));
        assert_eq!(ticks_of("7 (a) S 1"), None);
    }

    #[test]
    fn the_share_of_memory_is_read_in_bytes() {
        let rollup =
            "55e0-7ffc ---p 0 00:00 0 [rollup]\nRss:     900 kB\nPss:     12 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(pss_of(rollup), Some(12 * 1024));
        assert_eq!(pss_of("Rss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = std::process::id();
        assert!(pss(own).unwrap() > 0);
        cpu(own).unwrap();
        assert!(name(own).is_some());
    }
}
