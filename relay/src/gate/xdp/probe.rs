//! The frame by which the loaded program is asked about a source.

use std::net::IpAddr;

/// Returns an Ethernet frame with a SYN from `source` to `port`, of the family of `source`; a mapped
/// address counts as IPv4. Its checksums are empty: the gate looks at none.
pub fn syn(source: IpAddr, port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    match source.to_canonical() {
        IpAddr::V4(source) => {
            frame.extend([0x08, 0x00]);
            // Version 4, five words; 40 bytes in all; no fragment; 64 hops; TCP.
            frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend(source.octets());
            frame.extend([192, 0, 2, 1]);
        }
        IpAddr::V6(source) => {
            frame.extend([0x86, 0xdd]);
            // Version 6; 20 bytes of payload; TCP; 64 hops.
            frame.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend(source.octets());
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
    }
    frame.extend(49_152u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    // No sequence numbers; five words; SYN; no window.
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_common::addr::{Addr, Family};
    use relay_common::frame::{Content, Segment, read};

    #[test]
    fn the_frame_is_read_as_a_syn_of_its_source() {
        for (source, family) in [
            ("192.0.2.9", Family::V4),
            ("2001:db8::9", Family::V6),
            ("::ffff:192.0.2.9", Family::V4),
        ] {
            let source: IpAddr = source.parse().unwrap();
            let frame = syn(source, 2525);
            let Content::Tcp { network, port, segment } = read(frame.as_slice()) else {
                panic!("{source}")
            };
            assert_eq!((network.family(), port, segment), (family, 2525, Segment::Syn));
            assert_eq!(network.source(frame.as_slice()), Some(Addr::from(source)));
        }
    }
}
