//! What outlives the process: troubles, silences and what is still to be told, in one small file.
//!
//! The first line is `sallyport-alerts 1` and the checksum (CRC-32C) of the rest, which is JSON. The file is
//! replaced as a whole, so a crash leaves the old one or the new one.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::silences::Silences;
use super::troubles::Troubles;

/// The name of the file in the folder of the spool.
const FILE: &str = "alerts.json";
/// The longest file that is read, octets: what the limits of its parts allow (32 channels of one MiB each, a thousand
/// troubles of at most 16 KiB), and more.
const FILE_MAX: u64 = 64 << 20;
/// The first words of the file.
const HEAD: &str = "sallyport-alerts 1 ";

/// Everything that is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// Whether the process that wrote this had not ended in order.
    pub is_running: bool,
    /// A random number, drawn once: with its number it names an entry for receivers.
    pub series: u64,
    /// The last alert of the gate that was heard: its series and its number.
    pub heard: Option<(Timestamp, u64)>,
    /// What is wrong now, and what was told.
    pub troubles: Troubles,
    /// What nobody wants to hear of.
    pub silences: Silences,
    /// What is still to be told.
    pub outbox: Outbox,
}

/// The file.
#[derive(Clone, Debug)]
pub struct KeptFile(PathBuf);

impl KeptFile {
    /// Returns the file in the folder of the spool.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// Reads it; what is not there is empty. Blocks on the disk.
    ///
    /// A file that cannot be understood is set aside, and the sentence about it comes beside an empty beginning:
    /// mail does not wait for alerts.
    #[must_use]
    pub fn read(&self) -> (Kept, Option<String>) {
        let mut octets = Vec::new();
        let read =
            fs::File::open(&self.0).and_then(|file| file.take(FILE_MAX).read_to_end(&mut octets));
        let problem = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (Kept::default(), None);
            }
            Err(error) => error.to_string(),
            Ok(_) => match parse(&octets) {
                Ok(kept) => return (kept, None),
                Err(problem) => problem,
            },
        };
        let aside = self.0.with_extension("damaged");
        let moved = match fs::rename(&self.0, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it cannot be set aside: {error}"),
        };
        let file = self.0.display();
        let words = format!(
            "{file}: {problem}; {moved}. Silences and alerts that were still to be told are lost"
        );
        (Kept::default(), Some(words))
    }

    /// Writes it. When this returns it survives a loss of power. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What the operating system says; then the former one is still there.
    pub fn write(&self, kept: &[u8]) -> io::Result<()> {
        let new = self.0.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(kept)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        fs::File::open(self.0.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

/// Returns the text of the file.
///
/// # Errors
///
/// None that is known: the shape has no values that JSON lacks.
pub fn text(kept: &Kept) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(kept)?;
    let mut text = format!("{HEAD}{:08x}\n", crc32c::crc32c(&json)).into_bytes();
    text.extend_from_slice(&json);
    Ok(text)
}

fn parse(octets: &[u8]) -> Result<Kept, String> {
    let wrong = || "it is no file of alerts of this version".to_owned();
    let rest = octets.strip_prefix(HEAD.as_bytes()).ok_or_else(wrong)?;
    let (sum, json) = rest.split_at_checked(8).ok_or_else(wrong)?;
    let json = json.strip_prefix(b"\n").ok_or_else(wrong)?;
    let sum = std::str::from_utf8(sum).ok().and_then(|sum| u32::from_str_radix(sum, 16).ok());
    if sum != Some(crc32c::crc32c(json)) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::wording::noted;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_set_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile::within(folder.path());
        let (mut kept, problem) = file.read();
        assert_eq!(problem, None);
        let now = Timestamp::UNIX_EPOCH;
        kept.heard = Some((now, 7));
        kept.outbox.push("ops", noted("x", "y").at(now), now);
        let text = text(&kept).unwrap();
        file.write(&text).unwrap();
        let (read, problem) = file.read();
        assert_eq!(problem, None);
        assert_eq!((read.heard, read.outbox.of("ops").count()), (Some((now, 7)), 1));
        for place in 0..text.len() {
            let mut octets = text.clone();
            octets[place] ^= 1;
            assert!(parse(&octets).is_err(), "octet {place}");
            assert!(parse(&text[..place]).is_err(), "cut at {place}");
        }
        let mut octets = text;
        octets.pop();
        file.write(&octets).unwrap();
        let (empty, problem) = file.read();
        assert_eq!(empty.outbox.of("ops").count(), 0);
        let problem = problem.unwrap();
        assert!(problem.contains("its checksum is wrong; it is kept as"), "{problem}");
        assert!(folder.path().join("alerts.damaged").exists());
        assert!(file.read().1.is_none());
    }
}
