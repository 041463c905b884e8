//! Shapes over IPv4.

use relay_common::frame::TAGS_MAX;

use super::super::craft::{
    ACK, AUTHENTICATION, CWR, ECE, Ends, FIN, IPV4, IPV6, PLAIN, PSH, RST, SYN, Segment, URG, V4,
    V6, ethernet,
};
use super::Shape;

/// Shapes of the TCP segment.
pub fn segments() -> Vec<Shape> {
    let flags = [
        ("SYN", SYN),
        ("SYN PSH", SYN | PSH),
        ("SYN URG", SYN | URG),
        ("SYN ECE CWR", SYN | ECE | CWR),
        ("SYN FIN", SYN | FIN),
        ("SYN RST", SYN | RST),
        ("FIN", FIN),
        ("no flags", 0),
        ("FIN PSH URG", FIN | PSH | URG),
        ("RST", RST),
        ("ACK", ACK),
        ("SYN ACK", SYN | ACK),
        ("every flag", 0xff),
    ];
    let flagged = flags.map(|(name, flags)| {
        Shape::one(format!("v4 {name}"), move |ends| segment(ends, &Segment { flags, ..PLAIN }))
    });
    let mut shapes = flagged.to_vec();
    shapes.extend([
        Shape::one("v4 SYN, 100 bytes of data", |ends| {
            segment(ends, &Segment { data: &[b'x'; 100], ..PLAIN })
        }),
        Shape::one("v4 SYN, 40 bytes of TCP options", |ends| {
            segment(ends, &Segment { options: &[1; 40], ..PLAIN })
        }),
        Shape::one("v4 SYN, fast open cookie", |ends| {
            // RFC 7413, section 4.1.1.
            let options = &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
            segment(ends, &Segment { options, data: b"EHLO", ..PLAIN })
        }),
        Shape::one("v4 SYN, wrong TCP checksum", |ends| {
            segment(ends, &Segment { off_by: 1, ..PLAIN })
        }),
        Shape::one("v4 ACK with data", |ends| {
            segment(ends, &Segment { flags: ACK | PSH, data: b"QUIT\r\n", ..PLAIN })
        }),
    ]);
    shapes
}

/// Shapes of the IPv4 header.
pub fn headers() -> Vec<Shape> {
    let odd: [(&str, V4<'static>); 19] = [
        ("4 bytes of options", V4 { options: &[1, 1, 1, 0], ..V4 }),
        ("40 bytes of options", V4 { options: &[1; 40], ..V4 }),
        ("loose source route", V4 { options: &[131, 7, 4, 192, 0, 2, 1, 0], ..V4 }),
        ("strict source route", V4 { options: &[137, 7, 4, 192, 0, 2, 1, 0], ..V4 }),
        ("record route", V4 { options: &[7, 7, 4, 0, 0, 0, 0, 0], ..V4 }),
        ("router alert", V4 { options: &[148, 4, 0, 0], ..V4 }),
        ("time stamp", V4 { options: &[68, 8, 5, 0, 0, 0, 0, 0], ..V4 }),
        ("wrong IP checksum", V4 { off_by: 1, ..V4 }),
        ("header length 4 words", V4 { words_off_by: -1, ..V4 }),
        ("header longer than the packet", V4 { words_off_by: 10, ..V4 }),
        ("total length too short", V4 { length_off_by: -21, ..V4 }),
        ("total length cuts the flags off", V4 { length_off_by: -8, ..V4 }),
        ("total length beyond the frame", V4 { length_off_by: 40, ..V4 }),
        ("version 5", V4 { version: 5, ..V4 }),
        ("version 6", V4 { version: 6, ..V4 }),
        ("don't fragment", V4 { fragment: 0x4000, ..V4 }),
        ("reserved bit", V4 { fragment: 0x8000, ..V4 }),
        ("TTL 1", V4 { ttl: 1, ..V4 }),
        ("every bit of TOS", V4 { tos: 0xff, ..V4 }),
    ];
    let mut shapes = odd
        .map(|(name, header)| {
            Shape::one(format!("v4 SYN, {name}"), move |ends| {
                header.frame(ends, &PLAIN.over_v4(ends))
            })
        })
        .to_vec();
    shapes.extend([
        Shape::one("v4 SYN behind an authentication header", |ends| {
            let header = [6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let payload = [&header[..], &PLAIN.over_v4(ends)].concat();
            V4 { protocol: AUTHENTICATION, ..V4 }.frame(ends, &payload)
        }),
        Shape::one("v4 SYN in IPv4, no tunnel", |ends| {
            let inner = V4.packet(ends, &PLAIN.over_v4(ends));
            V4 { protocol: 4, ..V4 }.frame(ends, &inner)
        }),
        Shape::one("v6 SYN in IPv4, no tunnel", |ends| {
            let inner = V6.packet(ends, &PLAIN.over_v6(ends));
            V4 { protocol: 41, ..V4 }.frame(ends, &inner)
        }),
        Shape::one("v4 SYN in GRE, no tunnel", |ends| {
            let inner = [&[0, 0, 8, 0][..], &V4.packet(ends, &PLAIN.over_v4(ends))].concat();
            V4 { protocol: 47, ..V4 }.frame(ends, &inner)
        }),
        Shape::one("v4 SYN, padded to 60 bytes", |ends| padded(ends, &[0; 6])),
        Shape::one("v4 SYN, an ACK in the padding", |ends| {
            padded(ends, &[0x50, ACK, 0x20, 0, 0, 0])
        }),
        Shape::one("v4 SYN to everybody's hardware address", |ends| {
            let [from, _] = ends.hardware;
            let ends = Ends { hardware: [from, [0xff; 6]], ..*ends };
            V4.frame(&ends, &PLAIN.over_v4(&ends))
        }),
        Shape::one("v4 SYN in LLC and SNAP", |ends| {
            let snap =
                [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &V4.packet(ends, &PLAIN.over_v4(ends))];
            let packet = snap.concat();
            ethernet(ends, &[], packet.len() as u16, &packet)
        }),
        Shape::one("v4 SYN called IPv6", |ends| {
            ethernet(ends, &[], IPV6, &V4.packet(ends, &PLAIN.over_v4(ends)))
        }),
    ]);
    shapes
}

fn padded(ends: &Ends, padding: &[u8]) -> Vec<u8> {
    [V4.frame(ends, &PLAIN.over_v4(ends)), padding.to_vec()].concat()
}

/// Fragments.
pub fn fragments() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for first in [8, 16, 24] {
        let cut = move |ends: &Ends| fragment(ends, &[(0, first), (first, 40)]);
        shapes.push(Shape::many(format!("v4 SYN in fragments, {first} bytes first"), cut));
        let turned = move |ends: &Ends| fragment(ends, &[(first, 40), (0, first)]);
        shapes.push(Shape::many(format!("v4 SYN in fragments, {first} bytes last"), turned));
    }
    shapes.extend([
        Shape::many("v4 SYN in three fragments", |ends| {
            fragment(ends, &[(0, 8), (8, 16), (16, 40)])
        }),
        Shape::many("v4 SYN, first fragment twice", |ends| {
            fragment(ends, &[(0, 24), (0, 24), (24, 40)])
        }),
        Shape::many("v4 SYN, fragments overlap", |ends| fragment(ends, &[(0, 24), (8, 40)])),
        Shape::many("v4 SYN, a later fragment alone", |ends| fragment(ends, &[(8, 40)])),
        Shape::many("v4 SYN, a first fragment alone", |ends| fragment(ends, &[(0, 24)])),
        Shape::many("v4 SYN, a later fragment brings the flags", |ends| {
            // The first one says ACK in bytes that Linux cuts off, for they are no whole unit.
            let mut frames = fragment(ends, &[(0, 8), (8, 40)]);
            frames[0].extend([0, 0, 0, 0, 0x50, ACK]);
            frames
        }),
        Shape::many("v4 other port, rewritten by a later fragment", |ends| {
            let other = Ends { port: 8080, ..*ends };
            let mut frames = fragment(&other, &[(0, 16)]);
            frames.extend(fragment(ends, &[(0, 40)]));
            frames
        }),
        Shape::many("v4 SYN in fragments behind options", |ends| {
            pieces(ends, &[(0, 8), (8, 40)], V4 { options: &[1; 40], ..V4 })
        }),
    ]);
    shapes
}

/// Cuts the last 40 bytes of a SYN with data into these pieces.
fn fragment(ends: &Ends, cuts: &[(usize, usize)]) -> Vec<Vec<u8>> {
    pieces(ends, cuts, V4)
}

fn pieces(ends: &Ends, cuts: &[(usize, usize)], header: V4<'_>) -> Vec<Vec<u8>> {
    let whole = Segment { data: &[b'x'; 20], ..PLAIN }.over_v4(ends);
    let piece = |(from, to): &(usize, usize)| {
        let more = if *to < whole.len() { 0x2000 } else { 0 };
        let fragment = more | (*from / 8) as u16;
        V4 { fragment, ..header }.frame(ends, &whole[*from..*to])
    };
    cuts.iter().map(piece).collect()
}

/// Tags in front of the packet.
pub fn tags() -> Vec<Shape> {
    let priority = |count: usize| vec![[0x81, 0, 0, 0]; count];
    let mut tagged: Vec<(String, Vec<[u8; 4]>)> = [1, 2, 3, 5, 8, 20]
        .map(|count| (format!("{count} priority tags"), priority(count)))
        .to_vec();
    tagged.extend(
        [
            ("a tag of priority 7", vec![[0x81, 0, 0xe0, 0]]),
            ("a tag that may be dropped", vec![[0x81, 0, 0x10, 0]]),
            ("a service tag", vec![[0x88, 0xa8, 0, 0]]),
            ("a service and a customer tag", vec![[0x88, 0xa8, 0, 0], [0x81, 0, 0, 0]]),
            ("a customer and a service tag", vec![[0x81, 0, 0, 0], [0x88, 0xa8, 0, 0]]),
            ("a tag of type 9100", vec![[0x91, 0, 0, 0]]),
            ("a tag of type 9200", vec![[0x92, 0, 0, 0]]),
            ("a tag of VLAN 10", vec![[0x81, 0, 0, 10]]),
            ("a priority tag and one of VLAN 10", vec![[0x81, 0, 0, 0], [0x81, 0, 0, 10]]),
        ]
        .map(|(name, tags)| (name.to_owned(), tags)),
    );
    let mut shapes: Vec<Shape> = tagged
        .into_iter()
        .map(|(name, tags)| {
            let is_too_deep = tags.len() > TAGS_MAX;
            let shape = Shape::one(format!("v4 SYN, {name}"), move |ends| {
                ethernet(ends, &tags, IPV4, &V4.packet(ends, &PLAIN.over_v4(ends)))
            });
            shape.too_deep(is_too_deep)
        })
        .collect();
    shapes.push(Shape::one("v6 SYN, 3 priority tags", move |ends| {
        ethernet(ends, &priority(3), IPV6, &V6.packet(ends, &PLAIN.over_v6(ends)))
    }));
    shapes
}

fn segment(ends: &Ends, segment: &Segment<'_>) -> Vec<u8> {
    V4.frame(ends, &segment.over_v4(ends))
}
