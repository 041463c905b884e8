//! Which alerts somebody means: a class, or a class and a subject, with `*` for any text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::class::{CLASSES, nearest};

/// The longest pattern, octets.
pub const PATTERN_MAX: usize = 160;

/// A pattern of alerts: `route-suspended`, `spike-*`, `host-down/smarthost/*`. Without a slash it speaks of
/// the class alone, with one of class and subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Returns the pattern of everything.
    #[must_use]
    pub fn everything() -> Self {
        Self("*".to_owned())
    }

    /// Tells whether an alert is meant.
    #[must_use]
    pub fn means(&self, alert: &Alert) -> bool {
        if self.0.contains('/') {
            is_like(&self.0, &alert.key())
        } else {
            is_like(&self.0, &alert.class)
        }
    }
}

impl Pattern {
    /// Refuses a pattern that means no alert, whatever happens: a word that is mistyped would be kept in silence.
    ///
    /// # Errors
    ///
    /// A sentence that names the nearest class.
    pub fn ensure_meaning(&self) -> Result<(), String> {
        if CLASSES.iter().any(|class| self.may_mean(class)) {
            return Ok(());
        }
        let (class, subject) = self.0.split_once('/').unwrap_or((&self.0, ""));
        let near = nearest(class);
        let slash = if subject.is_empty() { "" } else { "/" };
        Err(format!(
            "no alert has the class \"{class}\": do you mean \"{near}{slash}{subject}\"? sallyport-alert-silence(1) \
             lists the classes"
        ))
    }

    /// Tells whether some alert of a class is meant: the pattern's end up to a slash, or to a star, which takes the
    /// slash and what follows, is like the class.
    fn may_mean(&self, class: &str) -> bool {
        if !self.0.contains('/') {
            return is_like(&self.0, class);
        }
        self.0.char_indices().any(|(at, letter)| match letter {
            '/' => is_like(&self.0[..at], class),
            '*' => is_like(&self.0[..=at], class),
            _ => false,
        })
    }
}

/// Compares a text with a pattern, in a time that is bounded by the product of their lengths.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and where the text goes on that it does not take.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(octet), _) if *octet == text[from] => {
                at += 1;
                from += 1;
            }
            (Some(_) | None, Some((place, taken))) => {
                star = Some((place, taken + 1));
                at = place + 1;
                from = taken + 1;
            }
            (Some(_) | None, None) => return false,
        }
    }
    pattern[at..].iter().all(|octet| *octet == b'*')
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let is_fine = (1..=PATTERN_MAX).contains(&written.len())
            && !written.contains(|c: char| c.is_control())
            && !written.starts_with('/');
        if is_fine {
            Ok(Self(written.to_owned()))
        } else {
            Err(format!(
                "expected a class, or a class and a subject, as in \"spike-*\" or \"host-down/smarthost/*\", \
                 of at most {PATTERN_MAX} octets"
            ))
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        written.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::event::wording::noted;

    #[test]
    fn a_pattern_means_a_class_or_a_class_and_its_subject() {
        let alert =
            noted("host-down", "x").about("smarthost/a.example:25").at(Timestamp::UNIX_EPOCH);
        for (pattern, means) in [
            ("*", true),
            ("host-down", true),
            ("host-*", true),
            ("*-down", true),
            ("h*t-d*n", true),
            ("host-down/*", true),
            ("host-down/smarthost/*", true),
            ("*/smarthost/*", true),
            ("host-down/smarthost/a.example:25", true),
            ("host-down/smarthost", false),
            ("host", false),
            ("host-up", false),
            ("host-down-*", false),
            ("host-down/other/*", false),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().means(&alert), means, "{pattern}");
        }
        for wrong in ["", "/x", "a\nb", &"x".repeat(161)] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_pattern_that_no_alert_can_have_is_refused_with_the_nearest_class() {
        for fine in [
            "*",
            "spike-*",
            "*-full",
            "host-down/smarthost/*",
            "*/smarthost/*",
            "*own*hop:25/x",
            "h*/a",
            "test",
        ] {
            assert_eq!(fine.parse::<Pattern>().unwrap().ensure_meaning(), Ok(()), "{fine}");
        }
        for (wrong, near) in [
            ("nonsense-class", "no alert has the class \"nonsense-class\": do you mean \""),
            ("host-dwn/smarthost/*", "do you mean \"host-down/smarthost/*\"?"),
            ("spikes-*", "do you mean \"spike-"),
            ("host/down/*", "do you mean \""),
            ("Host-down", "do you mean \"host-down\"?"),
        ] {
            let said = wrong.parse::<Pattern>().unwrap().ensure_meaning().unwrap_err();
            assert!(said.contains(near), "{wrong}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_like_itself_with_stars_put_anywhere(text in "[a-c]{0,12}", at in 0usize..13) {
            let (head, tail) = text.split_at(at.min(text.len()));
            let with_star = format!("{head}*{tail}");
            let with_dash = format!("{text}-");
            proptest::prop_assert!(is_like(&with_star, &text));
            proptest::prop_assert!(!is_like(&with_dash, &text));
        }
    }
}
