//! What operators wish for, what may be wished, and what an entry is that grants it.

use jiff::Timestamp;
use relay_common::addr::Net;
use relay_common::table::{ENTRIES_MAX, EntryId, TagName};

use super::Did;
use crate::config;
use crate::gate::entry::{Entry, Origin};

/// The longest note, octets.
pub const NOTE_MAX: usize = 256;

/// The wish of an operator to admit one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The network.
    pub net: Net,
    /// The tag.
    pub tag: Option<String>,
    /// The note.
    pub note: Option<String>,
    /// Connection attempts that it may make.
    pub connect_rate: Option<config::Rate>,
    /// Connection attempts that each of its sources may make.
    pub source_rate: Option<config::Rate>,
    /// The end.
    pub until_ns: Option<u64>,
}

impl Wish {
    /// Returns the wish to admit a network, without more words.
    #[must_use]
    pub const fn plain(net: Net) -> Self {
        Self { net, tag: None, note: None, connect_rate: None, source_rate: None, until_ns: None }
    }
}

/// Whether what a wish leaves out stays as it was, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// It stays: `allow add` changes what it names.
    Stays,
    /// It goes: a file says everything.
    Goes,
}

/// Who wishes, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// The user.
    pub uid: u32,
    /// The time.
    pub at: Timestamp,
}

/// Why a change is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The entry is the configuration's.
    #[error("{net} is declared in line {line} of the configuration")]
    Declared {
        /// The network.
        net: Net,
        /// The line that declares it.
        line: usize,
    },
    /// The tag cannot be kept.
    #[error("tag {0:?}: at most 32 octets, none of them zero or a control character")]
    Tag(String),
    /// The note cannot be kept.
    #[error("note: at most {NOTE_MAX} octets, none of them a control character")]
    Note,
    /// The list is full.
    #[error("the allowlist has room for {ENTRIES_MAX} entries, {wanted} are wanted")]
    Full {
        /// How many there would be.
        wanted: usize,
    },
}

pub(super) fn check(wish: &Wish) -> Result<(), Refusal> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    if let Some(tag) = &wish.tag
        && (tag.is_empty() || TagName::new(tag).is_none() || !printable(tag))
    {
        return Err(Refusal::Tag(tag.clone()));
    }
    if wish.note.as_ref().is_some_and(|note| note.len() > NOTE_MAX || !printable(note)) {
        return Err(Refusal::Note);
    }
    Ok(())
}

pub(super) fn unchanged_if_declared(declared: &Entry, wish: &Wish) -> Result<Did, Refusal> {
    fn asks<T: PartialEq>(wish: Option<&T>, declared: Option<&T>) -> bool {
        wish.is_some() && wish != declared
    }
    let asks_for_more = wish.until_ns.is_some()
        || asks(wish.tag.as_ref(), declared.tag.as_ref())
        || asks(wish.note.as_ref(), declared.note.as_ref())
        || asks(wish.connect_rate.as_ref(), declared.connect_rate.as_ref())
        || asks(wish.source_rate.as_ref(), declared.source_rate.as_ref());
    match declared.origin {
        Origin::Declared { line } if asks_for_more => {
            Err(Refusal::Declared { net: declared.net, line })
        }
        Origin::Declared { .. } | Origin::Added { .. } => Ok(Did::Unchanged),
    }
}

pub(super) fn wished(
    wish: &Wish,
    former: Option<&Entry>,
    id: EntryId,
    author: Author,
    omitted: Omitted,
) -> Entry {
    let former = former.filter(|_| omitted == Omitted::Stays);
    let wish = wish.clone();
    Entry {
        net: wish.net,
        id,
        tag: wish.tag.or_else(|| former.and_then(|entry| entry.tag.clone())),
        note: wish.note.or_else(|| former.and_then(|entry| entry.note.clone())),
        connect_rate: wish.connect_rate.or_else(|| former.and_then(|entry| entry.connect_rate)),
        source_rate: wish.source_rate.or_else(|| former.and_then(|entry| entry.source_rate)),
        until_ns: wish.until_ns.or_else(|| former.and_then(|entry| entry.until_ns)),
        origin: Origin::Added { uid: author.uid, at: author.at },
    }
}

/// Who asked, and when, is no part of what an entry says.
pub(super) fn same(former: &Entry, entry: &Entry) -> bool {
    let with_origin = Entry { origin: former.origin, ..entry.clone() };
    *former == with_origin
}
