//! When the certificates of the configuration end.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::meter::catalogue::CERTIFICATE;
use crate::meter::text::Text;
use crate::net::tls::end_of;

/// How often the files are read.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The files, and what was read last.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Vec<PathBuf>,
    read: Mutex<Option<(Instant, Vec<Option<Timestamp>>)>>,
}

impl Certificates {
    /// Returns those in these files.
    pub(super) fn of(files: Vec<PathBuf>) -> Self {
        Self { files, read: Mutex::default() }
    }

    /// Writes when each ends; one that cannot be read has no row. Blocks on the disk.
    pub(super) fn write(&self, text: &mut Text) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |(at, _): &(Instant, _)| at.elapsed() >= LOOK_EVERY;
        if read.as_ref().is_none_or(is_old) {
            *read = Some((Instant::now(), self.files.iter().map(|file| end_of(file)).collect()));
        }
        let ends = read.iter().flat_map(|(_, ends)| ends);
        let mut rows = text.rows(&CERTIFICATE);
        for (file, end) in self.files.iter().zip(ends) {
            if let Some(end) = end {
                rows.row(&[&file.display().to_string()], end.as_second());
            }
        }
    }
}
