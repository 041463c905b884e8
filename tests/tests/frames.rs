//! Every written frame judged on the host, and what holds for all frames.

#![forbid(unsafe_code)]

use std::sync::LazyLock;

use proptest::prelude::*;
use relay_common::verdict::{Reason, Verdict, judge};
use tests::frames::{self, Case, Frame};
use tests::lists::Lists;
use tests::mutate::{Chance, SHORTEST, mutate};

fn corpus() -> &'static [Frame] {
    static CORPUS: LazyLock<Vec<Frame>> =
        LazyLock::new(|| frames::all().expect("the frames can be read"));
    &CORPUS
}

fn tables(case: Case) -> Lists {
    Lists::new(case.ruleset(), 1)
}

#[test]
fn every_written_frame_is_judged_as_its_file_says() {
    let corpus = corpus();
    assert!(corpus.len() > 100, "only {} frames were found", corpus.len());
    let mut wrong = Vec::new();
    for case in Case::ALL {
        let tables = tables(case);
        for frame in corpus {
            let (judged, expected) = (judge(frame.bytes.as_slice(), &tables), frame.expected(case));
            if judged != expected {
                wrong.push(format!("{} ({case:?}): {judged:?}, expected {expected:?}", frame.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_frame_cut_anywhere_never_passes_for_a_stranger() {
    for case in [Case::Stranger, Case::Loose] {
        let tables = tables(case);
        for frame in corpus() {
            if frame.expected(case).passes() {
                continue;
            }
            for length in SHORTEST..frame.bytes.len() {
                let judged = judge(&frame.bytes[..length], &tables);
                assert!(!judged.passes(), "{} cut to {length} ({case:?}): {judged:?}", frame.name);
            }
        }
    }
}

#[test]
fn of_all_512_flags_syn_without_ack_is_the_trigger() {
    let syn = corpus().iter().find(|frame| frame.name == "ipv4/syn").expect("ipv4/syn");
    let flags_at = syn.bytes.len() - 7;
    for flags in 0..512u16 {
        let mut frame = syn.bytes.clone();
        let [reserved, low] = flags.to_be_bytes();
        frame[flags_at - 1] |= reserved;
        frame[flags_at] = low;
        let connects = low & 0x12 == 0x02;
        let seen = Case::ALL.map(|case| judge(frame.as_slice(), &tables(case)));
        let expected = if connects {
            let dropped = Verdict::Drop(Reason::UnlistedSyn);
            [dropped, Verdict::Pass(Reason::Admitted), dropped]
        } else {
            [
                Verdict::Drop(Reason::UnlistedSegment),
                Verdict::Pass(Reason::Listed),
                Verdict::Pass(Reason::OutOfScope),
            ]
        };
        assert_eq!(seen, expected, "flags {flags:#05x}");
    }
}

#[test]
fn what_a_stranger_may_not_send_a_listed_source_may() {
    // But for what nobody may send, and for what has no source to look up.
    let nobody = [Reason::MappedSource, Reason::TagsTooDeep, Reason::Truncated];
    for frame in corpus() {
        if let Verdict::Drop(reason) = frame.expected(Case::Listed) {
            assert!(nobody.contains(&reason), "{}: {reason:?}", frame.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the bytes: no panic, and more trust never drops what less trust passes.
    #[test]
    fn random_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..300), seed: u64) {
        let corpus = corpus();
        let mut chance = Chance::from_seed(seed);
        let picked = &corpus[chance.below(corpus.len())].bytes;
        let other = &corpus[chance.below(corpus.len())].bytes;
        for frame in [bytes, mutate(picked, other, &mut chance)] {
            let [stranger, listed, loose] = Case::ALL.map(|case| judge(frame.as_slice(), &tables(case)));
            prop_assert!(!stranger.passes() || listed.passes());
            prop_assert!(!stranger.passes() || loose.passes());
            prop_assert_eq!(stranger.passes(), !stranger.reason().drops());
        }
    }
}
