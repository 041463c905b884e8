use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;
use relay_common::addr::Addr;
use relay_common::lookup::WORDS;

use super::*;

/// Memory for a list, outside the kernel.
struct Desk {
    head: Vec<AtomicU64>,
    cover: Vec<AtomicU64>,
    cells: Vec<AtomicU64>,
}

fn words(lines: u32) -> Vec<AtomicU64> {
    (0..lines as usize * WORDS).map(|_| AtomicU64::new(0)).collect()
}

impl Desk {
    fn new(sizes: Sizes) -> Self {
        let head = (0..HEAD_WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { head, cover: words(Sizes::cover_lines()), cells: words(sizes.cell_lines()) }
    }

    fn filled(roll: &Roll, number: u32) -> Self {
        let mut sizes = Sizes::for_roll(roll, 0x5eed);
        loop {
            let desk = Self::new(sizes);
            match fill(&desk.image(), roll, sizes, number) {
                Ok(()) => return desk,
                Err(Full) => sizes = sizes.doubled(),
            }
        }
    }

    fn image(&self) -> Image<'_> {
        Image::new(&self.head, &self.cover, &self.cells)
    }
}

fn net(text: &str) -> Net {
    crate::gate::net(text.parse().unwrap()).unwrap()
}

fn addr(text: &str) -> Addr {
    Addr::from(text.parse::<std::net::IpAddr>().unwrap())
}

/// The longest entry that holds `source`, found the slow way.
fn longest(entries: &BTreeMap<Net, EntryId>, source: Addr) -> Option<EntryId> {
    let holding = entries.iter().filter(|(net, _)| net.contains(source));
    holding.max_by_key(|(net, _)| net.prefix()).map(|(_, id)| *id)
}

#[test]
fn networks_of_one_ipv6_64_fit_whatever_their_length() {
    for prefix in [72_u32, 80, 96, 112, 128] {
        let nets = (0..200_u128).map(|number| {
            let address = 0x2001_0db8_u128 << 96 | number << (128 - prefix);
            (net(&format!("{}/{prefix}", Ipv6Addr::from_bits(address))), EntryId(number as u32))
        });
        let roll: Roll = nets.collect();
        let sizes = Sizes::for_roll(&roll, 0x5eed);
        let desk = Desk::new(sizes);
        assert_eq!(fill(&desk.image(), &roll, sizes, 1), Ok(()), "/{prefix}");
    }
}

#[test]
fn overlaps_resolve_to_the_longest_and_families_do_not_mix() {
    let nets = ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "2001:db8::7/128"];
    let roll: Roll = (1..).map(EntryId).zip(nets).map(|(id, text)| (net(text), id)).collect();
    let desk = Desk::filled(&roll, 9);
    let image = desk.image();
    assert_eq!(image.number(), 9);
    for (source, wanted) in [
        ("198.51.100.1", Some(1)),
        ("192.0.2.8", Some(2)),
        ("192.0.2.7", Some(3)),
        ("2001:db8::8", Some(4)),
        ("2001:db8::7", Some(5)),
        ("2001:db9::7", None),
    ] {
        let found = image.entry(&addr(source), |_| true);
        assert_eq!(found, wanted.map(EntryId), "{source}");
        assert_eq!(image.covers(&addr(source)), wanted.is_some(), "{source}");
    }
    let without = image.entry(&addr("192.0.2.7"), |id| id != EntryId(3));
    assert_eq!(without, Some(EntryId(2)), "an entry that ended leaves the place to the next");
}

#[test]
fn everything_and_nothing_are_lists_too() {
    let desk = Desk::filled(&Roll::default(), 0);
    for source in ["0.0.0.0", "255.255.255.255", "::", "ff02::1"] {
        assert!(!desk.image().covers(&addr(source)), "{source}");
    }
    let all: Roll =
        [(net("0.0.0.0/0"), EntryId(0)), (net("::/0"), EntryId(1))].into_iter().collect();
    let desk = Desk::filled(&all, 0);
    for source in ["0.0.0.0", "255.255.255.255", "192.0.2.1", "::", "ff02::1", "2001:db8::"] {
        assert!(desk.image().covers(&addr(source)), "{source}");
    }
}

#[test]
fn two_halves_of_a_block_are_the_whole_block() {
    let mut roll: Roll = [(net("192.0.2.0/25"), EntryId(1))].into_iter().collect();
    let desk = Desk::filled(&roll, 0);
    let image = desk.image();
    add(&image, &mut roll, net("192.0.2.128/25"), EntryId(2)).unwrap();
    assert!(image.covers(&addr("192.0.2.200")));
    assert_eq!(roll.lengths(Family::V4).collect::<Vec<_>>(), [25]);
    remove(&image, &mut roll, &net("192.0.2.0/25")).unwrap();
    assert!(image.covers(&addr("192.0.2.200")) && !image.covers(&addr("192.0.2.100")));
}

#[test]
fn a_list_that_grows_beyond_its_memory_says_so_and_changes_nothing() {
    let mut roll = Roll::default();
    let desk = Desk::filled(&roll, 0);
    let image = desk.image();
    let mut added = Vec::new();
    for number in 0..10_000u32 {
        let net = Net::host(Addr::v4((0x0a00_0000 + number * 7).to_be_bytes()));
        if add(&image, &mut roll, net, EntryId(number)) == Err(Full) {
            assert!(number > 60, "full at {number}");
            assert_eq!(roll.len(), added.len());
            assert!(added.iter().all(|net: &Net| image.covers(&net.addr())));
            assert!(!image.covers(&net.addr()));
            return;
        }
        added.push(net);
    }
    panic!("16 lines took 10,000 entries");
}

#[test]
fn a_cell_that_is_taken_out_is_used_again() {
    let (mut roll, net4, net6) = (Roll::default(), net("192.0.2.1/32"), net("2001:db8::1/128"));
    let desk = Desk::filled(&roll, 0);
    let image = desk.image();
    for number in 0..1_000 {
        for net in [net4, net6] {
            add(&image, &mut roll, net, EntryId(number)).unwrap();
            assert_eq!(image.entry(&net.addr(), |_| true), Some(EntryId(number)));
            assert_eq!(remove(&image, &mut roll, &net), Some(EntryId(number)));
            assert!(!image.covers(&net.addr()));
        }
    }
}

#[test]
fn sixty_thousand_entries_are_all_found_and_their_neighbours_are_not() {
    let v4 =
        (0..30_000u32).map(|n| Net::host(Addr::v4((n.wrapping_mul(0x9e37_79b1)).to_be_bytes())));
    let v6 = (0..30_000u128)
        .map(|n| Net::new(Ipv6Addr::from_bits(0x2001_0db8 << 96 | (n * 7) << 80), 48).unwrap());
    let roll: Roll = v4.chain(v6).zip((0..).map(EntryId)).collect();
    assert_eq!(roll.len(), 60_000);
    let desk = Desk::filled(&roll, 0);
    for (net, id) in roll.iter() {
        assert_eq!(desk.image().entry(&net.addr(), |_| true), Some(id), "{net}");
        assert!(desk.image().covers(&net.addr()), "{net}");
        let [high, low] = net.addr().words();
        let next = match net.family() {
            Family::V4 => Addr::from_words(Family::V4, [high ^ 1 << 32, low]),
            Family::V6 => Addr::from_words(Family::V6, [high ^ 1 << 16, low]),
        };
        if roll.id(&Net::new(next, net.prefix()).unwrap()).is_none() {
            assert!(!desk.image().covers(&next), "{net}");
        }
    }
}

/// Networks that lie in each other, and beside each other, often.
fn nets() -> impl Strategy<Value = Net> {
    let v4 = (0u32..4096, 0u8..=32).prop_map(|(low, prefix)| {
        let address = 0xc000_0000 | low << 4;
        let kept = if prefix == 0 { 0 } else { address & (u32::MAX << (32 - prefix)) };
        Net::new(Ipv4Addr::from_bits(kept), prefix).unwrap()
    });
    let v6 = (0u128..64, 0u8..=128).prop_map(|(low, prefix)| {
        let address = 0x2001_0db8 << 96 | low << 61 | low << 80 | low;
        let kept = if prefix == 0 { 0 } else { address & (u128::MAX << (128 - prefix)) };
        Net::new(Ipv6Addr::from_bits(kept), prefix).unwrap()
    });
    prop_oneof![v4, v6]
}

/// Addresses at the edges of a network and next to it.
fn edges(net: &Net) -> [Addr; 4] {
    let [high, low] = net.addr().words();
    let number = u128::from(high) << 64 | u128::from(low);
    let unit = match net.family() {
        Family::V4 => 1u128 << 96,
        Family::V6 => 1,
    };
    let size = if net.prefix() == 0 { 0 } else { 1u128 << (128 - net.prefix()) };
    let at = |number: u128| Addr::from_words(net.family(), [(number >> 64) as u64, number as u64]);
    [
        net.addr(),
        at(number.wrapping_add(size).wrapping_sub(unit)),
        at(number.wrapping_add(size)),
        at(number.wrapping_sub(unit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However a list came to be, by one build or by any changes, it answers like a slow search.
    #[test]
    fn a_changed_list_answers_like_a_slow_search(
        first in prop::collection::vec(nets(), 0..40),
        changes in prop::collection::vec((nets(), any::<bool>(), any::<prop::sample::Index>()), 0..60),
    ) {
        let mut entries: BTreeMap<Net, EntryId> = first.into_iter().zip((1..).map(EntryId)).collect();
        let mut roll: Roll = entries.clone().into_iter().collect();
        let mut desk = Desk::filled(&roll, 1);
        let mut asked: Vec<Net> = entries.keys().copied().collect();
        for ((net, is_new, pick), id) in changes.into_iter().zip((1_000..).map(EntryId)) {
            asked.push(net);
            if is_new || entries.is_empty() {
                entries.insert(net, id);
                if add(&desk.image(), &mut roll, net, id).is_err() {
                    roll.insert(net, id);
                    desk = Desk::filled(&roll, 2);
                }
            } else {
                let net = *pick.get(&entries.keys().copied().collect::<Vec<_>>());
                let gone = entries.remove(&net);
                prop_assert_eq!(remove(&desk.image(), &mut roll, &net), gone);
            }
        }
        let built = Desk::filled(&entries.clone().into_iter().collect(), 3);
        for source in asked.iter().flat_map(edges) {
            let wanted = longest(&entries, source);
            for image in [desk.image(), built.image()] {
                prop_assert_eq!(image.entry(&source, |_| true), wanted, "{}", source);
                prop_assert_eq!(image.covers(&source), wanted.is_some(), "{}", source);
            }
        }
        // The bitmaps of IPv4 are exact, so both ways lead to the same.
        let fine = |desk: &Desk| desk.cover[..(1 << 16) * WORDS].iter()
            .map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
        prop_assert!(fine(&desk) == fine(&built));
    }
}

#[test]
fn while_a_list_changes_nobody_is_let_in_or_shut_out_by_mistake() {
    // 192.0.2.0/24 stays listed, by itself, by what is around it or by what is in it; 192.0.3.0/24 never is.
    let stays = ["192.0.2.0/25", "192.0.2.128/25"].map(net);
    let mut roll: Roll = stays.iter().copied().zip((1..).map(EntryId)).collect();
    let v6 = net("2001:db8:1::/48");
    roll.insert(v6, EntryId(3));
    let desk = Desk::filled(&roll, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..=2u32 {
            let (desk, done) = (&desk, &done);
            scope.spawn(move || {
                let mut low = seed;
                while !done.load(Ordering::Relaxed) {
                    low = low.wrapping_mul(0x9e37_79b1).wrapping_add(1);
                    let host = (low >> 24) as u8;
                    assert!(desk.image().covers(&Addr::v4([192, 0, 2, host])), "{host}");
                    assert!(!desk.image().covers(&Addr::v4([192, 0, 3, host])), "{host}");
                    assert!(desk.image().covers(&addr("2001:db8:1::7")));
                    assert!(!desk.image().covers(&addr("2001:db9:1::7")));
                }
            });
        }
        let image = desk.image();
        let others = ["192.0.2.0/24", "192.0.2.64/26", "192.0.2.9/32", "2001:db8::/32"].map(net);
        for round in 0..20_000 {
            let which = others[round % others.len()];
            if roll.id(&which).is_some() {
                remove(&image, &mut roll, &which);
            } else {
                // IPv6's cells are not used again by others, so only so many changes fit: these do.
                add(&image, &mut roll, which, EntryId(9)).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
