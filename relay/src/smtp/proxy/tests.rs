//! Headers octet by octet, written by hand from the specification.

use proptest::prelude::*;

use super::*;

/// The longest header of version 2.
const HEADER_MAX: usize = FIXED + BLOCK_MAX;

/// What was found in `input`, and how many octets it took.
type Found = (Option<Result<Origin, HeaderFault>>, usize);

fn read(input: &[u8], step: usize) -> Found {
    let mut reader = HeaderReader::default();
    let mut taken = 0;
    for piece in input.chunks(step) {
        let mut rest = piece;
        let found = reader.read(&mut rest);
        taken += piece.len() - rest.len();
        assert!(reader.held.len() <= HEADER_MAX, "{} octets are held", reader.held.len());
        if found.is_some() {
            return (found, taken);
        }
    }
    (None, taken)
}

fn named(address: &str) -> Origin {
    Origin::Client(address.parse().unwrap())
}

/// A header of version 2: command, family, and what follows the length.
fn v2(command: u8, family: u8, block: &[&[u8]]) -> Vec<u8> {
    let block = block.concat();
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, &block].concat()
}

/// 203.0.113.7:56324 to 192.0.2.1:2525.
const V4: &[u8] = &[203, 0, 113, 7, 192, 0, 2, 1, 0xdc, 0x04, 0x09, 0xdd];
/// 2001:db8::7, port 56324, to 2001:db8::1, port 465.
const V6: &[u8] = &[
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    0xdc, 0x04, 0x01, 0xd1,
];
/// PP2_TYPE_AUTHORITY.
const AUTHORITY: &[u8] = b"\x02\x00\x11relay.example.net";

#[test]
fn good_headers_of_both_versions_say_who_the_client_is() {
    let v4 = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\
               \xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x09\xdd";
    let mapped = [&[0; 10][..], &[0xff, 0xff, 203, 0, 113, 7], &V6[16..]].concat();
    let longest = [&[4, 0x07, 0xf1][..], &[0xaa; 2033]].concat();
    let worst = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                  ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(worst.len(), LINE_MAX);
    let rows: &[(&[u8], Origin)] = &[
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 2525\r\n", named("203.0.113.7:56324")),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", named("255.255.255.255:65535")),
        (b"PROXY TCP6 2001:db8::7 2001:DB8::1 56324 465\r\n", named("[2001:db8::7]:56324")),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", named("203.0.113.7:1")),
        (b"PROXY UNKNOWN\r\n", Origin::Connection),
        (b"PROXY UNKNOWN \0\xff\r\n", Origin::Connection),
        (worst, Origin::Connection),
        (v4, named("203.0.113.7:56324")),
        (&v2(0x21, 0x11, &[V4]), named("203.0.113.7:56324")),
        (&v2(0x21, 0x11, &[V4, AUTHORITY]), named("203.0.113.7:56324")),
        (&v2(0x21, 0x11, &[V4, &longest]), named("203.0.113.7:56324")),
        (&v2(0x21, 0x21, &[V6, AUTHORITY, b"\x04\0\0"]), named("[2001:db8::7]:56324")),
        (&v2(0x21, 0x21, &[&mapped]), named("203.0.113.7:56324")),
        (&v2(0x20, 0x00, &[]), Origin::Connection),
        (&v2(0x20, 0x11, &[V4]), Origin::Connection),
        (&v2(0x20, 0xff, &[b"whatever"]), Origin::Connection),
        (&v2(0x21, 0x00, &[]), Origin::Connection),
        (&v2(0x21, 0x00, &[b"whatever"]), Origin::Connection),
        (&v2(0x21, 0x12, &[V4]), Origin::Connection),
        (&v2(0x21, 0x22, &[V6, AUTHORITY]), Origin::Connection),
        (&v2(0x21, 0x31, &[&[b'/'; UNIX]]), Origin::Connection),
        (&v2(0x21, 0x32, &[&[b'/'; UNIX], AUTHORITY]), Origin::Connection),
    ];
    for (header, origin) in rows {
        let text = header.escape_ascii();
        for step in [1, 2, 7, 13, usize::MAX] {
            let input = [header, &b"EHLO client.example.net\r\n"[..]].concat();
            let (found, taken) = read(&input, step.min(input.len()));
            assert_eq!((found, taken), (Some(Ok(*origin)), header.len()), "{text}, by {step}");
        }
        for length in 0..header.len() {
            assert_eq!(read(&header[..length], length.max(1)), (None, length), "{text}, {length}");
        }
    }
}

#[test]
fn the_checksum_of_a_header_is_verified_where_there_is_one() {
    // Computed bit by bit elsewhere, with zeros in their place; the polynomial is that of "123456789" and
    // 0xe3069283.
    let v4 = v2(0x21, 0x11, &[V4, b"\x03\x00\x04\xc4\x1e\xa4\x7b"]);
    let v6 = v2(0x21, 0x21, &[V6, b"\x03\x00\x04\x74\xe8\xef\xa5", AUTHORITY]);
    for (header, length, origin) in
        [(v4, INET, "203.0.113.7:56324"), (v6, INET6, "[2001:db8::7]:56324")]
    {
        assert_eq!(read(&header, 5).0, Some(Ok(named(origin))));
        // Another type would be another attribute, and no checksum.
        for place in (FIXED..header.len()).filter(|place| *place != FIXED + length) {
            let mut wrong = header.clone();
            wrong[place] ^= 0x40;
            let (found, _) = read(&wrong, wrong.len());
            assert!(matches!(found, Some(Err(_))), "octet {place}: {found:?}");
        }
        let mut wrong = header.clone();
        wrong[FIXED] ^= 1;
        assert_eq!(read(&wrong, 3).0, Some(Err(HeaderFault::Checksum)));
    }
}

#[test]
fn what_is_no_header_is_refused_with_its_reason() {
    use HeaderFault::{Malformed, Missing, TooLong};
    let endless = [WORD, &[b'x'; 200]].concat();
    let no_crlf = [&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat();
    let short_v4 = v2(0x21, 0x11, &[&V4[..11]]);
    let short_v6 = v2(0x21, 0x21, &[V4]);
    let short_unix = v2(0x21, 0x31, &[&[b'/'; UNIX - 1]]);
    let too_long = [SIGNATURE, b"\x21\x11\x08\x01"].concat();
    let rows: &[(&[u8], HeaderFault)] = &[
        (b"EHLO client.example.net\r\n", Missing),
        (b"proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n", Missing),
        (b"PROXYTCP4", Missing),
        (b"\r\n\r\n\0\r\nQUIT\r\n", Missing),
        (b"\x16\x03\x01\x02\x00\x01", Missing),
        (b"\nPROXY UNKNOWN\r\n", Missing),
        (b"PROXY \r\n", Malformed),
        (b"PROXY  UNKNOWN\r\n", Malformed),
        (b"PROXY UNKNOWN\n", Malformed),
        (b"PROXY UNKNOWN\r\r\n", Malformed),
        (b"PROXY unknown\r\n", Malformed),
        (b"PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n", Malformed),
        (b"PROXY TCP4\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 \r\n", Malformed),
        (b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.07 192.0.2.1 1 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.256 192.0.2.1 1 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2 1 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 65536\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 \r\n", Malformed),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", Malformed),
        (b"PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n", Malformed),
        (b"PROXY TCP6 2001:db8::7%eth0 ::1 1 2\r\n", Malformed),
        (b"PROXY TCP4 203.0.113.7\xff 192.0.2.1 1 2\r\n", Malformed),
        (&endless, TooLong),
        (&no_crlf, TooLong),
        (&v2(0x11, 0x11, &[V4]), Malformed),
        (&v2(0x22, 0x11, &[V4]), Malformed),
        (&v2(0x21, 0x01, &[V4]), Malformed),
        (&v2(0x21, 0x10, &[V4]), Malformed),
        (&v2(0x21, 0x13, &[V4]), Malformed),
        (&v2(0x21, 0x41, &[V4]), Malformed),
        (&short_v4, Malformed),
        (&short_v6, Malformed),
        (&short_unix, Malformed),
        (&v2(0x21, 0x11, &[V4, b"\x02"]), Malformed),
        (&v2(0x21, 0x11, &[V4, b"\x02\x00"]), Malformed),
        (&v2(0x21, 0x11, &[V4, b"\x02\x00\x02a"]), Malformed),
        (&v2(0x21, 0x11, &[V4, b"\x03\x00\x03abc"]), Malformed),
        (&v2(0x21, 0x11, &[V4, b"\x03\x00\x04abcd", b"\x03\x00\x04abcd"]), Malformed),
        (&too_long, TooLong),
    ];
    for (input, fault) in rows {
        for step in [1, 3, usize::MAX] {
            let (found, _) = read(input, step.min(input.len()));
            assert_eq!(found, Some(Err(*fault)), "{}, by {step}", input.escape_ascii());
        }
    }
}

/// Pieces of headers, so that random input gets somewhere.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"PROXY ",
        b"TCP4 203.0.113.7 192.0.2.1 1 2",
        b"TCP6 ::1 ::2 1 2",
        b"UNKNOWN",
        b"\r\n",
        SIGNATURE,
        b"\x21\x11\x00\x0c",
        b"\x21\x21\x00\x24",
        b"\x20\x00\x00\x00",
        b"\x21\x11\x00\x13",
        b"\x03\x00\x04",
        V4,
        V6,
    ];
    prop_oneof![
        4 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_answer_and_no_input_panics_or_is_held_beyond_the_limit(
        pieces in proptest::collection::vec(piece(), 1..8),
        step in 1_usize..40,
    ) {
        let mut input = pieces.concat();
        input.push(0);
        prop_assert_eq!(read(&input, step), read(&input, input.len()));
    }

    #[test]
    fn every_client_is_read_back_from_both_versions(address: u32, wide: u128, port: u16) {
        let (v4, v6) = (Ipv4Addr::from(address), Ipv6Addr::from(wide));
        let lines = [
            (format!("PROXY TCP4 {v4} 192.0.2.1 {port} 25\r\n"), client(v4.into(), port)),
            (format!("PROXY TCP6 {v6} 2001:db8::1 {port} 25\r\n"), client(v6.into(), port)),
        ];
        for (text, origin) in lines {
            prop_assert_eq!(read(text.as_bytes(), 9).0, Some(Ok(origin)));
        }
        let ports = [port.to_be_bytes(), [0, 25]].concat();
        let block: [&[u8]; 3] = [&v4.octets(), &[192, 0, 2, 1], &ports];
        prop_assert_eq!(read(&v2(0x21, 0x11, &block), 9).0, Some(Ok(client(v4.into(), port))));
        let block: [&[u8]; 3] = [&v6.octets(), &[0xfe; 16], &ports];
        prop_assert_eq!(read(&v2(0x21, 0x21, &block), 9).0, Some(Ok(client(v6.into(), port))));
    }
}
