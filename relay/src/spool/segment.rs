//! One file of the log: a header, kept twice, then records one after the other.
//!
//! ```text
//! 0    head (64 octets)      magic, version, number, marker, next id, what is confirmed of the
//! 512  the same head again   segment before it, how much is unconfirmed, checksum
//! 1024 records
//! ```

use std::sync::Arc;

use crate::spool::StoreError;
use crate::spool::disk::File;
use crate::spool::record::{self, Fault, HEADER, Header, Marker, u32_at, u64_at};

/// Where the first record begins.
pub const START: u32 = 1024;
/// Where the second copy of the head lies: in another sector than the first.
const COPY: usize = 512;
/// How many copies of a head there are.
pub const HEADS: u8 = 2;
/// The length of a head, octets.
const HEAD: usize = 64;
/// What a disk loses at a time at least, octets.
const PAGE: u32 = 4096;
/// What is wrong with a place that the disk cannot read.
const UNREADABLE: &str = "the disk cannot read it";
const MAGIC: &[u8; 8] = b"SALLYLOG";
/// How many octets are searched at a time for the next record behind a damaged one.
const SEARCH: usize = 64 << 10;

/// The number of a segment: larger for later ones, never used twice in one spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

impl SegmentId {
    /// Returns the name of the segment's file.
    pub fn file_name(self) -> String {
        format!("{:08x}.log", self.0)
    }

    /// Returns the name under which the file is kept for `spool check` once it is known that a
    /// part of it cannot be read and nothing else needs it.
    pub fn damaged_name(self) -> String {
        format!("{:08x}.damaged", self.0)
    }

    /// Reads the name of a segment's file; none for other files.
    pub fn of_file(name: &str) -> Option<Self> {
        let number = u32::from_str_radix(name.strip_suffix(".log")?, 16).ok().map(Self)?;
        (number.file_name() == name).then_some(number)
    }

    /// Reads the number out of any name that [`Self::file_name`] or [`Self::damaged_name`] made.
    pub fn of_any(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".log").or_else(|| name.strip_suffix(".damaged"))?;
        u32::from_str_radix(stem, 16).ok().map(Self)
    }
}

/// Where a record lies, its header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// The offset of the record's header.
    pub offset: u32,
    /// The length of header and payload, octets.
    pub length: u32,
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The segment's number.
    pub number: SegmentId,
    /// What each of its records begins with.
    pub marker: Marker,
    /// Every id in use when the segment was made is lower than this, also of messages of which
    /// nothing is left.
    pub next_id: u64,
    /// The segment that was written to before this one.
    pub before: SegmentId,
    /// Up to where that one was flushed.
    pub confirmed_before: u32,
    /// The length of the list of unconfirmed submissions in the record behind the head, octets; 0:
    /// there is no such record, and all were confirmed.
    pub repeats_bytes: u32,
}

impl Head {
    /// Writes the first 1024 octets of the segment.
    pub fn encode(&self) -> [u8; START as usize] {
        let mut head = [0; HEAD];
        head[0..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&u32::from(record::VERSION).to_le_bytes());
        head[12..16].copy_from_slice(&self.number.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.marker);
        head[24..32].copy_from_slice(&self.next_id.to_le_bytes());
        head[32..36].copy_from_slice(&self.before.0.to_le_bytes());
        head[36..40].copy_from_slice(&self.confirmed_before.to_le_bytes());
        head[40..44].copy_from_slice(&self.repeats_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&head[..60]);
        head[60..64].copy_from_slice(&crc.to_le_bytes());
        let mut bytes = [0; START as usize];
        bytes[..HEAD].copy_from_slice(&head);
        bytes[COPY..COPY + HEAD].copy_from_slice(&head);
        bytes
    }

    /// Returns how many sound copies of this head stand at the beginning of its file.
    pub fn copies(&self, bytes: &[u8]) -> u8 {
        let sound = self.encode();
        let is_sound = |from: usize| bytes.get(from..from + HEAD) == sound.get(from..from + HEAD);
        u8::from(is_sound(0)) + u8::from(is_sound(COPY))
    }

    /// Reads the head of the segment `number` from the beginning of its file; none if neither
    /// copy is sound.
    ///
    /// # Errors
    ///
    /// [`StoreError::Newer`] if a newer program wrote it.
    pub fn decode(bytes: &[u8], number: SegmentId) -> Result<Option<Self>, StoreError> {
        for copy in [bytes.get(..HEAD), bytes.get(COPY..COPY + HEAD)].into_iter().flatten() {
            if copy[..8] != *MAGIC || crc32c::crc32c(&copy[..60]) != u32_at(copy, 60) {
                continue;
            }
            let found = u32_at(copy, 8);
            if found > u32::from(record::VERSION) {
                return Err(StoreError::Newer { file: number.file_name(), found });
            }
            if u32_at(copy, 12) == number.0 {
                let mut marker = Marker::default();
                marker.copy_from_slice(&copy[16..24]);
                let (next_id, before) = (u64_at(copy, 24), SegmentId(u32_at(copy, 32)));
                let (confirmed_before, repeats_bytes) = (u32_at(copy, 36), u32_at(copy, 40));
                return Ok(Some(Self {
                    number,
                    marker,
                    next_id,
                    before,
                    confirmed_before,
                    repeats_bytes,
                }));
            }
        }
        Ok(None)
    }
}

/// How closely a segment is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Headers only: what was flushed is checked when it is used.
    Headers,
    /// Payloads too.
    Payloads,
}

/// What lies at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record; at [`Depth::Payloads`] its payload is in [`Scan::payload`].
    Record(Location, Header),
    /// A stretch that is no sound record.
    Damage {
        /// Where it begins.
        offset: u32,
        /// How long it is, octets.
        length: u32,
        /// What is wrong.
        problem: &'static str,
        /// The header, if only the payload is wrong.
        header: Option<Header>,
    },
}

/// Reads a segment from `offset` to `end`, over damaged stretches.
#[derive(Debug)]
pub struct Scan {
    /// The segment's file.
    pub file: Arc<dyn File>,
    /// The segment's number.
    pub number: SegmentId,
    /// What its records begin with.
    pub marker: Marker,
    /// Where reading goes on.
    pub offset: u32,
    /// Where it ends.
    pub end: u32,
    /// The payload of the record found last, at [`Depth::Payloads`].
    pub payload: Vec<u8>,
}

impl Scan {
    /// Begins at the first record.
    pub const fn new(file: Arc<dyn File>, number: SegmentId, marker: Marker, end: u32) -> Self {
        Self { file, number, marker, offset: START, end, payload: Vec::new() }
    }

    /// Returns what lies at the present offset and goes behind it; none at the end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Newer`]; [`StoreError::Failed`] if the file cannot be read. A place that the disk cannot
    /// read is damage.
    pub fn next(&mut self, depth: Depth) -> Result<Option<Found>, StoreError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let left = self.end - self.offset;
        if left < HEADER as u32 {
            return Ok(Some(self.skip(left, "cut off")));
        }
        let mut bytes = [0; HEADER];
        if !self.read(&mut bytes, self.offset)? {
            return self.resume(UNREADABLE).map(Some);
        }
        let header = match Header::decode(&bytes, self.marker) {
            Ok(header) if header.record_length() > left => {
                return Ok(Some(self.skip(left, "cut off")));
            }
            Ok(header) => header,
            Err(Fault::Newer(found)) => {
                let file = self.number.file_name();
                return Err(StoreError::Newer { file, found: found.into() });
            }
            Err(Fault::Marker) => return self.resume("no record begins here").map(Some),
            Err(Fault::Checksum | Fault::Field) => {
                return self.resume("the header fails its check").map(Some);
            }
        };
        let (offset, length) = (self.offset, header.record_length());
        if depth == Depth::Payloads {
            // The length was checked against the limit and the end of the file: no more is
            // allocated than lies there.
            let mut payload = std::mem::take(&mut self.payload);
            payload.resize(header.length as usize, 0);
            let is_read = self.read(&mut payload, offset + HEADER as u32)?;
            self.payload = payload;
            if !is_read || crc32c::crc32c(&self.payload) != header.payload_crc {
                let problem = if is_read { "the payload fails its check" } else { UNREADABLE };
                self.offset += length;
                let header = Some(header);
                return Ok(Some(Found::Damage { offset, length, problem, header }));
            }
        }
        self.offset += length;
        Ok(Some(Found::Record(Location { segment: self.number, offset, length }, header)))
    }

    /// Fills `bytes` from `offset`; false if the disk cannot read them.
    fn read(&self, bytes: &mut [u8], offset: u32) -> Result<bool, StoreError> {
        match self.file.read_at(bytes, u64::from(offset)).map_err(StoreError::reading) {
            Ok(()) => Ok(true),
            Err(StoreError::Damaged(_)) => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    fn skip(&mut self, length: u32, problem: &'static str) -> Found {
        let offset = self.offset;
        self.offset += length;
        Found::Damage { offset, length, problem, header: None }
    }

    /// Searches the next marker behind the present offset, over pages that the disk cannot read.
    fn resume(&mut self, problem: &'static str) -> Result<Found, StoreError> {
        let mut window = vec![0; SEARCH];
        let mut at = self.offset + 1;
        while at < self.end {
            let mut length = (SEARCH as u32).min(self.end - at) as usize;
            if !self.read(&mut window[..length], at)? {
                // Page by page, until the one that is bad lies behind.
                let page = PAGE - at % PAGE;
                length = page.min(self.end - at) as usize;
                if !self.read(&mut window[..length], at)? {
                    at += length as u32;
                    continue;
                }
            }
            let window = &mut window[..length];
            if let Some(place) = window.windows(8).position(|bytes| *bytes == self.marker) {
                return Ok(self.skip(at + place as u32 - self.offset, problem));
            }
            // The last seven octets may be the beginning of a marker.
            at += if length > 7 { length as u32 - 7 } else { length as u32 };
            if at + 7 >= self.end {
                break;
            }
        }
        Ok(self.skip(self.end - self.offset, problem))
    }
}

/// Reads and checks the record at `location`.
///
/// # Errors
///
/// [`StoreError::Damaged`] if it fails its check; [`StoreError::Failed`] if it cannot be read.
pub fn read(
    file: &dyn File,
    marker: Marker,
    location: Location,
) -> Result<(Header, Vec<u8>), StoreError> {
    let mut bytes = vec![0; location.length as usize];
    file.read_at(&mut bytes, u64::from(location.offset)).map_err(StoreError::reading)?;
    check(bytes, marker, location)
}

/// Reads and checks the record at `location` as [`read`] does if that needs no wait for the disk; none if it does.
pub fn read_from_memory(
    file: &dyn File,
    marker: Marker,
    location: Location,
) -> Option<Result<(Header, Vec<u8>), StoreError>> {
    let mut bytes = vec![0; location.length as usize];
    let is_read = file.read_from_memory(&mut bytes, u64::from(location.offset));
    is_read.then(|| check(bytes, marker, location))
}

/// Reads the first `octets` of the record at `location`, its header included, and returns what of the payload
/// is among them; all of it if they are more. Only the header is checked.
pub fn read_start(
    file: &dyn File,
    marker: Marker,
    location: Location,
    octets: usize,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; octets.min(location.length as usize)];
    file.read_at(&mut bytes, u64::from(location.offset)).map_err(StoreError::reading)?;
    check_header(&bytes, marker, location)?;
    bytes.drain(..HEADER);
    Ok(bytes)
}

/// Checks the record that was read from `location`.
fn check(
    mut bytes: Vec<u8>,
    marker: Marker,
    location: Location,
) -> Result<(Header, Vec<u8>), StoreError> {
    let header = check_header(&bytes, marker, location)?;
    bytes.drain(..HEADER);
    if crc32c::crc32c(&bytes) != header.payload_crc {
        return Err(damaged(location, "the payload fails its check"));
    }
    Ok((header, bytes))
}

/// Checks the header of the record that was read from `location`.
fn check_header(bytes: &[u8], marker: Marker, location: Location) -> Result<Header, StoreError> {
    let header = bytes.first_chunk().map(|bytes| Header::decode(bytes, marker));
    let Some(Ok(header)) = header else {
        return Err(damaged(location, "the header fails its check"));
    };
    if header.record_length() != location.length {
        return Err(damaged(location, "another record lies there"));
    }
    Ok(header)
}

fn damaged(location: Location, problem: &str) -> StoreError {
    let (segment, offset) = (location.segment.file_name(), location.offset);
    StoreError::Damaged(format!("{segment} at {offset}: {problem}"))
}
