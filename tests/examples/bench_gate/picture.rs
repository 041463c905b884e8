//! What was measured, as a picture (SVG) for the README.

use std::fmt::Write as _;

use crate::Measured;
use ::tests::svg::{begin, line, text};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// Of the left panel: its plot's corner and size, and what its axes span.
const LEFT: f64 = 64.0;
const TOP: f64 = 64.0;
const PLOT: (f64, f64) = (400.0, 288.0);
const NETWORKS: (f64, f64) = (10.0, 1e6);
const NS: (f64, f64) = (3.0, 3_000.0);
/// The right panel's bars.
const BARS: f64 = 690.0;
const BAR_WIDTH: f64 = 200.0;
const BAR_STEP: f64 = 40.0;

/// Returns the picture.
pub fn draw(measured: &Measured) -> String {
    let mut svg = begin(WIDTH, HEIGHT);
    curves(&mut svg, measured);
    bars(&mut svg, measured);
    svg.push_str("</svg>\n");
    svg
}

fn curves(svg: &mut String, measured: &Measured) {
    text(
        svg,
        LEFT,
        24.0,
        "start",
        "<tspan font-weight=\"bold\">A refused SYN by size of list</tspan>",
    );
    text(svg, LEFT, 42.0, "start", "nanoseconds beyond a program that passes everything");
    let bottom = TOP + PLOT.1;
    for ns in [3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0] {
        let y = y_of(ns);
        line(svg, (LEFT, y), (LEFT + PLOT.0, y), ("#ddd", 1.0));
        text(svg, LEFT - 8.0, y + 4.0, "end", &format!("{ns}"));
    }
    for (networks, label) in
        [(10.0, "10"), (1e3, "1 K"), (1e4, "10 K"), (1e5, "100 K"), (1e6, "1 M")]
    {
        let x = x_of(networks);
        line(svg, (x, bottom), (x, bottom + 4.0), ("#222", 1.0));
        text(svg, x, bottom + 20.0, "middle", label);
    }
    text(svg, LEFT + PLOT.0 / 2.0, bottom + 40.0, "middle", "networks");
    for (program, frame, label, colour, dashes) in [
        ("trie", "refused SYN, IPv4", "kernel's trie, IPv4", "#b35900", ""),
        ("trie", "refused SYN, IPv6", "kernel's trie, IPv6", "#b35900", "6 4"),
        ("xdp-filter by address", "refused SYN, IPv4", "xdp-filter", "#555555", ""),
        ("sallyport", "refused SYN, IPv4", "sallyport, IPv4", "#0059b3", ""),
        ("sallyport", "refused SYN, IPv6", "sallyport, IPv6", "#0059b3", "6 4"),
    ] {
        let costs =
            measured.packets.iter().filter(|cost| cost.program == program && cost.frame == frame);
        let points: Vec<(f64, f64)> =
            costs.map(|cost| (x_of(number(cost.networks)), y_of(cost.net_ns))).collect();
        let Some((x, y)) = points.last() else { continue };
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        // The two tries end at one place.
        let down = if dashes.is_empty() { 0.0 } else { 14.0 };
        let down = if program == "trie" { down } else { down / 2.0 };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{label}</text>",
            x + 8.0,
            y + 4.0 + down
        );
    }
}

fn bars(svg: &mut String, measured: &Measured) {
    text(
        svg,
        BARS - 10.0,
        24.0,
        "start",
        "<tspan font-weight=\"bold\">A dropped SYN over a wire</tspan>",
    );
    text(svg, BARS - 10.0, 42.0, "start", "nanoseconds with sending it, 10,000 networks");
    let most = measured.wire.iter().map(|drops| drops.ns).fold(1.0, f64::max);
    let mut y = TOP;
    for drops in &measured.wire {
        let width = BAR_WIDTH * drops.ns / most;
        let colour = if drops.firewall == "sallyport" { "#0059b3" } else { "#999999" };
        let _ = writeln!(
            svg,
            "<rect x=\"{BARS}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>",
            y + 16.0
        );
        text(svg, BARS, y + 11.0, "start", drops.firewall);
        text(svg, BARS + width + 6.0, y + 28.0, "start", &format!("{:.0}", drops.ns));
        y += BAR_STEP;
    }
}

fn x_of(networks: f64) -> f64 {
    LEFT + PLOT.0 * (networks / NETWORKS.0).log10() / (NETWORKS.1 / NETWORKS.0).log10()
}

fn y_of(ns: f64) -> f64 {
    let ns = ns.clamp(NS.0, NS.1);
    TOP + PLOT.1 * (1.0 - (ns / NS.0).log10() / (NS.1 / NS.0).log10())
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
