//! Rows behind labels, and lists of which not all may have room.

use crate::cli::print::{self, Colour, Paint, Terminal};

/// The columns of the labels.
pub(super) const LABEL: usize = 10;
/// How far what continues a list of counters is indented.
pub(super) const BELOW: usize = LABEL + 2;

/// A list of which not all may have room; those before it are given room first.
#[derive(Clone, Copy)]
pub(super) enum List {
    Problems,
    Spikes,
    Alerts,
    Routes,
    Bypasses,
    Talkers,
    Counted,
}

/// How many lists there are.
pub(super) const LISTS: usize = 7;

/// How many of each list are shown.
pub(super) type Most = [usize; LISTS];

/// Some words behind a label, on as many lines as they need, and a command below them.
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) words: String,
    /// What to run first.
    pub(super) first: Option<String>,
    /// The column of words that do not fit on the first line.
    pub(super) indent: usize,
    pub(super) colour: Option<Colour>,
}

impl Row {
    /// Words to read behind a label of at most nine columns.
    pub(super) fn new(label: &'static str, words: impl Into<String>) -> Self {
        Self { label, words: words.into(), first: None, indent: LABEL, colour: None }
    }

    /// Words that belong to the row above, or to the list that they are put in.
    pub(super) fn below(words: impl Into<String>) -> Self {
        Self::new("", words)
    }

    /// Returns it in lines of so many columns; a command, and a word that is longer, stay whole.
    pub(super) fn lines(&self, columns: usize, paint: Paint) -> Vec<String> {
        let Self { label, words, first, indent, colour } = self;
        let labelled = |(number, line): (usize, &String)| {
            let (margin, words) = line.split_at(line.len() - line.trim_start().len());
            let words = colour.map_or_else(|| words.to_owned(), |colour| paint.put(colour, words));
            match number {
                0 => format!("{label:LABEL$}{words}"),
                _ => format!("{margin}{words}"),
            }
        };
        // What next hops said may be among the words.
        let words = print::wrapped(&print::shown(words), LABEL, *indent, columns);
        let words = words.iter().enumerate().map(labelled);
        let first =
            first.iter().map(|first| format!("{:LABEL$}first: {}", "", print::shown(first)));
        words.chain(first).collect()
    }
}

/// A list, and how it is named where not all of it is shown.
pub(super) struct Part {
    /// What stands before each of it.
    pub(super) label: &'static str,
    pub(super) colour: Option<Colour>,
    /// What one of it is called.
    pub(super) noun: &'static str,
    /// How many there are.
    pub(super) total: usize,
    /// What shows all of it.
    pub(super) command: &'static str,
}

impl Part {
    /// Names a list without a colour.
    pub(super) const fn new(
        label: &'static str,
        noun: &'static str,
        total: usize,
        command: &'static str,
    ) -> Self {
        Self { label, colour: None, noun, total, command }
    }

    /// Adds the first of the list, and how to see the others.
    pub(super) fn put<T>(
        &self,
        rows: &mut Vec<Row>,
        all: &[T],
        most: usize,
        shown: impl FnMut(&T) -> Row,
    ) {
        let Self { label, colour, noun, total, command } = *self;
        let first = all.iter().take(most).map(shown);
        rows.extend(first.map(|row| Row { label, colour, ..row }));
        let row = match (all.len().min(most), total - all.len().min(most)) {
            (_, 0) => return,
            (0, rest) => Row::new(label, format!("{}: {command}", print::count(rest, noun))),
            (_, rest) => Row::below(format!("and {rest} more: {command}")),
        };
        rows.push(Row { colour, ..row });
    }
}

/// Returns how many of each list have room, given in turn; none of any if even the rest has no room.
pub(super) fn fitting(terminal: Terminal, laid: impl Fn(&Most) -> Vec<String>) -> Most {
    let mut most = [0; LISTS];
    let mut lines = laid(&most);
    let mut wanting: Vec<usize> = (0..LISTS).collect();
    while !wanting.is_empty() {
        wanting.retain(|list| {
            let mut larger = most;
            larger[*list] += 1;
            let with_it = laid(&larger);
            // The last row is the prompt's.
            let rows: usize = with_it.iter().map(|line| terminal.taken(line)).sum();
            let wants_more = rows < terminal.rows && with_it != lines;
            if wants_more {
                (most, lines) = (larger, with_it);
            }
            wants_more
        });
    }
    most
}
