//! How many different sources are refused, from the kernel's sums.
//!
//! The kernel counts one refused frame of sixteen by its source, in one of 1,024 cells that the source's address
//! chooses. How many cells changed since a moment says how many sources did that, by linear counting (Whang,
//! Vander-Zanden and Taylor 1990), less two of its deviations. Sources of few frames are missed with the frames that were
//! not counted, and beyond some 7,000 counted sources all cells have changed: then it says some 5,000. So it says *at
//! least*, which is what tells a scan from a few noisy hosts; and it costs a flood nothing, since it counts nothing
//! besides.

use std::collections::VecDeque;
use std::time::Duration;

use relay_common::table::{SKETCH_CELLS, Sketch};

use super::pace::WINDOWS;

/// The windows that sources are counted over.
pub const SOURCE_WINDOWS: usize = WINDOWS.len();

/// One row of the sums of single sources.
type Row = [u32; SKETCH_CELLS];

/// The rows of a window that are kept.
const KEPT: usize = 16;
/// They lie such a part of it apart.
const STEPS: u32 = 12;

/// Counts different sources. It keeps at most 16 rows of 4 KiB a window.
#[derive(Debug, Default)]
pub struct Distinct {
    seed: u64,
    rows: [VecDeque<(Duration, Box<Row>)>; SOURCE_WINDOWS],
}

impl Distinct {
    /// Takes the kernel's sums as they are at `at`, and returns at least how many different sources were refused
    /// in the last second, ten seconds, minute and quarter of an hour; none for a window that is not full yet. Where
    /// the sums were looked at too seldom, it is as many as in a part of that time that is as long as the window.
    pub fn take(&mut self, at: Duration, sketch: &Sketch) -> [Option<u64>; SOURCE_WINDOWS] {
        // Sums that began anew: every cell would have changed.
        if sketch.seed != self.seed {
            self.seed = sketch.seed;
            self.rows.iter_mut().for_each(VecDeque::clear);
        }
        let now = &sketch.cells[0][0];
        let mut found = [None; SOURCE_WINDOWS];
        for ((rows, window), found) in self.rows.iter_mut().zip(&WINDOWS).zip(&mut found) {
            let step = *window / STEPS;
            while rows.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= *window)
                || rows.len() == KEPT
            {
                rows.pop_front();
            }
            if let Some((since, then)) = rows.front()
                && at.saturating_sub(*since) + step >= *window
            {
                let whole = within(distinct(now, then), at.saturating_sub(*since), *window);
                // Who came in the younger part came within the window too: the sums may be looked at anew just
                // when many come.
                let younger = rows.get(1).map_or(0, |(_, then)| distinct(now, then));
                *found = Some(whole.max(younger));
            }
            if rows.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= step) {
                rows.push_back((at, Box::new(*now)));
            }
        }
        found
    }
}

/// Returns how many of so many sources came within a window, if they came in `span`.
fn within(sources: u64, span: Duration, window: Duration) -> u64 {
    let part = window.as_secs_f64() / span.max(window).as_secs_f64();
    super::whole(super::rate_of(sources) * part)
}

/// How many deviations of the estimate are taken off.
const CERTAIN: f64 = 2.0;

/// Returns at least how many sources changed the cells.
fn distinct(now: &Row, then: &Row) -> u64 {
    let cells = super::rate_of(SKETCH_CELLS as u64);
    let same = now.iter().zip(then).filter(|(now, then)| now == then).count();
    // A full row says no more than one in which a single cell is left.
    let same = super::rate_of(same.max(1) as u64);
    let load = -(same / cells).ln();
    // What chance makes of it (theorem A5 of the paper).
    let deviation = (cells * (load.exp() - load - 1.0)).max(0.0).sqrt();
    super::whole((cells * load - CERTAIN * deviation).max(f64::from(u8::from(load > 0.0))))
}

#[cfg(test)]
mod tests {
    use relay_common::addr::Addr;
    use relay_common::table::{NO_SKETCH, sketch_cells};

    use super::*;

    fn count(sketch: &mut Sketch, source: u32) {
        let source = Addr::v4(source.wrapping_mul(0x9e37_79b1).to_be_bytes());
        let [one, _] = sketch_cells(&source, 32, sketch.seed);
        sketch.cells[0][0][one] = sketch.cells[0][0][one].wrapping_add(1);
    }

    fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    #[test]
    fn sources_are_counted_once_however_often_they_come() {
        for sources in [1_u32, 10, 100, 1_000, 4_000] {
            let mut sketch = Sketch { seed: 9, ..NO_SKETCH };
            let mut distinct = Distinct::default();
            distinct.take(second(0), &sketch);
            for _ in 0..50 {
                (0..sources).for_each(|source| count(&mut sketch, source));
            }
            let [_, found, ..] = distinct.take(second(10), &sketch);
            let found = found.expect("the window is full");
            let wanted = u64::from(sources);
            assert!((wanted - wanted / 5..=wanted).contains(&found), "{found} of {wanted}");
        }
    }

    #[test]
    fn a_window_holds_who_came_within_it_and_no_more() {
        let mut sketch = Sketch { seed: 9, ..NO_SKETCH };
        let mut distinct = Distinct::default();
        let mut last = [None; SOURCE_WINDOWS];
        for at in 0..1_000_u32 {
            // Five new sources a second.
            (0..5).for_each(|n| count(&mut sketch, at * 5 + n));
            last = distinct.take(second(at.into()), &sketch);
        }
        let [one, ten, minute, quarter] = last.map(|found| found.expect("every window is full"));
        assert!((4..=6).contains(&one), "{one}");
        assert!((40..=65).contains(&ten), "{ten}");
        assert!((260..=350).contains(&minute), "{minute}");
        assert!((3_200..=4_500).contains(&quarter), "{quarter}");
        assert!(distinct.rows.iter().all(|rows| rows.len() <= KEPT));
    }

    #[test]
    fn many_that_come_between_two_looks_are_seen_at_the_next_and_few_are_not_more_for_a_long_pause()
    {
        let mut sketch = Sketch { seed: 9, ..NO_SKETCH };
        let mut distinct = Distinct::default();
        let mut look =
            |at: u64, sketch: &Sketch| distinct.take(Duration::from_millis(at), sketch)[0];
        look(0, &sketch);
        look(1_000, &sketch);
        (0..100).for_each(|source| count(&mut sketch, source));
        let found = look(1_900, &sketch).expect("the window is full");
        assert!((90..=110).contains(&found), "{found}");
        (100..200).for_each(|source| count(&mut sketch, source));
        let found = look(11_900, &sketch).expect("the window is full");
        assert!((8..=12).contains(&found), "{found}: a hundred in ten seconds");
    }

    #[test]
    fn sums_that_began_anew_are_not_many_sources() {
        let mut sketch = Sketch { seed: 9, ..NO_SKETCH };
        let mut distinct = Distinct::default();
        (0..20).for_each(|at| assert_eq!(distinct.take(second(at), &sketch)[3], None));
        (0..5_000).for_each(|source| count(&mut sketch, source));
        sketch.seed = 10;
        assert_eq!(distinct.take(second(20), &sketch), [None; SOURCE_WINDOWS]);
        assert_eq!(distinct.take(second(30), &sketch)[0], Some(0));
    }
}
