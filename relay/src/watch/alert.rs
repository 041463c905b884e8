//! What the watch says of a spike.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use relay_common::addr::Net;

use super::pace::WINDOWS;
use super::spike::Change;
use super::whole;
use crate::event::spike::{Class, Spike};

/// What an alert says about its spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It began.
    Opened,
    /// It grew to so many times the level that it settled at: 2, then 10.
    Grew(u32),
    /// It is over.
    Closed,
}

/// One thing worth telling an operator about a spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The class.
    pub class: Class,
    /// The network, of a class that has a spike for each.
    pub net: Option<Net>,
    /// What happened.
    pub stage: Stage,
    /// When, on the clock of the samples.
    pub at: Duration,
    /// When the spike was noticed, on the same clock.
    pub since: Duration,
    /// The window that it shows in.
    pub window: Duration,
    /// The rate, as so many in a window: now, or at the peak if the spike is over.
    pub count: u64,
    /// How many were usual before the spike.
    pub usual: u64,
    /// How many were counted since the spike began.
    pub total: u64,
    /// How long the rate has stood above the closing level.
    pub lasted: Duration,
}

impl Alert {
    pub(super) fn new(class: Class, net: Option<Net>, at: Duration, change: &Change) -> Self {
        let window = WINDOWS[change.window];
        let within = |rate: f64| whole(rate * window.as_secs_f64());
        let count = within(change.per_second);
        // How many different ones there were in all nobody counted.
        let total = if class.adds_up() { change.total } else { count };
        let Change { stage, since, lasted, usual, .. } = *change;
        Self { class, net, stage, at, since, window, count, usual: within(usual), total, lasted }
    }

    /// Returns the rate now or at the peak, a second.
    #[must_use]
    pub const fn per_second(&self) -> u64 {
        self.count / self.window.as_secs()
    }

    /// Returns the usual rate, a second.
    #[must_use]
    pub const fn usual_per_second(&self) -> u64 {
        self.usual / self.window.as_secs()
    }

    /// Returns the spike as people are told it, without what the counts do not say; `since` is when it was noticed. They
    /// name nobody but the network, if there is one.
    #[must_use]
    pub fn spike(&self, since: Timestamp) -> Spike {
        let net = self.net.and_then(|net| IpNetwork::new(net.addr().into(), net.prefix()).ok());
        let command = match (self.class, net) {
            (Class::Prefix, Some(net)) => format!("sallyport explain {}", net.ip()),
            (class, _) => class.command().to_owned(),
        };
        Spike {
            class: self.class,
            subject: net.map_or_else(String::new, |net| net.to_string()),
            since,
            window: self.window,
            count: self.count,
            usual: self.usual,
            total: self.total,
            lasted: self.lasted,
            top: Vec::new(),
            reasons: BTreeMap::new(),
            sample: None,
            remark: None,
            command,
        }
    }
}
