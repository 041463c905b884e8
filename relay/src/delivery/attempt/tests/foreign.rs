//! Whatever a next hop sends.

use proptest::prelude::*;

use super::driven::{Driven, parcel, ready, terms};
use crate::config::RouteTls;
use crate::delivery::action::End;
use crate::delivery::parcel::Parcel;
use crate::delivery::ruling::Judged;
use crate::mail::envelope::Body;

/// Feeds `octets` in pieces to an attempt that offers a message whenever it can, and returns what
/// came out.
fn run(octets: &[u8], piece: usize) -> (Vec<u8>, Vec<Vec<Judged>>, Option<End>) {
    let mut driven = Driven::new(terms(RouteTls::None, None));
    for byte in octets.chunks(piece) {
        if driven.ready > 0 && driven.end.is_none() {
            driven.begin(Parcel { size_bytes: 4, ..parcel("a b", Body::SevenBit) });
        }
        driven.attempt.receive(byte, driven.now);
        driven.obey();
        while std::mem::take(&mut driven.read_body) > 0 {
            driven.body(b".x\r\n");
        }
    }
    driven.attempt.lost("closed");
    driven.obey();
    assert!(driven.end.is_some(), "lost always ends an attempt");
    (driven.sent, driven.judged, driven.end)
}

fn hop_octets() -> impl Strategy<Value = Vec<u8>> {
    let code = prop::sample::select(vec!["220", "250", "354", "421", "451", "530", "550", "552"]);
    let line =
        (code, prop::sample::select(vec![" ok\r\n", "-ok\r\n", " PIPELINING\n", "-CHUNKING\n"]))
            .prop_map(|(code, rest)| format!("{code}{rest}").into_bytes());
    let noise = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(prop_oneof![9 => line, 1 => noise], 0..24).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn whatever_a_hop_sends_every_message_is_settled_once(
        octets in hop_octets(),
        piece in 1usize..40,
    ) {
        let (sent, judged, _) = run(&octets, piece);
        let mails = String::from_utf8(sent).unwrap().matches("MAIL FROM").count();
        prop_assert!(judged.len() >= mails);
        prop_assert!(judged.iter().all(|judged| judged.len() == 2));
    }

    #[test]
    fn one_transaction_goes_alike_however_the_answers_are_split(
        octets in hop_octets(),
        piece in 1usize..40,
    ) {
        let feed = |piece: usize| {
            let mut driven = ready("PIPELINING");
            driven.begin(parcel("a b", Body::SevenBit));
            for piece in octets.chunks(piece) {
                driven.attempt.receive(piece, driven.now);
                driven.obey();
            }
            (driven.judged, driven.end)
        };
        prop_assert_eq!(feed(piece), feed(1));
    }
}
