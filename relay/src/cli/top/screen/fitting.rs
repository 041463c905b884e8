//! Rows in a frame that has not room for all of them: what is left out is counted.

use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};

/// Something that is shown, or not.
pub(super) enum Row {
    /// In one line, which is cut where the frame ends.
    Line(Line<'static>),
    /// In as many lines as its words take.
    Prose(String, Style),
}

impl Row {
    pub(super) fn line(line: impl Into<Line<'static>>) -> Self {
        Self::Line(line.into())
    }

    pub(super) fn prose(words: String, colour: Color) -> Self {
        Self::Prose(words, Style::new().fg(colour))
    }

    fn lines(self, width: usize) -> Vec<Line<'static>> {
        match self {
            Self::Line(line) => vec![line],
            Self::Prose(words, style) => {
                let lines = broken(&words, width).into_iter();
                lines.map(|line| Line::from(Span::styled(line, style))).collect()
            }
        }
    }
}

/// Returns lines for a frame of so many columns and lines. Rows that do not fit whole are left out, and the last line
/// says how many; only the first is shown as far as it goes.
pub(super) fn fitted(rows: Vec<Row>, (width, height): (usize, usize)) -> Vec<Line<'static>> {
    let rows: Vec<_> = rows.into_iter().map(|row| row.lines(width)).collect();
    if rows.iter().map(Vec::len).sum::<usize>() <= height {
        return rows.into_iter().flatten().collect();
    }
    let room = height.saturating_sub(1);
    let (all, mut shown) = (rows.len(), 0);
    let mut lines = Vec::new();
    for row in rows {
        let is_needed = shown == 0 && room > 0;
        if lines.len() + row.len() > room && !is_needed {
            break;
        }
        lines.extend(row);
        shown += 1;
    }
    let left_out = all - shown;
    if left_out > 0 {
        lines.truncate(room);
        lines.push(format!("{left_out} more").dim().into());
    }
    lines
}

/// Breaks text at its spaces into lines of so many columns; a word that is longer is broken where the line ends.
fn broken(text: &str, width: usize) -> Vec<String> {
    let columns = |text: &str| Span::raw(text).width();
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut line = lines.pop().unwrap_or_default();
        if !line.is_empty() {
            if columns(&line) + 1 + columns(word) <= width {
                line.push(' ');
            } else {
                lines.push(std::mem::take(&mut line));
            }
        }
        for letter in word.chars() {
            let is_full = columns(&line) + columns(letter.encode_utf8(&mut [0; 4])) > width;
            if is_full && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rows: Vec<Row>, room: (usize, usize)) -> Vec<String> {
        fitted(rows, room).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_has_no_room_is_counted_and_the_last_line_is_not_lost_to_that() {
        let rows = |count: usize| -> Vec<Row> {
            (0..count).map(|number| Row::line(format!("row {number}"))).collect()
        };
        assert_eq!(text(rows(3), (9, 3)), ["row 0", "row 1", "row 2"]);
        assert_eq!(text(rows(4), (9, 3)), ["row 0", "row 1", "2 more"]);
        assert_eq!(text(rows(9), (9, 1)), ["9 more"]);
        assert_eq!(text(rows(0), (9, 3)), [""; 0]);
        let prose = |words: &str| Row::prose(words.into(), Color::Reset);
        let three = || vec![prose("one two three"), prose("four five"), prose("six")];
        assert_eq!(text(three(), (9, 4)), ["one two", "three", "four five", "six"]);
        assert_eq!(text(three(), (8, 4)), ["one two", "three", "2 more"]);
        assert_eq!(text(vec![prose("one two three")], (5, 2)), ["one", "two", "three"]);
    }

    #[test]
    fn words_are_broken_at_spaces_and_long_ones_where_the_line_ends() {
        assert_eq!(broken("a bcd ef", 4), ["a", "bcd", "ef"]);
        assert_eq!(broken("a bcdefgh i", 4), ["a", "bcde", "fgh", "i"]);
        assert_eq!(broken("\u{65e5}\u{672c}\u{8a9e}", 4), ["\u{65e5}\u{672c}", "\u{8a9e}"]);
        assert_eq!(broken("ab", 0), ["a", "b"]);
    }
}
