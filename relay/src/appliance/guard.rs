//! What the relay knows of the gate, and whether it may serve.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use relay_common::verdict::Verdict;

use crate::config::{self, OnLoss};
use crate::control::wire::Notice;
use crate::gate::{GateError, InterfaceState, View};

/// How the listeners are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// No interface is configured: nothing guards them, and that is configured.
    Unguarded,
    /// The gate has not been heard of, or its tables cannot be read: nobody is served.
    Waiting,
    /// The gate's program is missing from an interface and `on-loss` is `refuse`.
    Refusing,
    /// The gate's program is missing from an interface and `on-loss` is `second-door`.
    Degraded,
    /// The gate stands.
    Guarded,
}

impl Guard {
    /// Returns the words for `status`.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Unguarded => "UNGUARDED",
            Self::Waiting => "waiting for the gate",
            Self::Refusing => "the gate is missing",
            Self::Degraded => "the gate is missing, serving on",
            Self::Guarded => "guarded",
        }
    }

    /// Tells whether clients are accepted.
    pub(super) const fn serves(self) -> bool {
        match self {
            Self::Unguarded | Self::Degraded | Self::Guarded => true,
            Self::Waiting | Self::Refusing => false,
        }
    }
}

/// The gate as the relay sees it: the pinned tables, and the last word of the gate's process.
#[derive(Clone)]
pub(super) struct Watched {
    interfaces: Arc<[String]>,
    pins: PathBuf,
    on_loss: OnLoss,
    view: Arc<RwLock<Option<View>>>,
    told: Option<Notice>,
}

impl Watched {
    pub(super) fn new(config: &config::Gate) -> Self {
        Self {
            interfaces: config.interfaces.clone().into(),
            pins: config.pins.clone(),
            on_loss: config.on_loss,
            view: Arc::default(),
            told: None,
        }
    }

    /// Tells whether there is a gate to watch.
    pub(super) fn is_configured(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// Takes the word of the gate's process. The tables are opened anew: they may be others.
    pub(super) fn hear(&mut self, notice: Notice) -> Result<(), GateError> {
        match notice {
            Notice::ListChanged => {}
            Notice::Refuse | Notice::Serve => self.told = Some(notice),
        }
        self.open()
    }

    fn open(&self) -> Result<(), GateError> {
        let opened = View::open(&self.pins);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        match opened {
            Ok(opened) => *view = Some(opened),
            Err(error) => {
                *view = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Looks at the interfaces, without asking the gate's process: it may be dead.
    pub(super) fn look(&self) -> Guard {
        if !self.is_configured() {
            return Guard::Unguarded;
        }
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let Some(view) = view.as_ref() else { return Guard::Waiting };
        let stands = |state: &InterfaceState| match state {
            InterfaceState::Guarded { .. } => true,
            InterfaceState::Missing
            | InterfaceState::Foreign { .. }
            | InterfaceState::NoInterface
            | InterfaceState::Unknown { .. }
            | InterfaceState::Off => false,
        };
        let all_stand = view.health(&self.interfaces).iter().all(|health| stands(&health.state));
        match (self.told, self.on_loss) {
            (None, _) => Guard::Waiting,
            (Some(Notice::Serve), _) if all_stand => Guard::Guarded,
            (Some(_), OnLoss::Refuse) => Guard::Refusing,
            (Some(_), OnLoss::SecondDoor) => Guard::Degraded,
        }
    }

    /// Returns the tag of the entry that lists a client.
    pub(super) fn tag_of(&self, source: IpAddr) -> Option<String> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.as_ref()?.listed(source)?.tag
    }

    /// Tells whether the gate admits a client; the host itself is always admitted.
    pub(super) fn admits(&self, source: IpAddr) -> bool {
        if source.is_loopback() {
            return true;
        }
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let Some(view) = view.as_ref() else { return !self.is_configured() };
        match view.verdict(source) {
            Verdict::Pass(_) => true,
            Verdict::Drop(_) => false,
        }
    }
}
