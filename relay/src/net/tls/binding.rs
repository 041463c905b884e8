//! What ties a login to the TLS connection that it is made on (RFC 9266, RFC 5929).

use rustls::{ConnectionCommon, ProtocolVersion};

/// The label of `tls-exporter` (RFC 9266, section 2).
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Returns the channel binding data of the type `tls-exporter` (RFC 9266, section 2): 32 octets that
/// both ends of this connection have, and nobody else. None before the end of the handshake, and
/// under TLS 1.2.
///
/// There it would be safe only with the extended master secret (RFC 9266, section 4.2), and rustls
/// does not tell whether that was negotiated. To demand it of everybody would shut out clients that
/// want no channel binding at all, so those of TLS 1.2 log in without one.
#[must_use]
pub fn exporter<Side>(connection: &ConnectionCommon<Side>) -> Option<[u8; 32]> {
    match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => {
            connection.export_keying_material([0; 32], LABEL, Some(b"")).ok()
        }
        _ => None,
    }
}
