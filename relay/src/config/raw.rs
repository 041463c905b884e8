//! The file as written: tables that know where each value stands, remember what was asked of them
//! and collect every problem instead of stopping at the first.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::shown::{Form, Shown};
use crate::event::class::distance;

/// The letters that differ, are missing or are too many at most in a key that is mistyped.
const SLIPS: usize = 2;

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

/// The text of a file, the problems found in it, the keys that the code knows and what each comes to.
pub(super) struct Source<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
    keys: RefCell<BTreeMap<String, Presence>>,
    shown: RefCell<Shown>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: RefCell::default(),
            keys: RefCell::default(),
            shown: RefCell::default(),
        }
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

    /// Returns all problems in the order of the text, and every key with what it comes to.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Shown) {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        (problems, self.shown.into_inner())
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
    /// Its number among the sections that are shown.
    section: usize,
    span: Range<usize>,
    /// None where the file has no such table: every key is absent.
    values: Option<&'a DeTable<'a>>,
    taken: RefCell<Vec<&'a str>>,
    /// Every key that was asked for, whether it is there or not.
    asked: RefCell<BTreeSet<String>>,
}

/// A value and the place where it stands.
pub(super) struct Found<'a> {
    pub(super) value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
}

impl<'a> Table<'a> {
    /// Returns the table that is the whole file.
    pub(super) fn root(source: &'a Source<'a>, values: &'a Spanned<DeTable<'a>>) -> Self {
        let section = source.shown.borrow_mut().open(0, "", Form::Table);
        Self::new(source, String::new(), section, values.span(), Some(values.get_ref()))
    }

    /// Returns a table within this one.
    fn inner(
        &self,
        path: String,
        form: Form,
        span: Range<usize>,
        values: Option<&'a DeTable<'a>>,
    ) -> Self {
        let section = self.source.shown.borrow_mut().open(self.section, &path, form);
        Self::new(self.source, path, section, span, values)
    }

    fn new(
        source: &'a Source<'a>,
        path: String,
        section: usize,
        span: Range<usize>,
        values: Option<&'a DeTable<'a>>,
    ) -> Self {
        let (taken, asked) = (RefCell::default(), RefCell::default());
        Self { source, path, section, span, values, taken, asked }
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
    pub(super) fn required<T>(&self, key: &str, read: impl Read<T>) -> Option<T> {
        self.note(key, Presence::Required, None);
        let Some(found) = self.take(key) else {
            self.report(key, "this key is required");
            return None;
        };
        self.convert(key, &found, read)
    }

    /// Reads a key that has a default, which is given as it could stand in the file.
    pub(super) fn or<T>(&self, key: &str, default: impl Into<Value>, read: impl Read<T>) -> T {
        let default = default.into();
        let text = default.to_string();
        self.note(key, Presence::Defaulted, Some(default));
        let written = self.take(key).and_then(|found| self.convert(key, &found, &read));
        written.unwrap_or_else(|| {
            let value = DeValue::parse(&text).expect("a default is a value of TOML");
            read(value.get_ref()).expect("a default is what its key can be")
        })
    }

    /// Reads a key whose absence has a meaning.
    pub(super) fn optional<T>(&self, key: &str, read: impl Read<T>) -> Option<T> {
        self.note(key, Presence::Optional, None);
        self.take(key).and_then(|found| self.convert(key, &found, read))
    }

    /// Reads an array, each element by `read`; wrong elements are reported one by one.
    pub(super) fn list<T>(&self, key: &str, presence: Presence, read: impl Read<T>) -> Vec<T> {
        self.note(key, presence, None);
        self.elements(key, presence, read)
    }

    /// Reads an array of strings as [`Table::list`] does; an empty one, too, is its default.
    pub(super) fn list_or<T>(&self, key: &str, default: &[&str], read: impl Read<T>) -> Vec<T> {
        self.note(key, Presence::Defaulted, Some(default.to_vec().into()));
        let written = self.elements(key, Presence::Defaulted, &read);
        if !written.is_empty() {
            return written;
        }
        let read = |text: &&str| read(&DeValue::String(Cow::Borrowed(text)));
        default.iter().map(|text| read(text).expect("a default is what its key can be")).collect()
    }

    fn elements<T>(&self, key: &str, presence: Presence, read: impl Read<T>) -> Vec<T> {
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
    pub(super) fn optional_list<T>(&self, key: &str, read: impl Read<T>) -> Option<Vec<T>> {
        let is_there = self.look(key).is_some();
        let elements = self.list(key, Presence::Optional, read);
        is_there.then_some(elements)
    }

    /// Returns the table `[key]`; an absent one is empty.
    pub(super) fn table(&self, key: &str) -> Table<'a> {
        let path = self.name_of(key);
        match self.take(key) {
            None => self.inner(path, Form::Table, self.span(), None),
            Some(found) => {
                if found.value.as_table().is_none() {
                    self.wrong_type(key, &found, &format!("a table, as in [{path}]"));
                }
                self.inner(path, Form::Table, found.span, found.value.as_table())
            }
        }
    }

    /// Returns the table `[key]` if there is one.
    pub(super) fn optional_table(&self, key: &str) -> Option<Table<'a>> {
        self.asked.borrow_mut().insert(key.to_owned());
        if self.look(key).is_none() {
            let mut shown = self.source.shown.borrow_mut();
            shown.open(self.section, &self.name_of(key), Form::NoTable);
            return None;
        }
        Some(self.table(key))
    }

    /// Returns the tables `[[key]]` in order.
    pub(super) fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let path = self.name_of(key);
        let found = self.take(key);
        if found
            .as_ref()
            .is_none_or(|found| found.value.as_array().is_some_and(|all| all.is_empty()))
        {
            self.source.shown.borrow_mut().open(self.section, &path, Form::NoElement);
        }
        let Some(found) = found else { return Vec::new() };
        let Some(array) = found.value.as_array() else {
            self.wrong_type(key, &found, &format!("an array of tables, as in [[{path}]]"));
            return Vec::new();
        };
        let tables = array.iter().map(|element| {
            if element.get_ref().as_table().is_none() {
                let found = Found { value: element.get_ref(), span: element.span() };
                self.wrong_type(key, &found, &format!("a table, as in [[{path}]]"));
            }
            self.inner(path.clone(), Form::Element, element.span(), element.get_ref().as_table())
        });
        tables.collect()
    }

    /// Reports every key that was not asked for, with the one that is meant, or those that there are.
    pub(super) fn finish(&self) {
        let Some(values) = self.values else { return };
        let asked = self.asked.borrow();
        for key in values.keys() {
            let written = key.get_ref().as_ref();
            if !self.taken.borrow().contains(&written) {
                let name = self.name_of(written);
                let hint = near(&written.replace('_', "-"), &asked).map_or_else(
                    || format!("known are {}", listed(&asked)),
                    |near| format!("do you mean {near}?"),
                );
                self.source.report(&key.span(), format!("{name}: no such key; {hint}"));
            }
        }
    }

    /// Says what the absence of an optional key comes to, for people.
    pub(super) fn comes_to(&self, key: &str, value: impl Into<Value>) {
        self.source.shown.borrow_mut().comes_to(self.section, key, value.into());
    }

    /// Shows `value` to people in the place of what is written, which is a secret in part.
    pub(super) fn conceal(&self, key: &str, value: impl Into<Value>) {
        self.source.shown.borrow_mut().conceal(self.section, key, value.into());
    }

    fn note(&self, key: &str, presence: Presence, default: Option<Value>) {
        self.source.keys.borrow_mut().insert(self.name_of(key), presence);
        let found = self.look(key);
        let written = found.as_ref().map(|found| (self.source.line(&found.span), found.value));
        self.source.shown.borrow_mut().enter(self.section, key, written, default);
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
        self.asked.borrow_mut().insert(key.to_owned());
        let (name, _) = self.values?.iter().find(|(name, _)| is_same_key(name.get_ref(), key))?;
        self.taken.borrow_mut().push(name.get_ref().as_ref());
        self.look(key)
    }

    fn convert<T>(&self, key: &str, found: &Found<'a>, read: impl Read<T>) -> Option<T> {
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
pub(super) trait Read<T>: Fn(&DeValue<'_>) -> Result<T, Cow<'static, str>> {}

impl<T, F: Fn(&DeValue<'_>) -> Result<T, Cow<'static, str>>> Read<T> for F {}

/// Returns the key that looks like what is written, but for a slip or two.
fn near<'a>(written: &str, keys: &'a BTreeSet<String>) -> Option<&'a str> {
    let (off, near) = keys.iter().map(|key| (distance(written, key), key)).min()?;
    (off <= SLIPS && off < near.len() && off < written.len()).then_some(near.as_str())
}

/// Returns keys as a list: `a, b and c`.
fn listed(keys: &BTreeSet<String>) -> String {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    match keys.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

fn is_same_key(written: &str, key: &str) -> bool {
    written == key || (written.contains('_') && written.replace('_', "-") == key)
}
