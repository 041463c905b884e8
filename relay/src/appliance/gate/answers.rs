//! What the gate answers: the verbs of its socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use relay_common::verdict::{Reason, Verdict};

use super::applying::How;
use super::approaches::current_name;
use super::changes::Terms;
use super::keeper::{Keeper, Service};
use super::telling::{guarded_ports, problem, told};
use crate::control::caller::{Caller, Right};
use crate::control::server::{Said, require};
use crate::control::wire::{
    Ban, Counted, Explanation, GateRequest, GateStatus, Interface, Talker, UNGUARDED,
};
use crate::gate::approach::{Approach, Approaches};
use crate::gate::cidr::network;
use crate::gate::clocks::Moment;
use crate::gate::{Counters, Health, InterfaceState, XdpMode};

/// The networks that status shows of each length.
const TALKERS_SHOWN: usize = 5;
/// The changes that one answer from the audit log shows, at most.
const AUDIT_MAX: usize = 100_000;

impl Keeper {
    /// Answers a request, if the caller may ask for it. `file` is what followed the question.
    ///
    /// # Errors
    ///
    /// A sentence for the operator; then nothing was changed unless it says so.
    pub fn answer(
        &mut self,
        request: GateRequest,
        file: &[u8],
        caller: Caller,
        now: Moment,
    ) -> Result<Said, String> {
        require(caller, right(&request))?;
        match request {
            GateRequest::AllowAdd { networks, tag, note, ttl_ms, connect_rate, source_rate } => {
                let terms = Terms { tag, note, ttl_ms, connect_rate, source_rate };
                Said::of(&self.allow_add(&networks, &terms, caller, now)?)
            }
            GateRequest::AllowRemove { networks } => {
                Said::of(&self.allow_remove(&networks, caller, now)?)
            }
            GateRequest::AllowList => Said::of(&self.entries(now)?),
            GateRequest::AllowPage { find, from, limit } => {
                Said::of(&self.allow_page(find.as_deref(), from, limit, now)?)
            }
            GateRequest::AllowApply { dry_run, confirm_within_ms, force, .. } => {
                let confirm_within = confirm_within_ms.map(Duration::from_millis);
                let how = How { dry_run, confirm_within, force };
                Said::of(&self.allow_apply(file, how, caller, now)?)
            }
            GateRequest::AllowConfirm => Said::of(&self.allow_confirm(caller, now)?),
            GateRequest::AllowRollback => Said::of(&self.allow_rollback(Some(caller), now)?),
            GateRequest::AllowShadow { .. } => Said::of(&self.allow_shadow(file, caller, now)?),
            GateRequest::BanAdd { networks, ttl_ms, note } => {
                let terms = Terms { note, ttl_ms, ..Terms::default() };
                Said::of(&self.ban_add(&networks, &terms, caller, now)?)
            }
            GateRequest::BanRemove { networks } => {
                Said::of(&self.ban_remove(&networks, caller, now)?)
            }
            GateRequest::BanList => Said::of(&self.bans(now)),
            GateRequest::Explain { source, port } => Said::of(&self.explain(source, port, now)?),
            GateRequest::Status => Said::of(&self.status(now)?),
            GateRequest::Mode { observe_ms } => {
                let observe = observe_ms.map(Duration::from_millis);
                Said::of(&self.set_mode(observe, caller, now)?)
            }
            GateRequest::Detach => Said::of(&self.detach(caller, now)?),
            GateRequest::Reload => Said::of(&self.reload(Some(caller.uid), now)?),
            GateRequest::Audit { since, limit } => {
                let page = self.audit.read(since, limit.min(AUDIT_MAX));
                Said::of(&page.map_err(|error| format!("the audit log: {error}"))?)
            }
            GateRequest::Attach { .. } => {
                Err("only the relay's user may be given the listening sockets, to few connections at a time".to_owned())
            }
        }
    }

    fn bans(&self, now: Moment) -> Vec<Ban> {
        let ban = |ban: &crate::gate::bans::Ban| Ban {
            cidr: network(ban.net),
            until: now.wall_of(ban.until_ns),
            note: ban.note.clone(),
            by_uid: ban.uid,
            repeats: ban.repeats,
        };
        self.lists.bans.iter().map(ban).collect()
    }

    fn explain(
        &self,
        source: IpAddr,
        port: Option<u16>,
        now: Moment,
    ) -> Result<Explanation, String> {
        let source = source.to_canonical();
        let first = || guarded_ports(&self.config).first().copied();
        let port = port.or_else(first).ok_or("no port is guarded: no listener has gate = true")?;
        let asked = self.gate.explain(source, port).map_err(|error| told(&error))?;
        Ok(Explanation {
            source,
            port,
            verdict: match asked.verdict {
                Verdict::Pass(_) => "pass",
                Verdict::Drop(_) => "drop",
                Verdict::Spare(_) => "pass (observed)",
            }
            .to_owned(),
            reason: asked.verdict.reason().name().to_owned(),
            entry: asked.entry.map(network),
            tag: asked.tag,
            banned_until: asked.banned_until_ns.map(|until_ns| now.wall_of(until_ns)),
            generation: asked.generation,
            mode: self.mode().0.to_owned(),
        })
    }

    fn status(&self, now: Moment) -> Result<GateStatus, String> {
        let counters = self.gate.counters().map_err(|error| told(&error))?;
        let by_reason = counters.by_reason().into_iter();
        let (mode, observe_until_ns) = self.mode();
        let doors = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).doors();
        let wall = |until_ns| now.wall_of(until_ns);
        // As of the last second: whoever asks makes the kernel list nothing.
        let Approaches { guarded, cut_off } = &self.approaches.seen;
        let guarded = guarded.iter().copied().chain(std::iter::repeat(Approach::Unknown));
        Ok(GateStatus {
            pid: std::process::id(),
            interfaces: self
                .health
                .iter()
                .zip(guarded)
                .map(|(one, by)| interface(one, by))
                .collect(),
            cut_off: *cut_off,
            ports: guarded_ports(&self.config),
            serving: self.bulletin.borrow().service == Service::Serve,
            mode: mode.to_owned(),
            observe_until: observe_until_ns.map(wall),
            generation: self.gate.switched().generation,
            second_door: doors,
            loopback: self.config.gate.loopback,
            confirm_until: self.former.as_ref().map(|former| wall(former.until_ns)),
            shadow: self.shadow,
            entries: self.lists.allow.len(),
            bans: self.lists.bans.iter().len(),
            counters: by_reason.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
            spared: counters.spared(),
            counted: counted(&counters),
            talkers: self.talkers(),
            sources: self.watching.crowd(),
            bypasses: self.bypasses.list(now),
            refused_per_second: self.watching.watch.refused_per_second(),
            spikes: self.spikes(now),
            open_spikes: self.open_spikes(),
            problems: self.problems(),
            sandbox: self.sandbox.clone(),
        })
    }

    fn talkers(&self) -> Vec<Talker> {
        let talker = |talker: crate::watch::talkers::Talker| Talker {
            cidr: network(talker.net),
            frames: talker.frames,
            error: talker.error,
            reason: Reason::from_index(talker.reason.into()).map_or("?", Reason::name).to_owned(),
        };
        self.watching.talkers.loudest(TALKERS_SHOWN).into_iter().map(talker).collect()
    }
}

/// Returns what a caller must be allowed for a request.
pub(super) const fn right(request: &GateRequest) -> Right {
    match request {
        GateRequest::AllowAdd { .. }
        | GateRequest::AllowRemove { .. }
        | GateRequest::AllowApply { .. }
        | GateRequest::AllowConfirm
        | GateRequest::AllowRollback
        | GateRequest::AllowShadow { .. }
        | GateRequest::BanRemove { .. }
        | GateRequest::Mode { .. }
        | GateRequest::Detach
        | GateRequest::Reload
        | GateRequest::Audit { .. } => Right::Change,
        GateRequest::BanAdd { .. } | GateRequest::Attach { .. } => Right::Relay,
        GateRequest::AllowList
        | GateRequest::AllowPage { .. }
        | GateRequest::BanList
        | GateRequest::Explain { .. }
        | GateRequest::Status => Right::Look,
    }
}

/// Returns the rows in which anything was counted.
fn counted(counters: &Counters) -> Vec<Counted> {
    let rows = counters.rows.iter().map(|row| {
        let counts = Reason::ALL.into_iter().zip(row.counts.by_reason());
        let seen = counts.filter(|(_, count)| *count > 0);
        let counts: BTreeMap<String, u64> =
            seen.map(|(reason, count)| (reason.name().to_owned(), count)).collect();
        let (interface, port, spared) = (row.interface.clone(), row.port, row.counts.spared);
        Counted { interface, port, counts, spared }
    });
    rows.filter(|row| !row.counts.is_empty() || row.spared > 0).collect()
}

fn interface(health: &Health, approach: Approach) -> Interface {
    let closed = approach.problem(current_name(health));
    let (mode, problem) = match &health.state {
        InterfaceState::Guarded { mode, renamed, .. } => {
            (mode.name(), remark(*mode, renamed.as_deref(), closed))
        }
        InterfaceState::Off => (UNGUARDED, Some(both(problem(&health.state), closed))),
        other => ("missing", Some(both(problem(other), closed))),
    };
    let down = approach.words().map(str::to_owned);
    let unknown = approach == Approach::Unknown;
    Interface { name: health.interface.clone(), mode: mode.to_owned(), problem, down, unknown }
}

/// Puts what is wrong with the gate on an interface before what is wrong with that.
fn both(problem: String, closed: Option<String>) -> String {
    closed.into_iter().fold(problem, |problem, closed| format!("{problem}; {closed}"))
}

/// Says what somebody should know of an interface that is guarded.
fn remark(mode: XdpMode, renamed: Option<&str>, closed: Option<String>) -> Option<String> {
    let slow = match mode {
        XdpMode::Native => None,
        XdpMode::Generic => Some(
            "its driver runs no XDP programs, so frames are judged in the stack: as strictly, and more slowly"
                .to_owned(),
        ),
    };
    let renamed = renamed.map(|name| {
        format!("it is called {name} now and goes on being guarded; put that into gate.interfaces")
    });
    let remarks: Vec<String> = closed.into_iter().chain(slow).chain(renamed).collect();
    (!remarks.is_empty()).then(|| remarks.join("; "))
}
