//! What is said about the messages in the spool.

use serde::{Deserialize, Serialize};

use crate::mail::message::MessageId;
use crate::spool::{Filter, Stretch};

/// Which messages a change is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Which {
    /// These.
    Ids(Vec<MessageId>),
    /// Those of a part of the queue that a filter admits. Where it names no place, the act does.
    Meant {
        /// Which.
        filter: Box<Filter>,
        /// Where to look.
        #[serde(default)]
        stretch: Stretch,
    },
}

/// What became of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many messages were changed.
    pub done: usize,
    /// Those that stay as they are.
    pub left: Vec<Left>,
    /// Where to go on; none at the end.
    pub next: Option<Stretch>,
}

/// A message that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which.
    pub id: MessageId,
    /// A sentence for the operator: why, and what to do.
    pub why: String,
}

/// How many messages of a part of the queue a change would be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// How many.
    pub messages: usize,
    /// Where to go on; none at the end.
    pub next: Option<Stretch>,
}

/// A piece of a message's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Its octets, in base64.
    pub base64: String,
    /// The number of the next piece; none at the end.
    pub next: Option<usize>,
}
