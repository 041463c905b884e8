//! What the operating system says of the relay's process, under the names that every program has for it.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::meter::catalogue::{
    PROCESS_CPU, PROCESS_MAX, PROCESS_OPEN, PROCESS_RESIDENT, PROCESS_START, PROCESS_VIRTUAL,
};
use crate::meter::text::Text;

/// Writes it; what the operating system does not tell is left out.
pub(super) fn write(text: &mut Text, started_at: Timestamp) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(cpu.tv_nsec).unwrap_or(0);
    let cpu = Duration::new(cpu.tv_sec.unsigned_abs(), nanoseconds);
    text.one(&PROCESS_CPU, cpu.as_secs_f64());
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        text.one(&PROCESS_OPEN, open.count().saturating_sub(1));
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        text.one(&PROCESS_MAX, most);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (key, metric) in [("VmSize:", PROCESS_VIRTUAL), ("VmRSS:", PROCESS_RESIDENT)] {
        if let Some(bytes) = field(&status, key) {
            text.one(&metric, bytes);
        }
    }
    text.one(&PROCESS_START, started_at.as_duration().as_secs_f64());
}

/// Returns a size of `/proc/self/status`, which is in KiB there, in octets.
fn field(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_its_sizes_its_files_and_its_time() {
        let mut text = Text::default();
        write(&mut text, Timestamp::from_millisecond(1500).unwrap());
        let text = text.into_string();
        let value = |name: &str| -> f64 {
            let row = text.lines().find_map(|line| line.strip_prefix(name));
            row.unwrap_or_else(|| panic!("{name} is missing in:\n{text}")).trim().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_virtual_memory_bytes ") >= value("process_resident_memory_bytes "));
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_max_fds ") >= value("process_open_fds "));
        assert!(value("process_cpu_seconds_total ") > 0.0);
        assert!((value("process_start_time_seconds ") - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_field_that_is_not_there_or_no_size_is_none() {
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12_288));
        assert_eq!(field("VmRSS:\t x kB\n", "VmRSS:"), None);
        assert_eq!(field("", "VmRSS:"), None);
    }
}
