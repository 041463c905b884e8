//! The gate by XDP: a kernel program on each interface, over pinned tables.

mod anchors;
mod attach;
mod bans;
mod chunks;
mod door;
mod errors;
mod generation;
mod links;
mod measure;
mod needs;
mod object;
mod opening;
mod pinning;
mod pins;
mod probe;
mod rows;
mod shelf;
mod sums;
mod survey;
mod switch;
mod tables;
mod view;
mod wanted;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use relay_common::addr::{Addr, Net};
use relay_common::state::Alone;
use relay_common::table::{EntryId, Sample, Sketch};

use super::approach::Approaches;
use super::sys::Access;
use super::{
    Counters, Entry, EntryCounts, Explanation, Gate, GateError, Health, Place, Ruleset, Switched,
    XdpMode,
};
use links::Links;
use object::Object;
use opening::Opening;
use pinning::Said;
use pins::Pins;
use switch::Board;
use tables::Tables;

pub use door::Door;
pub use measure::{EntryPoint, Run};
pub use needs::lacking;
pub use tables::Took;
pub use view::View;

/// Returns the error for what the kernel said to `what`.
fn kernel_said(what: String, source: io::Error) -> GateError {
    match source.raw_os_error() {
        Some(nix::libc::EPERM | nix::libc::EACCES) => GateError::NotPermitted { what },
        _ => GateError::Kernel { what, source },
    }
}

/// Loads the kernel programs over the tables pinned at `place`, making those that are missing. What stands
/// attached from an earlier process goes on judging by the same tables.
///
/// # Errors
///
/// [`GateError::NoBpffs`], [`GateError::NotGiven`], [`GateError::NoBtf`], [`GateError::NotPermitted`],
/// [`GateError::Layout`], [`GateError::Refused`].
pub fn load(place: &Place) -> Result<Loaded, GateError> {
    let pins = Pins::prepare(place)?;
    let object = Object::load(&pins)?;
    let mut tables = Tables::adopt(&pins)?;
    tables.clear_diagnosed()?;
    Ok(Loaded { pins, object, tables })
}

/// Looks whether the gate can stand on all of these interfaces, before anything is changed for it.
///
/// # Errors
///
/// [`GateError::UnknownInterface`], [`GateError::NoEthernet`], [`GateError::Foreign`].
pub fn examine(place: &Place, interfaces: &[String]) -> Result<(), GateError> {
    let pins = Pins::below(&place.pins);
    interfaces.iter().try_for_each(|name| attach::examine(&pins, name))
}

/// Opens the host without a gate's process: detaches every link and takes the pins below `pins` away. Where
/// nothing is pinned the host is open already.
///
/// # Errors
///
/// What the kernel refused; then it may be half done.
pub fn detach(pins: &Path) -> Result<(), GateError> {
    let pins = Pins::below(pins);
    if pins.exist() {
        let opening = Opening { pins: &pins, access: Access::ReadWrite };
        Board::open(opening)?.open_doors();
    }
    attach::detach(&pins)?;
    pins.remove_tables()
}

/// The programs are loaded over the tables, which hold what an earlier process left in them.
pub struct Loaded {
    pins: Pins,
    object: Object,
    tables: Tables,
}

impl Loaded {
    /// Returns the allowlist that an earlier process left, so that its networks keep their numbers.
    #[must_use]
    pub fn entries(&self) -> Vec<(Net, EntryId)> {
        self.tables.entries()
    }

    /// Returns the bans that an earlier process left.
    #[must_use]
    pub fn bans(&self) -> Vec<(Net, u64)> {
        self.tables.bans()
    }

    /// Brings the tables to `ruleset`. Only then may the programs be attached: so no listed client is cut
    /// and no stranger admitted while the tables fill.
    ///
    /// # Errors
    ///
    /// See [`Gate::replace`].
    pub fn fill(self, ruleset: &Ruleset) -> Result<Filled, GateError> {
        let Self { pins, object, mut tables } = self;
        tables.replace(ruleset)?;
        // A list in shadow is that of the process that put it there.
        tables.shadow(None)?;
        Ok(Filled { pins, object, tables })
    }
}

/// The tables say what was wanted.
pub struct Filled {
    pins: Pins,
    object: Object,
    tables: Tables,
}

impl Filled {
    /// Attaches the gate to `interfaces`, in the driver if it can, else in the stack; [`Gate::health`] says
    /// which. Where a pinned link holds an interface, its program is exchanged without a gap.
    ///
    /// # Errors
    ///
    /// [`GateError::UnknownInterface`], [`GateError::Foreign`], [`GateError::NoLink`], [`GateError::Attach`]:
    /// the interfaces before that one are attached, and stay so.
    pub fn attach(self, interfaces: &[String]) -> Result<Box<dyn Gate>, GateError> {
        self.attach_by(interfaces, &[XdpMode::Native, XdpMode::Generic])
    }

    /// Attaches the gate to `interfaces` in one way alone.
    ///
    /// # Errors
    ///
    /// See [`attach`](Self::attach).
    pub fn attach_as(
        self,
        interfaces: &[String],
        mode: XdpMode,
    ) -> Result<Box<dyn Gate>, GateError> {
        self.attach_by(interfaces, &[mode])
    }

    fn attach_by(
        self,
        interfaces: &[String],
        ways: &[XdpMode],
    ) -> Result<Box<dyn Gate>, GateError> {
        let Self { pins, mut object, mut tables } = self;
        tables.announce(object.gate()?.id)?;
        object.hang_door(&pins)?;
        let door = object.knocker(&pins)?;
        let (rows, board) = tables.rows();
        rows.set_interfaces(interfaces, board)?;
        let mut links = Links::new(pins.clone(), ways.to_vec());
        for name in interfaces {
            links.add(object.gate()?, name)?;
        }
        let mut gate = Xdp { pins, object, tables, door, links, said: Said::default() };
        gate.tell_rows()?;
        gate.tables.board().permit_samples();
        gate.pins.remove_others()?;
        Ok(Box::new(gate))
    }
}

/// The gate while it stands. Dropping it changes nothing in the kernel, but that no samples are told any more.
struct Xdp {
    pins: Pins,
    object: Object,
    tables: Tables,
    door: Door,
    links: Links,
    said: Said,
}

impl Xdp {
    /// Tells the program the numbers that the interfaces have now.
    fn tell_rows(&mut self) -> Result<(), GateError> {
        let numbers = self.links.numbers();
        let (rows, board) = self.tables.rows();
        rows.tell(&numbers, board)
    }

    /// Loads the programs once more and exchanges them on every interface. The kernel hands a program to the
    /// driver anew only if it is another.
    fn renew(&mut self) -> Result<(), GateError> {
        let mut object = Object::load(&self.pins)?;
        self.tables.announce(object.gate()?.id)?;
        self.links.exchange(object.gate()?)?;
        object.hang_door(&self.pins)?;
        self.object = object;
        Ok(())
    }

    /// Hands the program to drivers anew whose queues were changed, and says so.
    fn follow_channels(&mut self) {
        let rearranged = self.links.rearranged();
        if rearranged.is_empty() {
            return;
        }
        let names = rearranged.join(", ");
        let said = match self.renew() {
            Ok(()) => format!("{names}: other queues; the program was handed to the driver anew"),
            Err(error) => format!(
                "{names}: other queues, and the program could not be handed to the driver anew, so it may not \
                 run on some of them; restart the gate: {error}"
            ),
        };
        self.said.waiting.push(said);
    }
}

impl Drop for Xdp {
    fn drop(&mut self) {
        self.tables.board().permit_none();
    }
}

impl Gate for Xdp {
    fn replace(&mut self, ruleset: &Ruleset) -> Result<(), GateError> {
        self.tables.replace(ruleset)
    }

    fn insert(&mut self, entry: &Entry) -> Result<(), GateError> {
        self.tables.insert(entry)
    }

    fn remove(&mut self, net: &Net) -> Result<Option<EntryId>, GateError> {
        Ok(self.tables.remove(net))
    }

    fn ban(&mut self, bans: &[(Net, u64)]) -> Result<(), GateError> {
        self.tables.ban(bans)
    }

    fn unban(&mut self, net: &Net) -> Result<bool, GateError> {
        self.tables.unban(net)
    }

    fn switched(&self) -> Switched {
        let state = self.tables.state();
        Switched {
            mode: state.mode(),
            observe_until_ns: self.tables.board().observe_until_ns(),
            generation: state.number(),
        }
    }

    fn observe(&mut self, until_ns: Option<u64>) -> Result<(), GateError> {
        self.tables.observe(until_ns);
        Ok(())
    }

    fn leave_alone(&mut self, alone: Alone) -> Result<(), GateError> {
        self.tables.leave_alone(alone);
        Ok(())
    }

    fn shadow(&mut self, candidate: Option<&[Net]>) -> Result<(), GateError> {
        self.tables.shadow(candidate)
    }

    fn entries(&self) -> Vec<(Net, EntryId)> {
        self.tables.entries()
    }

    fn bans(&self) -> Vec<(Net, u64)> {
        self.tables.bans()
    }

    fn counters(&self) -> Result<Counters, GateError> {
        self.tables.counters()
    }

    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCounts>, GateError> {
        let entries = self.tables.entries();
        entries.into_iter().map(|(_, id)| Ok((id, self.tables.counts(id)?))).collect()
    }

    fn entry_count(&self, net: &Net) -> Result<Option<EntryCounts>, GateError> {
        self.tables.id(net).map(|id| self.tables.counts(id)).transpose()
    }

    fn refused(&self) -> Result<Box<Sketch>, GateError> {
        self.tables.refused()
    }

    fn samples(&mut self) -> Vec<Sample> {
        let samples = self.object.samples();
        self.tables.board().permit_samples();
        samples
    }

    fn explain(&self, source: IpAddr, port: u16) -> Result<Explanation, GateError> {
        let verdict = self.object.explain(source, port)?;
        let source = Addr::from(source);
        let entry = self.tables.entry(&source);
        Ok(Explanation {
            verdict,
            entry: entry.and_then(|entry| self.tables.network(entry)),
            tag: entry.and_then(|entry| self.tables.tag(entry)),
            banned_until_ns: self.tables.banned_until_ns(source, self.now_ns()),
            generation: self.tables.state().number(),
        })
    }

    fn health(&self) -> Vec<Health> {
        let programs = self.object.gate().map(|program| vec![program.id]).unwrap_or_default();
        self.links.health(&programs)
    }

    fn approaches(&self) -> Approaches {
        self.links.approaches()
    }

    fn repair(&mut self) -> Vec<Health> {
        self.follow_channels();
        let health = match self.object.gate() {
            Ok(program) => self.links.repair(program),
            Err(_) => self.links.health(&[]),
        };
        self.pin_again();
        // Rows only say where frames are counted; the next call tries again.
        let _ = self.tell_rows();
        health
    }

    fn pins_problem(&self) -> Option<String> {
        self.said.problem.clone()
    }

    fn diagnostics(&mut self) -> Vec<String> {
        let mut said = std::mem::take(&mut self.said.waiting);
        said.extend(self.object.diagnostics());
        said
    }

    fn now_ns(&self) -> u64 {
        super::boot_clock_ns()
    }

    fn door(&self) -> Option<Door> {
        Some(self.door.clone())
    }

    fn detach(&mut self) -> Result<(), GateError> {
        self.tables.board().open_doors();
        self.links.detach()?;
        self.said.problem = None;
        self.pins.remove_tables()
    }
}
