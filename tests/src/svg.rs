//! What the pictures of the benchmarks are drawn with.

use std::fmt::Write as _;

/// Begins a picture of this width and height, points: white, its words black and without serifs. It ends with
/// `</svg>`.
#[must_use]
pub fn begin(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    )
}

/// Draws a line of this colour and width.
pub fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), (colour, width): (&str, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// Writes words at a place; `anchor` says which end of them stands there: `start`, `middle` or `end`.
pub fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}
