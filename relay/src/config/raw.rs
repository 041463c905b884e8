//! The file as written: tables that know where each value stands, remember what was asked of them
//! and collect every problem instead of stopping at the first.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, beginning with the key, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// What the code does where a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is an error.
    Required,
    /// A default takes its place.
    Defaulted,
    /// Its absence has a meaning of its own.
    Optional,
}

/// The text of a file, the problems found in it and the keys that the code knows.
pub(super) struct Source<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
    keys: RefCell<BTreeMap<String, Presence>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: RefCell::default(), keys: RefCell::default() }
    }

    /// Notes a problem at an octet range of the text.
    pub(super) fn report(&self, span: &Range<usize>, message: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        self.problems.borrow_mut().push(Problem {
            line: self.line(span),
            column: before[line_start..].chars().count() + 1,
            message,
        });
    }

    /// Returns the line on which `span` begins, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.text.get(..span.start).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// Returns all problems in the order of the text.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }

    /// Returns every key that was asked for, as `table.key`.
    #[cfg(test)]
    pub(super) fn keys(&self) -> BTreeMap<String, Presence> {
        self.keys.borrow().clone()
    }
}

/// A table of the file. [`Table::finish`] reports the keys that nobody asked for.
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    path: String,
    span: Range<usize>,
    /// None where the file has no such table: every key is absent.
    values: Option<&'a DeTable<'a>>,
    taken: RefCell<Vec<&'a str>>,
}

/// A value and the place where it stands.
pub(super) struct Found<'a> {
    pub(super) value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
}

impl<'a> Table<'a> {
    /// Returns the table that is the whole file.
    pub(super) fn root(source: &'a Source<'a>, values: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(source, String::new(), values.span(), Some(values.get_ref()))
    }

    fn new(
        source: &'a Source<'a>,
        path: String,
        span: Range<usize>,
        values: Option<&'a DeTable<'a>>,
    ) -> Self {
        Self { source, path, span, values, taken: RefCell::default() }
    }

    /// Returns where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns the line on which the table begins.
    pub(super) fn line(&self) -> usize {
        self.source.line(&self.span)
    }

    /// Notes a problem with a key of this table, at its value if it has one.
    pub(super) fn report(&self, key: &str, message: &str) {
        let span = self.look(key).map_or_else(|| self.span(), |found| found.span);
        self.source.report(&span, format!("{}: {message}", self.name_of(key)));
    }

    /// Reads a key whose absence is an error.
    pub(super) fn required<T>(&self, key: &str, read: impl Read<'a, T>) -> Option<T> {
        self.note(key, Presence::Required);
        let Some(found) = self.take(key) else {
            self.report(key, "this key is required");
            return None;
        };
        self.convert(key, &found, read)
    }

    /// Reads a key that has a default.
    pub(super) fn or<T>(&self, key: &str, default: T, read: impl Read<'a, T>) -> T {
        self.note(key, Presence::Defaulted);
        self.take(key).and_then(|found| self.convert(key, &found, read)).unwrap_or(default)
    }

    /// Reads a key whose absence has a meaning.
    pub(super) fn optional<T>(&self, key: &str, read: impl Read<'a, T>) -> Option<T> {
        self.note(key, Presence::Optional);
        self.take(key).and_then(|found| self.convert(key, &found, read))
    }

    /// Reads an array, each element by `read`; wrong elements are reported one by one.
    pub(super) fn list<T>(&self, key: &str, presence: Presence, read: impl Read<'a, T>) -> Vec<T> {
        self.note(key, presence);
        let Some(found) = self.take(key) else {
            if presence == Presence::Required {
                self.report(key, "this key is required");
            }
            return Vec::new();
        };
        let Some(array) = found.value.as_array() else {
            self.wrong_type(key, &found, "an array, as in [\"a\", \"b\"]");
            return Vec::new();
        };
        let elements = array.iter().filter_map(|element| {
            let found = Found { value: element.get_ref(), span: element.span() };
            self.convert(key, &found, &read)
        });
        elements.collect()
    }

    /// Reads an array as [`Table::list`] does; none if the key is absent.
    pub(super) fn optional_list<T>(&self, key: &str, read: impl Read<'a, T>) -> Option<Vec<T>> {
        let is_there = self.look(key).is_some();
        let elements = self.list(key, Presence::Optional, read);
        is_there.then_some(elements)
    }

    /// Returns the table `[key]`; an absent one is empty.
    pub(super) fn table(&self, key: &str) -> Table<'a> {
        let path = self.name_of(key);
        match self.take(key) {
            None => Self::new(self.source, path, self.span(), None),
            Some(found) => {
                if found.value.as_table().is_none() {
                    self.wrong_type(key, &found, &format!("a table, as in [{path}]"));
                }
                Self::new(self.source, path, found.span, found.value.as_table())
            }
        }
    }

    /// Returns the table `[key]` if there is one.
    pub(super) fn optional_table(&self, key: &str) -> Option<Table<'a>> {
        self.look(key).is_some().then(|| self.table(key))
    }

    /// Returns the tables `[[key]]` in order.
    pub(super) fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let path = self.name_of(key);
        let Some(found) = self.take(key) else { return Vec::new() };
        let Some(array) = found.value.as_array() else {
            self.wrong_type(key, &found, &format!("an array of tables, as in [[{path}]]"));
            return Vec::new();
        };
        let tables = array.iter().map(|element| {
            if element.get_ref().as_table().is_none() {
                let found = Found { value: element.get_ref(), span: element.span() };
                self.wrong_type(key, &found, &format!("a table, as in [[{path}]]"));
            }
            Self::new(self.source, path.clone(), element.span(), element.get_ref().as_table())
        });
        tables.collect()
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(&self) {
        let Some(values) = self.values else { return };
        for key in values.keys() {
            if !self.taken.borrow().contains(&key.get_ref().as_ref()) {
                let name = self.name_of(key.get_ref());
                self.source.report(&key.span(), format!("{name}: no such key"));
            }
        }
    }

    fn note(&self, key: &str, presence: Presence) {
        self.source.keys.borrow_mut().insert(self.name_of(key), presence);
    }

    fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Returns the value of `key`, whose hyphens may be written as underscores.
    fn look(&self, key: &str) -> Option<Found<'a>> {
        let entry = self.values?.iter().find(|(name, _)| is_same_key(name.get_ref(), key));
        entry.map(|(_, value)| Found { value: value.get_ref(), span: value.span() })
    }

    /// As `look`, and remembers that the key was asked for. A key that stands there in both
    /// spellings is taken once, so that [`Table::finish`] reports the other.
    fn take(&self, key: &str) -> Option<Found<'a>> {
        let (name, _) = self.values?.iter().find(|(name, _)| is_same_key(name.get_ref(), key))?;
        self.taken.borrow_mut().push(name.get_ref().as_ref());
        self.look(key)
    }

    fn convert<T>(&self, key: &str, found: &Found<'a>, read: impl Read<'a, T>) -> Option<T> {
        match read(found.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.source.report(&found.span, format!("{}: {message}", self.name_of(key)));
                None
            }
        }
    }

    fn wrong_type(&self, key: &str, found: &Found<'a>, expected: &str) {
        let message =
            format!("{}: expected {expected}, found {}", self.name_of(key), found.value.type_str());
        self.source.report(&found.span, message);
    }
}

/// Turns a written value into a meant one, or says what was expected.
pub(super) trait Read<'a, T>: Fn(&'a DeValue<'a>) -> Result<T, Cow<'static, str>> {}

impl<'a, T, F: Fn(&'a DeValue<'a>) -> Result<T, Cow<'static, str>>> Read<'a, T> for F {}

fn is_same_key(written: &str, key: &str) -> bool {
    written == key || (written.contains('_') && written.replace('_', "-") == key)
}
