//! What was measured, as a picture (SVG) for the README: a bar for every rate.

use std::fmt::Write as _;

use crate::report::{find, rate};
use crate::{Measured, SHOWN};
use ::tests::contest::servers::Who;
use ::tests::svg::begin;

const WIDTH: f64 = 760.0;
const TOP: f64 = 50.0;
const BARS: f64 = 290.0;
const BARS_WIDTH: f64 = 380.0;
const ROW: f64 = 20.0;
const OURS: &str = "#0059b3";
const THEIRS: &str = "#b35900";

/// A bar: its name, its rate and its colour.
type Bar = (String, f64, &'static str);

fn bars(measured: &Measured) -> Vec<Bar> {
    let alone = measured.appends.iter().map(|row| {
        let name = format!("alone, {} KiB, {} producers", row.size >> 10, row.producers);
        (name, row.per_second, OURS)
    });
    let mut bars: Vec<Bar> = alone.collect();
    for row in SHOWN {
        for (who, colour) in [(Who::Sallyport, OURS), (Who::Postfix, THEIRS)] {
            if let Some(load) = find(&measured.loads, row, who) {
                bars.push((format!("{row}, {}", who.name()), rate(load), colour));
            }
        }
    }
    bars
}

/// Returns the picture. Bars grow with the logarithm: the rates span four powers of ten.
pub fn draw(measured: &Measured) -> String {
    let bars = bars(measured);
    let height = TOP + ROW * f64::from(u16::try_from(bars.len()).unwrap_or(u16::MAX)) + 16.0;
    let most = bars.iter().map(|(_, rate, _)| *rate).fold(10.0, f64::max);
    let mut svg = begin(WIDTH, height);
    svg.push_str(
        "<text x=\"16\" y=\"24\" font-weight=\"bold\">Durable messages a second (logarithmic)</text>\n",
    );
    let mut y = TOP;
    for (name, rate, colour) in &bars {
        let width = BARS_WIDTH * rate.max(1.0).log10() / most.log10();
        let (middle, end) = (y + ROW * 0.6, BARS + width + 6.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{BARS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\n\
             <text x=\"{end:.1}\" y=\"{middle:.1}\">{rate:.0}</text>",
            BARS - 10.0
        );
        y += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

const _: () = assert!(BARS + BARS_WIDTH < WIDTH, "the bars are within the picture");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;

    #[test]
    fn a_picture_has_a_bar_for_every_rate_within_its_width() {
        let svg = draw(&measured());
        assert_eq!(svg.matches("height=\"14\"").count(), 2 + 2 * SHOWN.len());
    }
}
