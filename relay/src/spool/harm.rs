//! What damage means for whoever is told of it: what became of the place, and what to run.

use crate::event::Event;
use crate::spool::segment::SegmentId;

/// Shows every damaged place, and mends what can be mended.
const MEND: &str = "look with `sallyport spool check`; to mend it stop the relay and run \
                    `sallyport spool check --mend`";

/// What was harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// A stretch of a file of the log.
    Stretch,
    /// One of the two copies of a file's head.
    HeadCopy,
    /// Both.
    Head(SegmentId),
    /// A file that was to be emptied.
    Emptying,
    /// A message.
    Message,
}

impl Harm {
    /// Says that `place`, a file of the log or a message, is damaged, and how.
    pub fn event(self, place: String, problem: String) -> Event {
        let became = match self {
            Self::Stretch => "the file is used on; a message that was hit is set aside".to_owned(),
            Self::HeadCopy => {
                "the other copy is used; without it the whole file is lost".to_owned()
            }
            Self::Head(segment) => {
                let file = segment.damaged_name();
                format!("the file is set aside as {file}; the messages in it are not sent")
            }
            Self::Emptying => "the file stays; what can be read in it is sent".to_owned(),
            Self::Message => "the message is set aside and not sent".to_owned(),
        };
        let remedy = match self {
            Self::Stretch | Self::HeadCopy | Self::Emptying | Self::Message => MEND,
            Self::Head(_) => {
                "keep the file and look at the disk: no program can mend it; `sallyport spool check` \
                 shows what else is damaged"
            }
        };
        Event::SpoolDamaged { place, problem, became, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_told_of_damage_is_told_what_became_of_it_and_what_to_run() {
        for (harm, kept, command) in [
            (Harm::Stretch, "the file is used on", "`sallyport spool check --mend`"),
            (Harm::HeadCopy, "the other copy is used", "`sallyport spool check --mend`"),
            (Harm::Head(SegmentId(7)), "aside as 00000007.damaged", "`sallyport spool check`"),
            (Harm::Emptying, "the file stays", "`sallyport spool check --mend`"),
            (Harm::Message, "the message is set aside", "`sallyport spool check --mend`"),
        ] {
            let said = harm.event("place".to_owned(), "problem".to_owned());
            let Event::SpoolDamaged { place, problem, became, remedy } = &said else {
                panic!("{said:?}")
            };
            assert_eq!((&place[..], &problem[..]), ("place", "problem"));
            assert!(became.contains(kept) && remedy.contains(command), "{said:?}");
        }
    }
}
