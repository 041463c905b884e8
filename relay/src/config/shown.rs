//! The configuration as it was read: each key that the code asked for, the value that counts, and where that comes
//! from. `raw` writes it down while it reads, so no key can be read and not be shown.

use std::fmt::Write as _;

use serde_json::{Map, json};
use toml::Value;
use toml::de::DeValue;

/// The column at which it is told where a value comes from, unless the value is longer.
const COLUMN: usize = 44;

/// The value of a key, and where it comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// It stands in this line of the file.
    Line(usize, Value),
    /// As `Line`, and what is shown is not all of it: the rest is a secret.
    Concealed(usize, Value),
    /// It does not stand there, and this takes its place.
    Default(Value),
    /// It does not stand there, and that has a meaning of its own.
    Absent,
}

impl Origin {
    const fn value(&self) -> Option<&Value> {
        match self {
            Self::Line(_, value) | Self::Concealed(_, value) | Self::Default(value) => Some(value),
            Self::Absent => None,
        }
    }
}

/// What a section is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A table, also one that the file does not have and whose keys all have defaults.
    Table,
    /// One of an array of tables.
    Element,
    /// A table that the file does not have, and then nothing of it counts.
    NoTable,
    /// An array of tables, and the file has none of them.
    NoElement,
}

/// A table and the keys that were asked of it.
#[derive(Clone, Debug)]
struct Section {
    /// The number of the section that it is in; of the whole file its own.
    within: usize,
    /// Its path, as in `route.login`; empty for the whole file.
    path: String,
    form: Form,
    keys: Vec<(String, Origin)>,
}

/// Every section and key that the code asked for, in that order.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    sections: Vec<Section>,
}

impl Shown {
    /// Adds a section and returns its number.
    pub(super) fn open(&mut self, within: usize, path: &str, form: Form) -> usize {
        self.sections.push(Section { within, path: path.to_owned(), form, keys: Vec::new() });
        self.sections.len() - 1
    }

    /// Adds a key of a section: its value with the line where it stands, or else its default.
    pub(super) fn enter(
        &mut self,
        section: usize,
        key: &str,
        written: Option<(usize, &DeValue<'_>)>,
        default: Option<Value>,
    ) {
        let origin = match (written, default) {
            (Some((line, value)), _) => Origin::Line(line, plain(value)),
            (None, Some(value)) => Origin::Default(value),
            (None, None) => Origin::Absent,
        };
        self.sections[section].keys.push((key.to_owned(), origin));
    }

    /// Says what an absent key comes to.
    pub(super) fn comes_to(&mut self, section: usize, key: &str, value: Value) {
        if let Some(origin @ Origin::Absent) = self.origin(section, key) {
            *origin = Origin::Default(value);
        }
    }

    /// Shows `value` in the place of what is written, which is a secret in part.
    pub(super) fn conceal(&mut self, section: usize, key: &str, value: Value) {
        if let Some(origin) = self.origin(section, key)
            && let Origin::Line(line, _) = origin
        {
            *origin = Origin::Concealed(*line, value);
        }
    }

    fn origin(&mut self, section: usize, key: &str) -> Option<&mut Origin> {
        let mut keys = self.sections[section].keys.iter_mut();
        keys.find(|(name, _)| name == key).map(|(_, origin)| origin)
    }

    /// Returns the sections directly in another one.
    fn inside(&self, number: usize) -> impl Iterator<Item = usize> {
        (1..self.sections.len()).filter(move |inner| self.sections[*inner].within == number)
    }

    /// Returns the whole as TOML, which can be read again. A comment after each value says where that comes from; what
    /// does not stand in the file and has no default is a comment.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut text = String::new();
        self.write(0, &mut text);
        text
    }

    fn write(&self, number: usize, text: &mut String) {
        let Some(Section { path, form, keys, .. }) = self.sections.get(number) else { return };
        let _ = match form {
            Form::Table if path.is_empty() => Ok(()),
            Form::Table => writeln!(text, "\n[{path}]"),
            Form::Element => writeln!(text, "\n[[{path}]]"),
            Form::NoTable => writeln!(text, "\n# no [{path}]"),
            Form::NoElement => writeln!(text, "\n# no [[{path}]]"),
        };
        for (key, origin) in keys {
            let Some(value) = origin.value() else {
                let _ = writeln!(text, "# {key} is not set");
                continue;
            };
            let from = match origin {
                Origin::Line(line, _) => format!("line {line}"),
                Origin::Concealed(line, _) => format!("line {line}; the rest of it is a secret"),
                Origin::Default(_) | Origin::Absent => "default".to_owned(),
            };
            let _ = writeln!(text, "{:<COLUMN$} # {from}", format!("{key} = {value}"));
        }
        self.inside(number).for_each(|inner| self.write(inner, text));
    }

    /// Returns the whole as JSON: objects as the tables of the file are, and in the place of each value an object of
    /// the `value`, where it is `from` (`file`, `default`, or `absent` with no value) and the `line` if that is the
    /// file. `concealed` is true where the value is shown in part.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        if self.sections.is_empty() { serde_json::Value::Null } else { self.object(0) }
    }

    fn object(&self, number: usize) -> serde_json::Value {
        let section = &self.sections[number];
        let mut object = Map::new();
        for (key, origin) in &section.keys {
            let shown = match origin {
                Origin::Line(line, value) => json!({"value": value, "from": "file", "line": line}),
                Origin::Concealed(line, value) => {
                    json!({"value": value, "from": "file", "line": line, "concealed": true})
                }
                Origin::Default(value) => json!({"value": value, "from": "default"}),
                Origin::Absent => json!({"value": null, "from": "absent"}),
            };
            object.insert(key.clone(), shown);
        }
        for inner in self.inside(number) {
            let Section { path, form, .. } = &self.sections[inner];
            let key = path.rsplit('.').next().unwrap_or_default().to_owned();
            match form {
                Form::Table => drop(object.insert(key, self.object(inner))),
                Form::NoTable => drop(object.insert(key, serde_json::Value::Null)),
                Form::NoElement => drop(object.insert(key, json!([]))),
                Form::Element => {
                    let elements = object.entry(key).or_insert_with(|| json!([]));
                    let inner = self.object(inner);
                    elements.as_array_mut().into_iter().for_each(|all| all.push(inner.clone()));
                }
            }
        }
        object.into()
    }
}

/// Returns a value as it was written, apart from its layout and the comments in it.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            read.map_or_else(|_| Value::String(number.to_string()), Value::Integer)
        }
        DeValue::Float(number) => {
            let read = number.as_str().parse();
            read.map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(is_true) => Value::Boolean(*is_true),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(elements) => {
            Value::Array(elements.iter().map(|element| plain(element.get_ref())).collect())
        }
        DeValue::Table(entries) => {
            let entries = entries.iter();
            let plain =
                entries.map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())));
            Value::Table(plain.collect())
        }
    }
}

#[cfg(test)]
mod tests;
