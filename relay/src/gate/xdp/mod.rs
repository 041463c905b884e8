//! The gate by XDP: a kernel program on each interface, over pinned tables.

mod attach;
mod bans;
mod maps;
mod measure;
mod netlink;
mod object;
mod pins;
mod probe;
mod tables;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use relay_common::addr::{Addr, Net};
use relay_common::table::{EntryCount, EntryId};
use relay_common::verdict::Tables as _;

use super::sys::Access;
use super::{
    Counters, Entry, Explanation, Gate, GateError, Health, InterfaceState, Place, Ruleset,
};
use maps::Maps;
use object::Object;
use pins::Pins;
use tables::Tables;

pub use measure::{EntryPoint, Run};
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
/// [`GateError::NoBpffs`], [`GateError::NoBtf`], [`GateError::NotPermitted`], [`GateError::Layout`],
/// [`GateError::Refused`].
pub fn load(place: &Place) -> Result<Loaded, GateError> {
    let pins = Pins::prepare(place)?;
    let object = Object::load(&pins)?;
    let mut tables = Tables::adopt(Maps::open(&pins, Access::ReadWrite)?)?;
    tables.clear_diagnosed()?;
    Ok(Loaded { pins, object, tables })
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
        let Self { pins, object, mut tables } = self;
        tables.announce(object.gate()?.id)?;
        let mut gate = Xdp { pins, object, tables, interfaces: Vec::new() };
        for name in interfaces {
            let adopted = gate.attach(name)?;
            gate.interfaces.push(Guarded { name: name.clone(), adopted });
        }
        Ok(Box::new(gate))
    }
}

/// The gate while it stands. Dropping it changes nothing in the kernel.
struct Xdp {
    pins: Pins,
    object: Object,
    tables: Tables,
    interfaces: Vec<Guarded>,
}

/// An interface that the gate was attached to.
struct Guarded {
    name: String,
    adopted: bool,
}

impl Xdp {
    /// Attaches the program; returns whether it took the place of one that stood there already.
    fn attach(&self, name: &str) -> Result<bool, GateError> {
        let state = attach::attach(self.object.gate()?, &self.pins, name)?;
        Ok(matches!(state, InterfaceState::Guarded { adopted: true, .. }))
    }

    fn health_of(&self, interface: &Guarded) -> Health {
        let programs = self.object.gate().map(|program| vec![program.id]).unwrap_or_default();
        attach::health(&interface.name, &programs, interface.adopted)
    }

    /// Returns how an interface stands after it was attached again, if its program was missing.
    fn repair(&self, interface: &Guarded) -> Health {
        let seen = self.health_of(interface);
        if seen.state != InterfaceState::Missing {
            return seen;
        }
        match self.attach(&interface.name) {
            Ok(_) => self.health_of(interface),
            Err(error) => {
                Health { state: InterfaceState::Unknown { problem: error.to_string() }, ..seen }
            }
        }
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
        self.tables.remove(net)
    }

    fn ban(&mut self, net: &Net, until_ns: u64) -> Result<(), GateError> {
        self.tables.ban(net, until_ns)
    }

    fn unban(&mut self, net: &Net) -> Result<bool, GateError> {
        self.tables.unban(net)
    }

    fn entries(&self) -> Vec<(Net, EntryId)> {
        self.tables.entries()
    }

    fn bans(&self) -> Vec<(Net, u64)> {
        self.tables.bans()
    }

    fn counters(&self) -> Result<Counters, GateError> {
        self.tables.maps().counters()
    }

    fn entry_counts(&self) -> Result<BTreeMap<EntryId, EntryCount>, GateError> {
        self.tables.entry_counts()
    }

    fn explain(&self, source: IpAddr, port: u16) -> Result<Explanation, GateError> {
        let verdict = self.object.explain(source, port)?;
        let (maps, source) = (self.tables.maps(), Addr::from(source));
        let entry = maps.listed(&source);
        let tag = entry.and_then(|entry| maps.tag(entry));
        let banned = maps.banned_until_ns(&source).filter(|until_ns| *until_ns > self.now_ns());
        Ok(Explanation { verdict, entry, tag, banned_until_ns: banned })
    }

    fn health(&self) -> Vec<Health> {
        self.interfaces.iter().map(|interface| self.health_of(interface)).collect()
    }

    fn repair(&mut self) -> Vec<Health> {
        self.interfaces.iter().map(|interface| Self::repair(self, interface)).collect()
    }

    fn diagnostics(&mut self) -> Vec<String> {
        self.object.diagnostics()
    }

    fn now_ns(&self) -> u64 {
        super::boot_clock_ns()
    }

    fn detach(self: Box<Self>) -> Result<(), GateError> {
        let Self { pins, object, tables, .. } = *self;
        pins.remove_links()?;
        drop((object, tables));
        pins.remove_all()
    }
}
