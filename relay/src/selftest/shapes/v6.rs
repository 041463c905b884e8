//! Shapes over IPv6.

use super::super::craft::{
    ACK, AUTHENTICATION, DESTINATION, ECE, Ends, Extension, FIN, FRAGMENT, HOP_BY_HOP, IPV4, PLAIN,
    PSH, ROUTING, SYN, Segment, URG, V4, V6, ethernet,
};
use super::Shape;

/// An options header of eight bytes without its first: no more words, then padding (RFC 8200, section 4.2).
const OPTIONS: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
/// A fragment header of a packet that is whole (RFC 6946).
const ATOMIC: &[u8] = &[0, 0, 0, 0, 0, 0, 7];

/// Shapes of the segment and the IPv6 header.
pub fn headers() -> Vec<Shape> {
    let flags = [
        ("SYN", SYN),
        ("SYN PSH URG ECE", SYN | PSH | URG | ECE),
        ("FIN PSH URG", FIN | PSH | URG),
        ("ACK", ACK),
        ("no flags", 0),
    ];
    let flagged = flags.map(|(name, flags)| {
        Shape::one(format!("v6 {name}"), move |ends| {
            V6.frame(ends, &Segment { flags, ..PLAIN }.over_v6(ends))
        })
    });
    let odd: [(&str, V6<'static>); 7] = [
        ("flow label and traffic class", V6 { first: 0x6ff1_2345, ..V6 }),
        ("version 4", V6 { first: 0x4000_0000, ..V6 }),
        ("payload too short for the flags", V6 { length_off_by: -8, ..V6 }),
        ("payload beyond the frame", V6 { length_off_by: 40, ..V6 }),
        ("payload of no length", V6 { length_off_by: -20, ..V6 }),
        ("hop limit 1", V6 { hops: 1, ..V6 }),
        (
            "jumbogram without its option",
            V6 { chain: &[(HOP_BY_HOP, OPTIONS)], length_off_by: -28, ..V6 },
        ),
    ];
    let odd = odd.map(|(name, header)| {
        Shape::one(format!("v6 SYN, {name}"), move |ends| header.frame(ends, &PLAIN.over_v6(ends)))
    });
    let mut shapes = [flagged.to_vec(), odd.to_vec()].concat();
    shapes.extend([
        Shape::one("v6 SYN from an IPv4-mapped address", |ends| {
            let source = ends.source.0.to_ipv6_mapped();
            let ends = Ends { source: (ends.source.0, source), ..*ends };
            V6.frame(&ends, &PLAIN.over_v6(&ends))
        }),
        Shape::one("v6 SYN called IPv4", |ends| {
            ethernet(ends, &[], IPV4, &V6.packet(ends, &PLAIN.over_v6(ends)))
        }),
        Shape::one("v4 SYN in IPv6, no tunnel", |ends| {
            let inner = V4.packet(ends, &PLAIN.over_v4(ends));
            V6 { protocol: 4, ..V6 }.frame(ends, &inner)
        }),
        Shape::one("v6 SYN, 100 bytes of data", |ends| {
            V6.frame(ends, &Segment { data: &[b'x'; 100], ..PLAIN }.over_v6(ends))
        }),
    ]);
    shapes
}

/// Chains of extension headers.
pub fn chains() -> Vec<Shape> {
    let long = [1, 2, 5, 16, 50, 100].map(|count| {
        Shape::one(format!("v6 SYN behind {count} destination options"), move |ends| {
            let chain = vec![(DESTINATION, OPTIONS); count];
            V6 { chain: &chain, ..V6 }.frame(ends, &PLAIN.over_v6(ends))
        })
    });
    let authentication: &[u8] =
        &[4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let odd: [(&str, Vec<Extension<'static>>); 15] = [
        ("hop-by-hop options", vec![(HOP_BY_HOP, OPTIONS)]),
        ("hop-by-hop options of 264 bytes", vec![(HOP_BY_HOP, &LONG)]),
        ("hop-by-hop and destination options", vec![(HOP_BY_HOP, OPTIONS), (DESTINATION, OPTIONS)]),
        ("hop-by-hop options, not first", vec![(DESTINATION, OPTIONS), (HOP_BY_HOP, OPTIONS)]),
        ("hop-by-hop options twice", vec![(HOP_BY_HOP, OPTIONS), (HOP_BY_HOP, OPTIONS)]),
        ("a routing header with nothing left", vec![(ROUTING, &[0, 0, 0, 0, 0, 0, 0])]),
        ("a routing header with one left", vec![(ROUTING, &[0, 0, 1, 0, 0, 0, 0])]),
        ("a routing header of type 4", vec![(ROUTING, &[0, 4, 0, 0, 0, 0, 0])]),
        ("an atomic fragment", vec![(FRAGMENT, ATOMIC)]),
        ("an atomic fragment, reserved byte set", vec![(FRAGMENT, &[0x20, 0, 0, 0, 0, 0, 7])]),
        ("an atomic fragment and options", vec![(FRAGMENT, ATOMIC), (DESTINATION, OPTIONS)]),
        ("three atomic fragments", vec![(FRAGMENT, ATOMIC); 3]),
        ("an authentication header", vec![(AUTHENTICATION, authentication)]),
        ("a mobility header", vec![(135, &[0, 0, 0, 0, 0, 0, 0])]),
        ("a host identity header", vec![(139, &[0, 0, 0, 0, 0, 0, 0])]),
    ];
    let odd = odd.map(|(name, chain)| {
        Shape::one(format!("v6 SYN behind {name}"), move |ends| {
            V6 { chain: &chain, ..V6 }.frame(ends, &PLAIN.over_v6(ends))
        })
    });
    [long.to_vec(), odd.to_vec()].concat()
}

/// An options header of 264 bytes without its first: two padding options fill it.
const LONG: [u8; 263] = {
    let mut bytes = [0; 263];
    bytes[0] = 32;
    (bytes[1], bytes[2]) = (1, 255);
    (bytes[258], bytes[259]) = (1, 3);
    bytes
};

/// Fragments.
pub fn fragments() -> Vec<Shape> {
    vec![
        Shape::many("v6 SYN in fragments, 24 bytes first", |ends| {
            fragment(ends, &[], &[(0, 24), (24, 40)])
        }),
        Shape::many("v6 SYN in fragments, 24 bytes last", |ends| {
            fragment(ends, &[], &[(24, 40), (0, 24)])
        }),
        Shape::many("v6 SYN in fragments, 8 bytes first", |ends| {
            fragment(ends, &[], &[(0, 8), (8, 40)])
        }),
        Shape::many("v6 SYN in fragments, 16 bytes first", |ends| {
            fragment(ends, &[], &[(0, 16), (16, 40)])
        }),
        Shape::many("v6 SYN, fragments overlap", |ends| fragment(ends, &[], &[(0, 24), (8, 40)])),
        Shape::many("v6 SYN, a later fragment alone", |ends| fragment(ends, &[], &[(8, 40)])),
        Shape::many("v6 SYN, the first fragment ends before TCP", |ends| {
            fragment(ends, OPTIONS, &[(0, 8), (8, 48)])
        }),
        Shape::many("v6 SYN, fragments behind options", |ends| {
            fragment(ends, OPTIONS, &[(0, 32), (32, 48)])
        }),
    ]
}

/// Cuts a SYN with data, behind options if there are some, into these pieces.
fn fragment(ends: &Ends, options: &[u8], cuts: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let segment = Segment { data: &[b'x'; 20], ..PLAIN }.over_v6(ends);
    let (first, whole) = if options.is_empty() {
        (super::super::craft::TCP, segment)
    } else {
        (DESTINATION, [&[super::super::craft::TCP], options, &segment].concat())
    };
    let piece = |(from, to): &(usize, usize)| {
        let more = u16::from(*to < whole.len());
        let [high, low] = (*from as u16 | more).to_be_bytes();
        let [a, b] = ends.source_port.to_be_bytes();
        let header: [u8; 7] = [0, high, low, 0, 0, a, b];
        V6 { chain: &[(FRAGMENT, &header)], protocol: first, ..V6 }.frame(ends, &whole[*from..*to])
    };
    cuts.iter().map(piece).collect()
}
