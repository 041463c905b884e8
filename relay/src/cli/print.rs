//! What verbs print: aligned columns for people, JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

/// The fewest and the most columns that a listing is laid out for.
const WIDTHS: (usize, usize) = (80, 120);
/// The columns before a detail.
const INDENT: usize = 4;

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

/// The room that a listing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The columns to lay it out for: those of the terminal, of what suits reading; else as many as most have.
    pub columns: usize,
    /// The terminal, if there is one.
    pub terminal: Option<Terminal>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its columns, at least one.
    pub columns: usize,
    /// Its rows, at least one.
    pub rows: usize,
}

impl Terminal {
    /// Returns how many rows a line takes.
    #[must_use]
    pub fn taken(self, line: &str) -> usize {
        line.chars().count().div_ceil(self.columns).max(1)
    }
}

/// Returns the room of standard output.
#[must_use]
pub fn room() -> Room {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map_or(WIDTHS.1, |size| size.ws_col.into());
    // A terminal that does not tell has no size.
    let terminal = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    let terminal =
        terminal.map(|size| Terminal { columns: size.ws_col.into(), rows: size.ws_row.into() });
    Room { columns: columns.clamp(WIDTHS.0, WIDTHS.1), terminal }
}

/// Returns rows under their heads as [`table`] prints them, each with its details below it, indented. A detail is
/// broken at spaces to fit `width` columns, unless it is one to copy.
#[must_use]
pub fn detailed<const N: usize>(
    heads: [&str; N],
    rows: Vec<([String; N], Vec<Detail>)>,
    width: usize,
) -> String {
    let (cells, details): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let table = aligned(heads, &cells);
    let mut lines = table.lines();
    let mut text: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    for (line, details) in lines.zip(details) {
        text.push(line.to_owned());
        for detail in details {
            match detail {
                Detail::Prose(words) => text.extend(wrapped(&shown(&words), INDENT, INDENT, width)),
                Detail::Copy(words) => text.push(format!("{:INDENT$}{}", "", shown(&words))),
            }
        }
    }
    text.join("\n")
}

/// What stands below a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Words to read.
    Prose(String),
    /// Words to copy: never broken.
    Copy(String),
}

/// What stands as a space, and is not broken at.
pub(super) const NO_BREAK: char = '\u{a0}';

/// Breaks text at its spaces into lines of so many columns, the first indented by `first`, those below it by
/// `below`; a word that is longer stays whole, and words stay together that [`NO_BREAK`] joins.
pub(super) fn wrapped(text: &str, first: usize, below: usize, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{:below$}{word}", "")),
            None => lines.push(format!("{:first$}{word}", "")),
        }
    }
    lines.iter().map(|line| line.replace(NO_BREAK, " ")).collect()
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

/// Returns an error with its causes. Some say what their cause says, which is not said again.
#[must_use]
pub fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        match (said.is_empty(), said.contains(&cause)) {
            (true, _) => cause,
            (false, true) => said,
            (false, false) => format!("{said}: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let missing = || anyhow::anyhow!("No such file");
        for (error, wanted) in [
            (missing(), "No such file"),
            (missing().context("a.toml"), "a.toml: No such file"),
            (missing().context("a.toml: No such file"), "a.toml: No such file"),
            (missing().context("No such file?").context("b"), "b: No such file?"),
        ] {
            assert_eq!(causes(&error), wanted);
        }
    }

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

    #[test]
    fn details_stand_below_their_row_and_only_those_to_read_are_broken() {
        let details =
            vec![Detail::Prose("one two\u{1b} three".into()), Detail::Copy("four five six".into())];
        let rows = vec![(["a".to_owned()], details), (["b".to_owned()], Vec::new())];
        let text = "HEAD\na\n    one two?\n    three\n    four five six\nb";
        assert_eq!(detailed(["HEAD"], rows, 13), text);
    }
}
