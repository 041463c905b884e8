//! What is said of a spool that refuses submissions for want of room: when that begins, and when it is over.
//!
//! Each refusal is a client's to cause, so it is no event; the shortage is the operator's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::spool::StoreError;
use crate::spool::share::Owner;

/// How long there must have been room until that is said: at the limit it comes and goes with every message.
const QUIET: Duration = Duration::from_secs(60);
/// How often it is said that a login's share is used up.
const SHARE_EVERY: Duration = Duration::from_secs(3600);
/// The most logins that are remembered for that: of more nothing is said.
const LOGINS_MAX: usize = 64;

/// What an operator should hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Submissions are refused from now on.
    Full,
    /// They are taken again.
    Room,
    /// Those of this login are refused.
    Share,
}

/// What was said already.
#[derive(Debug, Default)]
pub struct Shortage {
    /// When room was missing last; none: it was said that there is some, or never was anything else.
    missing: Option<Instant>,
    /// When it was said that a login's share is used up.
    shares: HashMap<Owner, Instant>,
}

impl Shortage {
    /// Takes the answer to a submission of `owner` at `now`, and returns what is to be said of it.
    pub fn hear(
        &mut self,
        answer: &Result<(), StoreError>,
        owner: Owner,
        now: Instant,
    ) -> Option<News> {
        match answer {
            Ok(()) => self.room(now),
            Err(StoreError::Full) => self.want(now),
            Err(StoreError::ShareUsed) => self.share(owner, now),
            // The disk is in trouble, which is said elsewhere.
            Err(
                StoreError::Failed(_)
                | StoreError::Damaged(_)
                | StoreError::Repeat(_)
                | StoreError::Gone
                | StoreError::Claimed
                | StoreError::Held
                | StoreError::Captured
                | StoreError::TooLarge
                | StoreError::Newer { .. }
                | StoreError::Locked
                | StoreError::Closed,
            ) => None,
        }
    }

    /// Takes the answer that a submission of nobody's would get at `now`, and returns what is to be said of it.
    pub fn look(&mut self, answer: &Result<(), StoreError>, now: Instant) -> Option<News> {
        match answer {
            // Whose share is used up finds room in the spool all the same.
            Err(StoreError::ShareUsed) => self.room(now),
            answer => self.hear(answer, Owner::NOBODY, now),
        }
    }

    fn want(&mut self, now: Instant) -> Option<News> {
        self.missing.replace(now).is_none().then_some(News::Full)
    }

    fn room(&mut self, now: Instant) -> Option<News> {
        self.missing.take_if(|at| now.saturating_duration_since(*at) >= QUIET).map(|_| News::Room)
    }

    fn share(&mut self, owner: Owner, now: Instant) -> Option<News> {
        self.shares.retain(|_, at| now.saturating_duration_since(*at) < SHARE_EVERY);
        if self.shares.contains_key(&owner) || self.shares.len() >= LOGINS_MAX {
            return None;
        }
        self.shares.insert(owner, now);
        Some(News::Share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_said_when_it_begins_and_when_it_is_over_and_not_for_every_message() {
        let (mut shortage, began) = (Shortage::default(), Instant::now());
        for (row, second, answer, news) in [
            ("there is room", 0, Ok(()), None),
            ("it begins", 1, Err(StoreError::Full), Some(News::Full)),
            ("it goes on", 2, Err(StoreError::Full), None),
            ("one message left", 3, Ok(()), None),
            ("and another took its place", 4, Err(StoreError::Full), None),
            ("the disk fails", 61, Err(StoreError::Failed(String::new())), None),
            ("room for not quite a minute", 63, Ok(()), None),
            ("it is over", 64, Ok(()), Some(News::Room)),
            ("and stays so", 65, Ok(()), None),
            ("it begins again", 66, Err(StoreError::Full), Some(News::Full)),
        ] {
            let now = began + Duration::from_secs(second);
            assert_eq!(shortage.hear(&answer, Owner(1), now), news, "{row}");
        }
    }

    #[test]
    fn a_look_says_the_same_without_a_submission() {
        let (mut shortage, began) = (Shortage::default(), Instant::now());
        for (row, second, answer, news) in [
            ("there is room", 0, Ok(()), None),
            ("it begins", 1, Err(StoreError::Full), Some(News::Full)),
            ("it goes on", 2, Err(StoreError::Full), None),
            ("one login has taken its share", 61, Err(StoreError::ShareUsed), None),
            ("it is over for others", 62, Err(StoreError::ShareUsed), Some(News::Room)),
            ("and stays so", 63, Ok(()), None),
        ] {
            let now = began + Duration::from_secs(second);
            assert_eq!(shortage.look(&answer, now), news, "{row}");
        }
    }

    #[test]
    fn a_used_up_share_is_said_once_an_hour_and_of_so_many_logins() {
        let (mut shortage, began) = (Shortage::default(), Instant::now());
        let used = Err(StoreError::ShareUsed);
        let mut hear =
            |owner, second| shortage.hear(&used, Owner(owner), began + Duration::from_secs(second));
        assert_eq!(hear(1, 0), Some(News::Share));
        assert_eq!(hear(1, 3599), None);
        assert_eq!(hear(2, 3599), Some(News::Share), "another login");
        assert_eq!(hear(1, 3600), Some(News::Share));
        let said = (3..1000).filter(|owner| hear(*owner, 3601).is_some()).count();
        assert_eq!(said, LOGINS_MAX - 2, "two are remembered already");
    }
}
