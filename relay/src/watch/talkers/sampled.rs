//! Who stands out among the latest samples: for a flood that is not in the sums yet.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use relay_common::addr::{Addr, Net};
use relay_common::table::family_index;

use super::Talker;

/// The samples that are kept.
const KEPT: usize = 256;
/// The lengths of networks that are looked at, in bits: of each family, the longest first.
const PREFIXES: [[u8; 2]; 3] = [[32, 64], [24, 48], [16, 32]];
/// A network stands out that has one sample in so many, and two of them: among random sources a pair is chance, and
/// so is one sample.
const PART: usize = 20;
const LEAST: usize = 2;
/// Bounds hold for two standard errors.
const DEVIATIONS: f64 = 2.0;

/// A sample, and when it was settled.
#[derive(Clone, Copy, Debug)]
struct Seen {
    source: Addr,
    reason: u8,
    /// [`Duration::MAX`]: it was not yet.
    at: Duration,
}

/// The latest samples of refused frames, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sampled(VecDeque<Seen>);

impl Sampled {
    /// Takes a sample.
    pub fn note(&mut self, source: Addr, reason: u8) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Seen { source, reason, at: Duration::MAX });
    }

    /// Notes that what was taken so far came before `at`.
    pub fn settle(&mut self, at: Duration) {
        for seen in self.0.iter_mut().rev().take_while(|seen| seen.at == Duration::MAX) {
            seen.at = at;
        }
    }

    /// Returns the networks that stand out among the samples that were settled within `window`, the loudest first, with
    /// their part of so many refused frames. One that has hardly more than an address or network inside it is left out.
    pub fn named(&self, at: Duration, window: Duration, refused: u64) -> Vec<Talker> {
        let of_late: Vec<&Seen> =
            self.0.iter().filter(|seen| at.saturating_sub(seen.at) <= window).collect();
        let all = of_late.len();
        let refused = refused.max(all as u64);
        let mut named: Vec<(Talker, usize)> = Vec::new();
        for prefixes in PREFIXES {
            let mut counts: BTreeMap<Net, (usize, u8)> = BTreeMap::new();
            for seen in &of_late {
                let prefix = prefixes[family_index(seen.source.family())];
                let Ok(net) = Net::new(seen.source.masked(prefix), prefix) else { continue };
                let held = counts.entry(net).or_default();
                *held = (held.0 + 1, seen.reason);
            }
            let stands_out =
                |count: usize| (count >= LEAST || count as u64 == refused) && count * PART >= all;
            let is_more = |net: &Net, count: usize| {
                let inside = named.iter().filter(|(inner, _)| net.covers(&inner.net));
                let most = inside.map(|(_, count)| *count).max().unwrap_or(0);
                count > most + most / 10
            };
            let wider: Vec<_> = counts
                .into_iter()
                .filter(|(net, (count, _))| stands_out(*count) && is_more(net, *count))
                .map(|(net, (count, reason))| (talker(net, reason, [count, all], refused), count))
                .collect();
            named.extend(wider);
        }
        named.sort_by_key(|(talker, count)| (Reverse(*count), Reverse(talker.net)));
        named.into_iter().map(|(talker, _)| talker).collect()
    }
}

/// Returns what so many of all samples say of a network, with the lower bound of Wilson (1927): it holds for a few
/// samples too, all of which may be of one network.
fn talker(net: Net, reason: u8, [count, all]: [usize; 2], refused: u64) -> Talker {
    let rate = crate::watch::rate_of;
    let [seen, samples] = [count as u64, all as u64].map(rate);
    let (part, square) = (seen / samples, DEVIATIONS * DEVIATIONS / samples);
    let spread = (part * (1.0 - part) / samples + square / (4.0 * samples)).sqrt();
    let least = (part + square / 2.0 - DEVIATIONS * spread) / (1.0 + square);
    let of_refused = |part: f64| super::super::whole(rate(refused) * part.max(0.0));
    let frames = of_refused(part).max(count as u64);
    Talker { net, frames, error: frames - of_refused(least).clamp(count as u64, frames), reason }
}
