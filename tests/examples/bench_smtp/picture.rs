//! What was measured, as a picture (SVG) for the README: rates on the left, percentiles on the right.

use std::fmt::Write as _;

use crate::Measured;
use crate::report::find;
use ::tests::contest::rows::{ONE_SESSION, ROWS};
use ::tests::contest::servers::Who;
use ::tests::svg::{begin, line, text};

const WIDTH: f64 = 960.0;
const TOP: f64 = 70.0;
/// The left panel: where bars begin, how long the longest may be, and the height of a row.
const BARS: f64 = 240.0;
const BARS_WIDTH: f64 = 260.0;
const ROW: f64 = 44.0;
const BAR: f64 = 11.0;
/// The right panel: its plot's left side and width, and what its axis spans.
const PLOT: f64 = 640.0;
const PLOT_WIDTH: f64 = 290.0;
const MS: (f64, f64) = (0.1, 1_000.0);
/// The rows whose percentiles are shown.
const SHOWN: [&str; 3] =
    [ONE_SESSION, "10 reused connections", "a connection for each, 10 at a time"];

/// Returns the picture.
pub fn draw(measured: &Measured) -> String {
    let height = TOP + ROW * f64::from(u16::try_from(ROWS.len()).unwrap_or(u16::MAX)) + 16.0;
    let mut svg = begin(WIDTH, height);
    rates(&mut svg, measured);
    percentiles(&mut svg, measured);
    svg.push_str("</svg>\n");
    svg
}

const fn colour(who: Who) -> &'static str {
    match who {
        Who::Sallyport => "#0059b3",
        Who::Postfix => "#b35900",
        Who::PostfixInTheClear => "#999999",
    }
}

fn rates(svg: &mut String, measured: &Measured) {
    text(
        svg,
        16.0,
        24.0,
        "start",
        "<tspan font-weight=\"bold\">Messages or sessions a second</tspan>",
    );
    let mut x = 16.0;
    for who in Who::ALL {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"38\" width=\"10\" height=\"10\" fill=\"{}\"/>",
            colour(who)
        );
        text(svg, x + 16.0, 47.0, "start", who.name());
        x += 100.0;
    }
    let rates = measured.loads.iter().map(|load| load.median.per_second);
    let most = rates.fold(1.0, f64::max);
    let mut y = TOP;
    for row in ROWS {
        text(svg, BARS - 10.0, y + BAR + 4.0, "end", row.name);
        for (who, place) in Who::ALL.into_iter().zip([0.0, 1.0, 2.0]) {
            let Some(load) = find(measured, row.name, who.name()) else { continue };
            let (rate, y) = (load.median.per_second, y + place * BAR);
            let width = BARS_WIDTH * rate / most;
            let _ = writeln!(
                svg,
                "<rect x=\"{BARS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                BAR - 1.0,
                colour(who)
            );
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{rate:.0}</text>",
                BARS + width + 5.0,
                y + BAR - 2.0
            );
        }
        y += ROW;
    }
}

fn percentiles(svg: &mut String, measured: &Measured) {
    text(
        svg,
        PLOT,
        24.0,
        "start",
        "<tspan font-weight=\"bold\">From MAIL, or the connection, to 250</tspan>",
    );
    text(svg, PLOT, 42.0, "start", "milliseconds: the median, 99 % and 99.9 %");
    let bottom = TOP + ROW * 3.0 * f64::from(u8::try_from(SHOWN.len()).unwrap_or(u8::MAX));
    for (ms, label) in [(0.1, "0.1"), (1.0, "1"), (10.0, "10"), (100.0, "100"), (1e3, "1000")] {
        let x = x_of(ms);
        line(svg, (x, TOP), (x, bottom), ("#ddd", 1.0));
        text(svg, x, bottom + 16.0, "middle", label);
    }
    let mut y = TOP;
    for name in SHOWN {
        text(svg, PLOT, y + 14.0, "start", name);
        for (who, place) in Who::ALL.into_iter().zip([1.0, 2.0, 3.0]) {
            let Some(load) = find(measured, name, who.name()) else { continue };
            let (round, y) = (&load.median, y + 10.0 + 26.0 * place);
            let places = [round.p50_ms, round.p99_ms, round.p999_ms].map(x_of);
            line(svg, (places[0], y), (places[2], y), (colour(who), 2.0));
            for (x, radius) in places.into_iter().zip([5.0, 3.5, 2.5]) {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{}\"/>",
                    colour(who)
                );
            }
        }
        y += ROW * 3.0;
    }
}

fn x_of(ms: f64) -> f64 {
    let ms = ms.clamp(MS.0, MS.1);
    PLOT + PLOT_WIDTH * (ms / MS.0).log10() / (MS.1 / MS.0).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;

    #[test]
    fn a_picture_has_a_bar_for_every_load_and_stays_within_its_width() {
        let svg = draw(&measured());
        let bars = svg.matches("height=\"10.0\"").count();
        assert_eq!(bars, ROWS.len() * Who::ALL.len());
        assert!(SHOWN.iter().all(|name| ROWS.iter().any(|row| row.name == *name)));
        assert!(x_of(1e9) <= WIDTH && x_of(0.0) >= PLOT);
    }
}
