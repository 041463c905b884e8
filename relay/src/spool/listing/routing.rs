//! By which routes a message goes, as whoever sends it says: the spool knows no routes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::Picked;
use crate::mail::envelope::Envelope;
use crate::smtp::address::Address;
use crate::spool::Spool;
use crate::spool::content::{self, Standing};
use crate::spool::label::Way;
use crate::spool::segment;
use crate::spool::shared::Shared;

/// Returns the name of the route that a recipient of a message goes by; none: there is none.
type Rule = Arc<dyn Fn(&Envelope, &Address) -> Option<String> + Send + Sync>;

/// The rule of whoever sends the mail; without one no message goes by any route.
#[derive(Default)]
pub struct Routing(Mutex<Option<Rule>>);

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing").finish_non_exhaustive()
    }
}

impl Routing {
    fn rule(&self) -> Option<Rule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Spool {
    /// Tells which route a recipient of a message goes by, from now on: [`Filter`](super::Filter) asks for it.
    pub fn route_by(
        &self,
        rule: impl Fn(&Envelope, &Address) -> Option<String> + Send + Sync + 'static,
    ) {
        let mut kept = self.shared.routing.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Arc::new(rule));
    }

    /// Returns how many messages wait or are in delivery that go this way next: those whose recipients go
    /// several ways are counted for one of them.
    #[must_use]
    pub fn waiting(&self, way: Way) -> usize {
        self.shared.index().waiting.get(&way).copied().unwrap_or(0)
    }
}

impl Picked {
    /// Tells whether a recipient of the message who is still open, or captured, goes by this route. Of one
    /// whose state cannot be read nobody knows. Blocks on the disk.
    pub(super) fn goes_by(&self, shared: &Shared, envelope: &Envelope, route: &str) -> bool {
        let Some(rule) = shared.routing.rule() else { return false };
        let Some(standings) = self.standings(shared, envelope) else { return false };
        envelope.recipients.iter().zip(standings).any(|(recipient, standing)| {
            let is_here = match standing {
                Standing::Pending | Standing::Captured => true,
                Standing::Delivered | Standing::Failed => false,
            };
            is_here && rule(envelope, recipient).as_deref() == Some(route)
        })
    }

    /// Returns where the recipients stand; none if that cannot be read, or the message is gone meanwhile. It is read only
    /// where somebody is not open any more. Blocks on the disk.
    pub(super) fn standings(&self, shared: &Shared, envelope: &Envelope) -> Option<Vec<Standing>> {
        let all = envelope.recipients.len();
        let Some(state) = self.entry.state.filter(|_| self.entry.pending as usize != all) else {
            return Some(vec![Standing::Pending; all]);
        };
        let opened = shared.index().file(shared.disk.as_ref(), state.segment).ok();
        let (file, marker) = opened?;
        let (_, payload) = segment::read(file.as_ref(), marker, state).ok()?;
        let progress = content::decode_progress(&payload, envelope).ok()?;
        Some(progress.into_iter().map(|progress| progress.standing).collect())
    }
}
