//! What the gate answers: the verbs of its socket.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use relay_common::table::EntryId;
use serde::Serialize;
use serde_json::Value;

use super::changes::Terms;
use super::clocks::wall_time;
use super::keeper::{Keeper, Service, guarded_ports, problem, told};
use crate::control::caller::{Caller, Right};
use crate::control::server::require;
use crate::control::wire::{Ban, Entry, Explanation, GateRequest, GateStatus, Interface, Spike};
use crate::gate::cidr::network;
use crate::gate::entry::Origin;
use crate::gate::{Health, InterfaceState};
use crate::watch::{Class, Stage};

/// The spikes that status shows.
const SPIKES_SHOWN: usize = 16;

impl Keeper {
    /// Answers a request, if the caller may ask for it.
    ///
    /// # Errors
    ///
    /// A sentence for the operator; then nothing was changed unless it says so.
    pub fn answer(
        &mut self,
        request: GateRequest,
        caller: Caller,
        now: Timestamp,
    ) -> Result<Value, String> {
        match request {
            GateRequest::AllowAdd { networks, tag, note, ttl_ms } => {
                require(caller, Right::Change)?;
                let terms = Terms { tag, note, ttl_ms };
                said(self.allow_add(&networks, terms, caller, now)?)
            }
            GateRequest::AllowRemove { networks } => {
                require(caller, Right::Change)?;
                said(self.allow_remove(&networks, caller, now)?)
            }
            GateRequest::AllowList => said(self.entries()?),
            GateRequest::BanAdd { networks, ttl_ms, note } => {
                require(caller, Right::Relay)?;
                let terms = Terms { tag: None, note, ttl_ms: Some(ttl_ms) };
                said(self.ban_add(&networks, terms, caller, now)?)
            }
            GateRequest::BanRemove { networks } => {
                require(caller, Right::Change)?;
                said(self.ban_remove(&networks, caller)?)
            }
            GateRequest::BanList => said(self.bans()),
            GateRequest::Explain { source, port } => said(self.explain(source, port, now)?),
            GateRequest::Status => said(self.status(now)?),
            GateRequest::Attach { .. } => {
                Err("only the relay's user may be given the listening sockets, to few connections at a time".to_owned())
            }
        }
    }

    fn entries(&self) -> Result<Vec<Entry>, String> {
        let counts = self.gate.entry_counts().map_err(|error| told(&error))?;
        let entry = |entry: &crate::gate::entry::Entry| {
            let count = counts.get(&entry.id).copied().unwrap_or_default();
            let (line, uid, at) = match entry.origin {
                Origin::Declared { line } => (Some(line), None, None),
                Origin::Added { uid, at } => (None, Some(uid), Some(at)),
            };
            Entry {
                cidr: network(entry.net),
                tag: entry.tag.clone(),
                note: entry.note.clone(),
                declared_in_line: line,
                added_by_uid: uid,
                added_at: at,
                until: entry.until,
                connections: count.passed,
                over_rate: count.over_rate,
            }
        };
        Ok(self.lists.allow.entries().map(entry).collect())
    }

    fn bans(&self) -> Vec<Ban> {
        let ban = |ban: &crate::gate::bans::Ban| Ban {
            cidr: network(ban.net),
            until: ban.until,
            note: ban.note.clone(),
            by_uid: ban.uid,
        };
        self.lists.bans.iter().map(ban).collect()
    }

    fn explain(
        &self,
        source: IpAddr,
        port: Option<u16>,
        now: Timestamp,
    ) -> Result<Explanation, String> {
        let source = source.to_canonical();
        let first = || guarded_ports(&self.config).first().copied();
        let port = port.or_else(first).ok_or("no port is guarded: no listener has gate = true")?;
        let asked = self.gate.explain(source, port).map_err(|error| told(&error))?;
        let by_id = |id: EntryId| self.lists.allow.entries().find(|entry| entry.id == id);
        Ok(Explanation {
            source,
            port,
            verdict: if asked.verdict.passes() { "pass" } else { "drop" }.to_owned(),
            reason: asked.verdict.reason().name().to_owned(),
            entry: asked.entry.and_then(by_id).map(|entry| network(entry.net)),
            tag: asked.tag,
            banned_until: asked
                .banned_until_ns
                .map(|until_ns| wall_time(until_ns, self.gate.now_ns(), now)),
        })
    }

    fn status(&self, now: Timestamp) -> Result<GateStatus, String> {
        let counters = self.gate.counters().map_err(|error| told(&error))?;
        let named = counters.0.iter().map(|(reason, count)| (reason.name().to_owned(), *count));
        Ok(GateStatus {
            pid: std::process::id(),
            interfaces: self.health.iter().map(interface).collect(),
            ports: guarded_ports(&self.config),
            serving: self.bulletin.borrow().service == Service::Serve,
            entries: self.lists.allow.entries().count(),
            bans: self.lists.bans.iter().len(),
            counters: named.collect::<BTreeMap<_, _>>(),
            refused_per_second: self.watch.per_second(Class::Refused),
            spikes: self.spikes(now),
            problems: self.problems(),
        })
    }

    /// Returns open spikes and those that are over, the newest first.
    fn spikes(&self, now: Timestamp) -> Vec<Spike> {
        let now_ns = self.gate.now_ns();
        let wall = |at: std::time::Duration| {
            wall_time(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), now_ns, now)
        };
        let spike = |alert: &crate::watch::Alert, since, until| Spike {
            class: alert.class.name().to_owned(),
            since: wall(since),
            until,
            peak_per_second: alert.per_second,
            usual_per_second: alert.usual_per_second,
            total: alert.total,
        };
        let open = self.watch.open().map(|alert| spike(&alert, alert.at, None));
        let mut over: Vec<Spike> = Vec::new();
        let mut began = None;
        for alert in self.watch.recent() {
            match alert.stage {
                Stage::Opened => began = Some(alert.at),
                Stage::Grew(_) => {}
                Stage::Closed => {
                    // Its opening may be forgotten already.
                    let since = began.take().unwrap_or(alert.at.saturating_sub(alert.lasted));
                    over.push(spike(alert, since, Some(wall(since + alert.lasted))));
                }
            }
        }
        open.chain(over.into_iter().rev()).take(SPIKES_SHOWN).collect()
    }
}

fn interface(health: &Health) -> Interface {
    let (mode, problem) = match &health.state {
        InterfaceState::Guarded { mode, .. } => (mode.name(), None),
        InterfaceState::Off => ("UNGUARDED", Some(problem(&health.state))),
        other => ("missing", Some(problem(other))),
    };
    Interface { name: health.interface.clone(), mode: mode.to_owned(), problem }
}

fn said<T: Serialize>(answer: T) -> Result<Value, String> {
    serde_json::to_value(answer).map_err(|error| error.to_string())
}
