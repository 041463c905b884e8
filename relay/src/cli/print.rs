//! What verbs print: aligned columns for people, JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Columns, for people.
    Text,
    /// JSON, for programs.
    Json,
}

/// What a colour says; the words say it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Green,
    /// Somebody should look.
    Yellow,
    /// It does not work.
    Red,
}

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// They are, by the sequences of ECMA-48 (SGR).
    Colours,
    /// They are not.
    Plain,
}

impl Paint {
    /// Returns what suits standard output: colours on a terminal only, and not where `NO_COLOR` is set
    /// or the terminal is `dumb`.
    #[must_use]
    pub fn of_output() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !no_colour && !is_dumb {
            Self::Colours
        } else {
            Self::Plain
        }
    }

    /// Returns words in a colour.
    #[must_use]
    pub fn put(self, colour: Colour, words: &str) -> String {
        let number = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        match self {
            Self::Colours => format!("\u{1b}[1;{number}m{words}\u{1b}[0m"),
            Self::Plain => words.to_owned(),
        }
    }
}

/// Prints a line. A reader that went away (`sallyport queue list | head`) is not an error.
pub fn say(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// Prints `value` as JSON.
pub fn json<T: Serialize>(value: &T) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        say(text);
    }
}

/// Prints rows under their heads, columns aligned, two spaces between them.
///
/// Cells may come from strangers: control characters are shown as `?`.
pub fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) {
    say(aligned(heads, rows).trim_end());
}

fn aligned<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heads.map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heads.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", shown(cell)));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns text that may come from strangers with `?` for every control character: none moves the cursor.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Returns a number and what is counted: `1 message`, `2 messages`, `2 entries`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_more_are_many() {
        let counted = [(1, "message"), (0, "message"), (1, "entry"), (7, "entry")];
        let shown = counted.map(|(number, noun)| count(number, noun));
        assert_eq!(shown, ["1 message", "0 messages", "1 entry", "7 entries"]);
    }

    #[test]
    fn columns_are_aligned_and_control_characters_shown() {
        let rows = [["a".to_owned(), "long\u{1b}[0m".into()], ["bcd".into(), String::new()]];
        assert_eq!(aligned(["N", "TEXT"], &rows), "N    TEXT\na    long?[0m\nbcd\n");
    }
}
