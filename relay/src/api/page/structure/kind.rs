//! What a part is, by its type (RFC 2045, RFC 2046).

use mail_parser::ContentType;

/// What a part is, by its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// A multipart of another type than those below.
    Mixed,
    Alternative,
    Related,
    Digest,
    Plain,
    Html,
    Text,
    /// A picture, a sound, a film.
    Media,
    /// Messages within the message, too.
    #[default]
    Other,
}

impl Kind {
    pub(super) fn of(content_type: Option<&ContentType<'_>>, parent: Self) -> Self {
        let Some(content_type) = content_type else {
            // A message (RFC 2046, section 5.1.5), or text (section 5.2 of RFC 2045).
            return if parent == Self::Digest { Self::Other } else { Self::Plain };
        };
        match (content_type.ctype(), content_type.subtype()) {
            ("multipart", Some("alternative")) => Self::Alternative,
            ("multipart", Some("related")) => Self::Related,
            ("multipart", Some("digest")) => Self::Digest,
            ("multipart", _) => Self::Mixed,
            ("text", Some("plain")) => Self::Plain,
            ("text", Some("html")) => Self::Html,
            ("text", _) => Self::Text,
            ("image" | "audio" | "video", _) => Self::Media,
            _ => Self::Other,
        }
    }

    pub(super) const fn is_multipart(self) -> bool {
        match self {
            Self::Mixed | Self::Alternative | Self::Related | Self::Digest => true,
            Self::Plain | Self::Html | Self::Text | Self::Media | Self::Other => false,
        }
    }

    pub(super) const fn is_text(self) -> bool {
        match self {
            Self::Plain | Self::Html | Self::Text => true,
            Self::Mixed
            | Self::Alternative
            | Self::Related
            | Self::Digest
            | Self::Media
            | Self::Other => false,
        }
    }
}
