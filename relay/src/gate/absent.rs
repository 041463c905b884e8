//! The names of `xdp` in a build without it: [`load`] and [`View::open`] fail, and there is no value of
//! any of the types, so nothing else can be called.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use relay_common::addr::Net;
use relay_common::table::EntryId;
use relay_common::verdict::Verdict;

use super::{Gate, GateError, Health, Listed, Place, Queue, Ruleset, Survey};

/// Says nothing of the clock: this build makes no calls of its own to the kernel.
#[must_use]
pub const fn clock_is_kept() -> Option<bool> {
    None
}

/// Says nothing of a queue: this build makes no calls of its own to the kernel.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`], always.
pub fn queue(_socket: impl AsFd) -> io::Result<Queue> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Fails: there is nothing to load.
///
/// # Errors
///
/// [`GateError::NotBuilt`], always.
pub fn load(_place: &Place) -> Result<Loaded, GateError> {
    Err(GateError::NotBuilt)
}

/// Finds nothing wrong: what is missing is said by [`load`].
///
/// # Errors
///
/// None.
pub fn examine(_place: &Place, _interfaces: &[String]) -> Result<(), GateError> {
    Ok(())
}

/// Fails: there is nothing to detach.
///
/// # Errors
///
/// [`GateError::NotBuilt`], always.
pub fn detach(_pins: &Path) -> Result<(), GateError> {
    Err(GateError::NotBuilt)
}

/// Returns nothing: no kernel lacks what nothing needs.
#[must_use]
pub fn lacking() -> Vec<String> {
    Vec::new()
}

/// Tables over the pins; none exist.
#[derive(Debug)]
pub enum Loaded {}

/// Filled tables; none exist.
#[derive(Debug)]
pub enum Filled {}

/// The filter for sockets; none exists.
#[derive(Clone, Debug)]
pub enum Door {}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "no value has these methods")]
impl Door {
    #[must_use]
    pub const fn place(&self) -> u32 {
        match *self {}
    }

    pub fn hang(&self, _socket: impl AsFd) -> io::Result<()> {
        match *self {}
    }

    pub fn hangs(_socket: impl AsFd) -> io::Result<bool> {
        Ok(false)
    }
}

/// The read-only side; none exists.
#[derive(Debug)]
pub enum View {}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "no value has these methods")]
impl Loaded {
    #[must_use]
    pub fn entries(&self) -> Vec<(Net, EntryId)> {
        match *self {}
    }

    #[must_use]
    pub fn bans(&self) -> Vec<(Net, u64)> {
        match *self {}
    }

    pub fn fill(self, _ruleset: &Ruleset) -> Result<Filled, GateError> {
        match self {}
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "no value has these methods")]
impl Filled {
    pub fn attach(self, _interfaces: &[String]) -> Result<Box<dyn Gate>, GateError> {
        match self {}
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "no value has these methods")]
impl View {
    pub fn open(_pins: &Path) -> Result<Self, GateError> {
        Err(GateError::NotBuilt)
    }

    #[must_use]
    pub fn listed(&self, _source: IpAddr) -> Option<Listed> {
        match *self {}
    }

    #[must_use]
    pub fn verdict(&self, _source: IpAddr) -> Verdict {
        match *self {}
    }

    #[must_use]
    pub fn health(&self, _interfaces: &[String]) -> Vec<Health> {
        match *self {}
    }

    pub fn survey(&self, _: &[String], _: &[u16], _most: usize) -> Result<Survey, GateError> {
        match *self {}
    }
}
