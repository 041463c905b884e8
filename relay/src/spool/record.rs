//! One record of the log: a header of fixed size with a checksum of its own, then a payload.
//!
//! ```text
//!  0  8  marker of the segment     12  4  payload length    36  8  time, microseconds (UTC)
//!  8  1  version of the format     16  8  message id        44  4  confirmed
//!  9  1  kind                      24  4  count             48  4  CRC-32C of the payload
//! 10  2  owner                     28  8  amount            52  4  CRC-32C of bytes 0 to 52
//! ```
//!
//! In a message the upper half of `count` is its way, the lower one counts its parts; `amount` is the
//! size (36 bits), for how many seconds it is held back at first (20 bits), and its priority (8 bits).
//! In a state the upper half of `amount` says what the message waits for. Version 1 knew none of
//! these and left them zero.
//!
//! Numbers are little-endian. The header alone tells everything that the index needs, so that a
//! flushed segment is taken in without reading bodies. In every later version of the format the
//! marker, the version and the header's checksum stay where they are.

use crate::mail::message::MessageId;
use crate::spool::label::{Label, Stay, Way};
use crate::spool::segment::SegmentId;
use crate::spool::share::Owner;

/// The length of a header, octets.
pub const HEADER: usize = 56;
/// The longest payload, octets: the last part of a body with its envelope, or the replies of all
/// recipients.
pub const PAYLOAD_MAX: u32 = 8 << 20;
/// The version of the format that this program writes, and the highest that it reads.
pub const VERSION: u8 = 2;
/// The largest body, octets: what 36 bits hold.
pub const SIZE_MAX: u64 = (1 << 36) - 1;
/// The longest time that a message is held back from its start, seconds: twelve days.
pub const DELAY_MAX: u32 = (1 << 20) - 1;

/// Eight random octets at the start of every record of one segment.
///
/// A client can put anything into a body, also a well-formed record with the right checksums. When
/// a damaged stretch is searched for the next record, such a forgery must not be found: nobody
/// outside knows the marker.
pub type Marker = [u8; 8];

/// What a record says about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of the body, counted from 0. Without its [`Kind::Message`] it is nothing.
    Part { number: u32 },
    /// The message is ours: envelope and last part of the body are the payload.
    /// It is due `delay_s` after it was accepted, at most [`DELAY_MAX`]; it has at most [`SIZE_MAX`] octets.
    Message { parts: u16, size_bytes: u64, accepted_at: i64, delay_s: u32, label: Label },
    /// An attempt was made, or somebody held the message: the payload says what became of each recipient.
    State { pending: u32, attempts: u32, due_at: i64, stay: Stay },
    /// The message is gone. Its records lie in no segment but those from `first` to `last`.
    Tombstone { first: SegmentId, last: SegmentId },
    /// Nothing but what every header says: all before it was flushed. Written when the spool is
    /// closed in order, so that damage to what was flushed last is not taken for a torn end.
    Mark,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message that the record is about.
    pub id: MessageId,
    /// What it says.
    pub kind: Kind,
    /// The length of the payload, octets, at most [`PAYLOAD_MAX`].
    pub length: u32,
    /// The CRC-32C of the payload.
    pub payload_crc: u32,
    /// Everything in this segment before this offset was flushed when the record was written.
    pub confirmed: u32,
}

/// Why 56 octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They do not begin with the marker.
    Marker,
    /// Their checksum does not match.
    Checksum,
    /// A newer program wrote them, in the format named.
    Newer(u8),
    /// The checksum matches and yet a field has no meaning.
    Field,
}

impl Header {
    /// Returns the length of header and payload, octets.
    pub const fn record_length(&self) -> u32 {
        HEADER as u32 + self.length
    }

    /// Writes the header for the segment with this `marker`.
    pub fn encode(&self, marker: Marker) -> [u8; HEADER] {
        let (kind, count, amount, time) = match self.kind {
            Kind::Part { number } => (1, number, 0, 0),
            Kind::Message { parts, size_bytes, accepted_at, delay_s, label } => {
                let count = u32::from(label.way.0) << 16 | u32::from(parts);
                let priority = u64::from(label.priority.cast_unsigned());
                let delay_s = u64::from(delay_s.min(DELAY_MAX));
                (2, count, priority << 56 | delay_s << 36 | size_bytes.min(SIZE_MAX), accepted_at)
            }
            Kind::State { pending, attempts, due_at, stay } => {
                (3, pending, stay_number(stay) << 32 | u64::from(attempts), due_at)
            }
            Kind::Tombstone { first, last } => {
                (4, 0, u64::from(first.0) << 32 | u64::from(last.0), 0)
            }
            Kind::Mark => (5, 0, 0, 0),
        };
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&marker);
        bytes[8] = VERSION;
        bytes[9] = kind;
        if let Kind::Message { label, .. } = self.kind {
            bytes[10..12].copy_from_slice(&label.owner.0.to_le_bytes());
        }
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&count.to_le_bytes());
        bytes[28..36].copy_from_slice(&amount.to_le_bytes());
        bytes[36..44].copy_from_slice(&i64::to_le_bytes(time));
        bytes[44..48].copy_from_slice(&self.confirmed.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header of the segment with this `marker`.
    ///
    /// # Errors
    ///
    /// A [`Fault`]; a version or a field counts only under a checksum that matches.
    pub fn decode(bytes: &[u8; HEADER], marker: Marker) -> Result<Self, Fault> {
        if bytes[0..8] != marker {
            return Err(Fault::Marker);
        }
        if crc32c::crc32c(&bytes[..52]) != u32_at(bytes, 52) {
            return Err(Fault::Checksum);
        }
        if bytes[8] > VERSION {
            return Err(Fault::Newer(bytes[8]));
        }
        let (count, amount, time) =
            (u32_at(bytes, 24), u64_at(bytes, 28), u64_at(bytes, 36).cast_signed());
        let kind = match bytes[9] {
            1 => Kind::Part { number: count },
            2 => Kind::Message {
                parts: count as u16,
                size_bytes: amount & SIZE_MAX,
                accepted_at: time,
                delay_s: (amount >> 36) as u32 & DELAY_MAX,
                label: Label {
                    owner: Owner(u16::from_le_bytes([bytes[10], bytes[11]])),
                    way: Way((count >> 16) as u16),
                    priority: ((amount >> 56) as u8).cast_signed(),
                },
            },
            3 => {
                let stay = stay_of(amount >> 32).ok_or(Fault::Field)?;
                Kind::State { pending: count, attempts: amount as u32, due_at: time, stay }
            }
            4 => Kind::Tombstone {
                first: SegmentId((amount >> 32) as u32),
                last: SegmentId((amount & u64::from(u32::MAX)) as u32),
            },
            5 => Kind::Mark,
            _ => return Err(Fault::Field),
        };
        let length = u32_at(bytes, 12);
        if length > PAYLOAD_MAX || bytes[8] == 0 {
            return Err(Fault::Field);
        }
        let (payload_crc, confirmed) = (u32_at(bytes, 48), u32_at(bytes, 44));
        Ok(Self { id: MessageId(u64_at(bytes, 16)), kind, length, payload_crc, confirmed })
    }
}

const fn stay_number(stay: Stay) -> u64 {
    match stay {
        Stay::Waiting => 0,
        Stay::Held => 1,
        Stay::Captured => 2,
    }
}

fn stay_of(number: u64) -> Option<Stay> {
    [Stay::Waiting, Stay::Held, Stay::Captured]
        .into_iter()
        .find(|stay| stay_number(*stay) == number)
}

/// Reads the little-endian number at `offset`; `bytes` reaches beyond it.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}

/// Reads the little-endian number at `offset`; `bytes` reaches beyond it.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKER: Marker = *b"\x01marker\xff";

    fn labels() -> impl Strategy<Value = Label> {
        any::<(u16, u16, i8)>().prop_map(|(owner, way, priority)| Label {
            owner: Owner(owner),
            way: Way(way),
            priority,
        })
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            any::<u32>().prop_map(|number| Kind::Part { number }),
            (any::<(u16, i64)>(), 0..=SIZE_MAX, 0..=DELAY_MAX, labels()).prop_map(
                |((parts, accepted_at), size_bytes, delay_s, label)| Kind::Message {
                    parts,
                    size_bytes,
                    accepted_at,
                    delay_s,
                    label
                }
            ),
            (any::<(u32, u32, i64)>(), 0..3_u64).prop_map(|((pending, attempts, due_at), stay)| {
                Kind::State { pending, attempts, due_at, stay: stay_of(stay).unwrap() }
            }),
            any::<(u32, u32)>().prop_map(|(first, last)| Kind::Tombstone {
                first: SegmentId(first),
                last: SegmentId(last)
            }),
            Just(Kind::Mark),
        ]
    }

    proptest! {
        #[test]
        fn every_header_is_read_back_as_written(
            id: u64, kind in kinds(), length in 0..=PAYLOAD_MAX, payload_crc: u32, confirmed: u32,
        ) {
            let header = Header { id: MessageId(id), kind, length, payload_crc, confirmed };
            prop_assert_eq!(Header::decode(&header.encode(MARKER), MARKER), Ok(header));
        }

        #[test]
        fn arbitrary_octets_under_a_right_checksum_never_panic_nor_claim_too_much(
            mut bytes in proptest::array::uniform32(any::<u8>()), rest in proptest::array::uniform20(any::<u8>()),
        ) {
            bytes[..8].copy_from_slice(&MARKER);
            let mut header = [0; HEADER];
            header[..32].copy_from_slice(&bytes);
            header[32..52].copy_from_slice(&rest);
            let crc = crc32c::crc32c(&header[..52]);
            header[52..].copy_from_slice(&crc.to_le_bytes());
            if let Ok(read) = Header::decode(&header, MARKER) {
                prop_assert!(read.length <= PAYLOAD_MAX);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let label = Label { owner: Owner(4), way: Way(5), priority: -6 };
        let kind = Kind::Message { parts: 1, size_bytes: 2, accepted_at: 3, delay_s: 7, label };
        let header = Header { id: MessageId(7), kind, length: 9, payload_crc: 11, confirmed: 1024 };
        let sound = header.encode(MARKER);
        for bit in 0..HEADER * 8 {
            let mut bytes = sound;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let fault = Header::decode(&bytes, MARKER).unwrap_err();
            assert_eq!(fault, if bit < 64 { Fault::Marker } else { Fault::Checksum }, "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_version_1_has_no_way_no_priority_and_waits() {
        let rows = [
            (
                Kind::Message {
                    parts: 3,
                    size_bytes: 50 << 20,
                    accepted_at: 5,
                    delay_s: 0,
                    label: Label { owner: Owner(4), ..Label::default() },
                },
                (3_u32, 50_u64 << 20),
            ),
            (
                Kind::State { pending: 2, attempts: 9, due_at: 5, stay: Stay::Waiting },
                (2_u32, 9_u64),
            ),
        ];
        for (kind, (count, amount)) in rows {
            let header = Header { id: MessageId(7), kind, length: 0, payload_crc: 0, confirmed: 0 };
            let mut bytes = header.encode(MARKER);
            bytes[8] = 1;
            bytes[24..28].copy_from_slice(&count.to_le_bytes());
            bytes[28..36].copy_from_slice(&amount.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[..52]);
            bytes[52..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Header::decode(&bytes, MARKER), Ok(header));
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let kind = Kind::Part { number: 0 };
        let header = Header { id: MessageId(7), kind, length: 0, payload_crc: 0, confirmed: 0 };
        let mut bytes = header.encode(MARKER);
        bytes[8] = VERSION + 1;
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes, MARKER), Err(Fault::Newer(VERSION + 1)));
    }
}
