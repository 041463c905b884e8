//! How long something has been wrong, by looks that come each second, and whether people were told.

use std::time::Duration;

/// The most time that counts between two looks: a gate that was stopped, or a host that slept, saw nothing meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// When it was looked last, on the boot clock.
#[derive(Debug, Default)]
pub(super) struct Looks(Option<Duration>);

impl Looks {
    /// Begins a look `at` this moment; returns how much time counts since the last.
    pub fn begin(&mut self, at: Duration) -> Duration {
        let passed = self.0.replace(at).map_or(Duration::ZERO, |last| at.saturating_sub(last));
        passed.min(LOOK_MAX)
    }
}

/// What was seen of one thing so far.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// For how long it was wrong, as far as that was looked at.
    wrong_for: Duration,
    /// Since when it is wrong, on the boot clock.
    since: Option<Duration>,
    was_well: bool,
    is_told: bool,
}

impl Lasting {
    /// Whether it was well since the first look.
    pub const fn was_well(&self) -> bool {
        self.was_well
    }

    /// Notes that it is well; returns whether people are to be told, who heard of the contrary.
    pub fn note_well(&mut self) -> bool {
        (self.wrong_for, self.since, self.was_well) = (Duration::ZERO, None, true);
        std::mem::take(&mut self.is_told)
    }

    /// Notes that it is wrong `at` this moment, and that so much time counts since the last look; returns for how long it
    /// is, once, when that was at least people's `patience`.
    pub fn note_wrong(
        &mut self,
        passed: Duration,
        at: Duration,
        patience: Duration,
    ) -> Option<Duration> {
        self.wrong_for += passed;
        let since = *self.since.get_or_insert(at);
        if self.is_told || self.wrong_for < patience {
            return None;
        }
        self.is_told = true;
        Some(at.saturating_sub(since))
    }
}
