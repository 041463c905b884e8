//! A file that replaces the run-time list: what it would do, doing it, and taking it back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use relay_common::addr::{Addr, Net};

use super::keeper::Keeper;
use super::telling::{guarded_ports, told};
use crate::control::caller::Caller;
use crate::control::wire::{self, Applied, Change, Confirmed};
use crate::event::Event;
use crate::gate::allowlist::{Author, Did, Edit, Plan, Refusal};
use crate::gate::audit;
use crate::gate::cidr::{ancestry, network};
use crate::gate::clients;
use crate::gate::clocks::Moment;
use crate::gate::entry::Entry;
use crate::gate::listfile::{self, Wishes};
use crate::gate::record::Former;

/// The changes that are told one by one.
const TOLD_MAX: usize = 1_000;
/// How long a list may wait to be confirmed.
const CONFIRM_MAX: Duration = Duration::from_secs(86_400);

/// How a list is to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct How {
    /// Only say what it would do.
    pub dry_run: bool,
    /// Bring the former list back after this time, unless it is confirmed.
    pub confirm_within: Option<Duration>,
    /// Also if it cuts every client that is connected now.
    pub force: bool,
}

impl Keeper {
    /// Makes the wishes of a file the whole of the added entries.
    pub(super) fn allow_apply(
        &mut self,
        file: &[u8],
        how: How,
        caller: Caller,
        now: Moment,
    ) -> Result<Applied, String> {
        self.require_confirmed()?;
        let confirm_until = match how.confirm_within {
            Some(within) if within.is_zero() || within > CONFIRM_MAX => {
                return Err("--confirm-within: more than nothing and at most a day".to_owned());
            }
            within => within.map(|within| now.after(within)),
        };
        let Wishes { wishes, lines } = read(file, now)?;
        let author = Author { uid: caller.uid, at: now.wall };
        let plan = self.lists.allow.replace(&wishes, author);
        let plan = plan.map_err(|(place, refusal)| self.refused_at(&lines, place, refusal))?;
        let connected = clients::connected(&guarded_ports(&self.config))
            .map_err(|error| format!("the open connections cannot be read: {error}"))?;
        let next = self.after(&plan);
        let cut = self.would_cut(&connected, &next);
        let everybody = !cut.is_empty() && cut.len() == self.admitted_now(&connected);
        if everybody && !how.force && !how.dry_run {
            return Err(format!(
                "refused: none of the {} clients that are connected now would be admitted any more; \
                 see --dry-run, and use --force if that is meant",
                cut.len()
            ));
        }
        let mut applied = Applied {
            is_applied: false,
            entries: next.len(),
            counts: BTreeMap::new(),
            changes: plan.did.iter().take(TOLD_MAX).map(|(net, did)| change(*net, *did)).collect(),
            cut,
            connected: connected.len(),
            confirm_until: confirm_until.map(|until_ns| now.wall_of(until_ns)),
        };
        for (_, did) in &plan.did {
            *applied.counts.entry(word(*did)).or_default() += 1;
        }
        if !how.dry_run {
            self.apply_plan(&plan, confirm_until, caller, now)?;
            applied.is_applied = true;
        }
        Ok(applied)
    }

    /// Refuses a change while a list waits to be confirmed: it would be lost, or be kept, by surprise.
    pub(super) fn require_confirmed(&self) -> Result<(), String> {
        match &self.former {
            None => Ok(()),
            Some(_) => {
                Err("a list waits to be confirmed; first `sallyport allow confirm` keeps it, or \
                            `sallyport allow rollback` brings the former one back"
                    .to_owned())
            }
        }
    }

    fn refused_at(&self, lines: &[usize], place: Option<usize>, refusal: Refusal) -> String {
        let line = place.and_then(|place| lines.get(place));
        let refusal = self.refused(refusal);
        line.map_or(refusal.clone(), |line| format!("line {line}: {refusal}"))
    }

    /// Returns the networks that have entries when a plan is carried out.
    fn after(&self, plan: &Plan) -> std::collections::BTreeSet<Net> {
        let mut nets: std::collections::BTreeSet<Net> =
            self.lists.allow.entries().map(|entry| entry.net).collect();
        for edit in &plan.edits {
            match edit {
                Edit::Put(entry) => drop(nets.insert(entry.net)),
                Edit::Take(net) => drop(nets.remove(net)),
            }
        }
        nets
    }

    /// Returns the clients that are admitted now and would not be by `next`.
    fn would_cut(
        &self,
        connected: &BTreeMap<IpAddr, usize>,
        next: &std::collections::BTreeSet<Net>,
    ) -> BTreeMap<IpAddr, usize> {
        let host = |client: IpAddr| Net::host(Addr::from(client));
        let stays = |client: IpAddr| ancestry(host(client)).any(|net| next.contains(&net));
        let cut = connected.iter().filter(|(client, _)| self.admits(**client) && !stays(**client));
        cut.map(|(client, count)| (*client, *count)).collect()
    }

    fn admitted_now(&self, connected: &BTreeMap<IpAddr, usize>) -> usize {
        connected.keys().filter(|client| self.admits(**client)).count()
    }

    fn admits(&self, client: IpAddr) -> bool {
        self.lists.allow.admitting(Net::host(Addr::from(client))).is_some()
    }

    fn apply_plan(
        &mut self,
        plan: &Plan,
        confirm_until: Option<u64>,
        caller: Caller,
        now: Moment,
    ) -> Result<(), String> {
        let nothing = |error: String| format!("nothing was changed: {error}");
        let former = self.added();
        let entry = audit::Change {
            at: now.wall,
            uid: Some(caller.uid),
            verb: "allow apply".into(),
            networks: nets(plan, |did| did != Did::Removed),
            removed: nets(plan, |did| did == Did::Removed),
            detail: confirm_until
                .map(|until_ns| format!("to be confirmed until {:.0}", now.wall_of(until_ns))),
        };
        self.audit.append(entry).map_err(|error| nothing(error.to_string()))?;
        let comes_back = confirm_until.map(|until_ns| Former { until_ns, added: former });
        if let Some(former) = &comes_back {
            self.files.save_former(former, now).map_err(|error| nothing(error.to_string()))?;
        }
        let (_, undo) = self.lists.allow.apply(&plan.edits);
        let saved = self.files.save_allowlist(&self.lists.allow.kept(), now);
        let done = saved.map_err(|error| error.to_string()).and_then(|()| {
            let wanted = self.ruleset();
            self.gate.replace(&wanted).map_err(|error| told(&error))
        });
        if let Err(error) = done {
            self.lists.allow.apply(&undo);
            self.save_allowlist(now);
            self.restore_tables();
            let _ = self.files.remove_former();
            return Err(nothing(error));
        }
        self.pending.allow_file = None;
        self.former = comes_back;
        self.list_changed();
        self.journal.write(Event::AllowReplaced {
            entries: self.lists.allow.len(),
            added: plan.did.iter().filter(|(_, did)| *did == Did::Added).count(),
            removed: plan.did.iter().filter(|(_, did)| *did == Did::Removed).count(),
            uid: caller.uid,
        });
        Ok(())
    }

    fn added(&self) -> Vec<Entry> {
        self.lists.allow.kept().added
    }

    /// Keeps the list that was applied.
    pub(super) fn allow_confirm(
        &mut self,
        caller: Caller,
        now: Moment,
    ) -> Result<Confirmed, String> {
        if self.former.is_none() {
            return Err("no list waits to be confirmed".to_owned());
        }
        self.files.remove_former().map_err(|error| format!("not confirmed: {error}"))?;
        self.former = None;
        self.note(Some(caller.uid), "allow confirm", Vec::new(), None, now);
        Ok(Confirmed { entries: self.lists.allow.len() })
    }

    /// Brings the former list back.
    pub(super) fn allow_rollback(
        &mut self,
        by: Option<Caller>,
        now: Moment,
    ) -> Result<Confirmed, String> {
        let Some(former) = self.former.take() else {
            return Err("no list waits to be confirmed".to_owned());
        };
        let back: std::collections::BTreeSet<Net> =
            former.added.iter().map(|entry| entry.net).collect();
        let gone = self.added().into_iter().map(|entry| entry.net);
        let gone = gone.filter(|net| !back.contains(net)).map(Edit::Take);
        let edits: Vec<Edit> = gone.chain(former.added.into_iter().map(Edit::Put)).collect();
        self.lists.allow.apply(&edits);
        // What cannot be written now is tried again; the kernel's list is the former one in any case.
        self.save_allowlist(now);
        if let Err(error) = self.files.remove_former() {
            self.trouble(&format!(
                "the list was brought back, but a restart would do so again: {error}"
            ));
        }
        self.restore_tables();
        self.list_changed();
        let uid = by.map(|caller| caller.uid);
        self.note(uid, "allow rollback", Vec::new(), None, now);
        self.journal.write(Event::AllowRolledBack { entries: self.lists.allow.len(), uid });
        if let Some(problem) = self.pending.tables.clone() {
            return Err(format!("the former list is back, but not yet in the kernel; {problem}"));
        }
        Ok(Confirmed { entries: self.lists.allow.len() })
    }

    /// Brings the former list back when its time has come.
    pub(super) fn roll_back_if_due(&mut self, now: Moment) {
        if self.former.as_ref().is_some_and(|former| former.until_ns <= now.boot_ns) {
            // What the kernel refuses is tried again with the other tables, and told.
            let _ = self.allow_rollback(None, now);
        }
    }

    /// Judges by a file in shadow; an empty one ends that.
    pub(super) fn allow_shadow(
        &mut self,
        file: &[u8],
        caller: Caller,
        now: Moment,
    ) -> Result<usize, String> {
        let nets: Option<Vec<Net>> = if file.is_empty() {
            None
        } else {
            let declared =
                self.config.gate.allow.iter().filter_map(|a| crate::gate::net(a.cidr).ok());
            let wished = read(file, now)?.wishes.into_iter().map(|wish| wish.net);
            let mut nets: Vec<Net> = declared.chain(wished).collect();
            nets.sort_unstable();
            nets.dedup();
            Some(nets)
        };
        self.gate.shadow(nets.as_deref()).map_err(|error| told(&error))?;
        self.shadow = nets.as_ref().map(Vec::len);
        let detail = self.shadow.map_or("ended".to_owned(), |count| format!("{count} entries"));
        self.note(Some(caller.uid), "allow shadow", Vec::new(), Some(detail), now);
        Ok(self.shadow.unwrap_or(0))
    }
}

fn read(file: &[u8], now: Moment) -> Result<Wishes, String> {
    let text = std::str::from_utf8(file).map_err(|error| {
        let line = file[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        format!("line {line}: not UTF-8")
    })?;
    listfile::read(text, now.boot_ns).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{}\nnothing was changed", lines.join("\n"))
    })
}

fn nets(plan: &Plan, wanted: impl Fn(Did) -> bool) -> Vec<String> {
    let changed = plan.did.iter().filter(|(_, did)| wanted(*did));
    changed.map(|(net, _)| network(*net).to_string()).collect()
}

fn change(net: Net, did: Did) -> Change {
    Change { cidr: network(net), did: word(did), remark: None }
}

/// Returns the word of the wire for what became of a network.
pub(super) const fn word(did: Did) -> wire::Did {
    match did {
        Did::Added => wire::Did::Added,
        Did::Updated => wire::Did::Updated,
        Did::Unchanged => wire::Did::Unchanged,
        Did::Removed => wire::Did::Removed,
    }
}
