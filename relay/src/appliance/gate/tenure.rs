//! That one gate at a time works on a state folder, and how those before it ended.
//!
//! A gate that dies is started again within a fraction of a second, and its filter stands meanwhile: once, that is
//! nobody's business. One that dies again and again forgets its open spikes each time, and somebody must know.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::gate::record::this_boot;

/// How many ends without an order are told, if they came within [`LATELY_NS`].
const TOLD: usize = 3;
/// The time over which such ends are counted.
const LATELY_NS: u64 = 3_600_000_000_000;
/// The longest file that is read, octets.
const FILE_MAX: u64 = 4096;

/// The lock of the state folder, and what it says.
#[derive(Debug)]
pub struct Tenure {
    file: File,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    boot: String,
    /// Whether a gate serves, or ended without having been told to.
    serves: bool,
    /// When those that ended so made way for the next, on the boot clock: the last [`TOLD`].
    cut_off_ns: Vec<u64>,
}

impl Tenure {
    /// Makes sure that no other gate works on the same state.
    ///
    /// # Errors
    ///
    /// If one does, or the file cannot be made.
    pub fn begin(state: &Path) -> anyhow::Result<Self> {
        let path = state.join("lock");
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("{}: cannot be made", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another gate runs on {}", state.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{}: cannot be locked", path.display()));
            }
        }
        let mut text = String::new();
        // One that says nothing is of an earlier version, or was cut off: nothing is known then.
        let read = (&file).take(FILE_MAX).read_to_string(&mut text);
        let kept = read.ok().and_then(|_| serde_json::from_str(&text).ok());
        // The end of a boot ends every process.
        let kept = kept.filter(|kept: &Kept| kept.boot == this_boot()).unwrap_or_default();
        Ok(Self { file, kept })
    }

    /// Notes that this gate serves. Returns what is to be told of those before it, if too many ended without an
    /// order.
    pub fn serve(&mut self, now_ns: u64) -> Option<String> {
        let was_cut_off = std::mem::replace(&mut self.kept.serves, true);
        let cut_off = &mut self.kept.cut_off_ns;
        cut_off.retain(|at_ns| now_ns.saturating_sub(*at_ns) < LATELY_NS);
        if was_cut_off {
            cut_off.push(now_ns);
        }
        let surplus = cut_off.len().saturating_sub(TOLD);
        cut_off.drain(..surplus);
        let is_told = was_cut_off && cut_off.len() == TOLD;
        self.write();
        is_told.then(|| {
            format!(
                "the gate's process ended without an order {TOLD} times within an hour, and was started anew"
            )
        })
    }

    /// Notes that it ends as it was told to.
    pub fn end(mut self) {
        self.kept.serves = false;
        self.write();
    }

    /// A failure costs a word about a gate that dies, and nothing else.
    fn write(&mut self) {
        self.kept.boot = this_boot();
        let _ = serde_json::to_vec(&self.kept).map_err(io::Error::other).and_then(|text| {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(&text)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;

    #[test]
    fn one_gate_at_a_time_works_on_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let first = Tenure::begin(folder.path()).unwrap();
        let refused = Tenure::begin(folder.path()).unwrap_err().to_string();
        assert!(refused.starts_with("another gate runs on /"), "{refused}");
        drop(first);
        Tenure::begin(folder.path()).unwrap();
    }

    #[test]
    fn a_gate_that_ends_without_an_order_is_told_of_the_third_time_within_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let serve = |minute: u64| {
            let mut tenure = Tenure::begin(folder.path()).unwrap();
            let told = tenure.serve(minute * MINUTE_NS);
            (tenure, told.is_some())
        };
        for (minute, is_ordered, is_told) in [
            (0, false, false),
            (10, false, false),
            (20, true, false),
            // The one before was told to end, and the next starts after two that were not.
            (30, false, false),
            (40, false, true),
            (41, false, true),
            (42, true, true),
            (43, false, false),
            // The former ones are too long ago.
            (110, false, false),
            (120, false, false),
            (130, false, true),
        ] {
            let (tenure, told) = serve(minute);
            assert_eq!(told, is_told, "minute {minute}");
            if is_ordered {
                tenure.end();
            }
        }
    }

    #[test]
    fn what_another_boot_or_another_version_left_says_nothing() {
        for text in ["", "{", r#"{"boot":"other","serves":true,"cut-off-ns":[1,2]}"#] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("lock"), text).unwrap();
            let mut tenure = Tenure::begin(folder.path()).unwrap();
            assert_eq!(tenure.serve(3), None, "{text}");
            drop(tenure);
            for is_told in [false, false, true] {
                let mut tenure = Tenure::begin(folder.path()).unwrap();
                assert_eq!(tenure.serve(4).is_some(), is_told, "{text}");
            }
        }
    }
}
