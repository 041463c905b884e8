//! Opening pinned tables by their names.

use std::os::fd::OwnedFd;
use std::path::Path;

use aya::maps::{Map, MapData, MapError};
use relay_common::table::Table;

use super::errors::refused;
use super::kernel_said;
use super::pins::Pins;
use crate::gate::GateError;
use crate::gate::sys::{self, Access};

/// A way to open tables.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Where they are pinned.
    pub pins: &'a Pins,
    /// What for.
    pub access: Access,
}

impl Opening<'_> {
    /// Opens the table that is pinned under its name.
    pub fn raw(&self, table: &Table) -> Result<OwnedFd, GateError> {
        self.at(&self.pins.table(table))
    }

    /// Opens the table that is pinned under `name`.
    pub fn named(&self, name: &str) -> Result<OwnedFd, GateError> {
        self.at(&self.pins.path(name))
    }

    fn at(&self, path: &Path) -> Result<OwnedFd, GateError> {
        sys::open_pin(path, self.access)
            .map_err(|error| kernel_said(format!("{}: open", path.display()), error))
    }

    /// Opens a table as one of aya's.
    pub fn table<T: TryFrom<Map, Error = MapError>>(
        &self,
        table: &Table,
        kind: fn(MapData) -> Map,
    ) -> Result<T, GateError> {
        typed(self.raw(table)?, kind, table)
    }
}

/// Returns a descriptor as one of aya's tables.
pub fn typed<T: TryFrom<Map, Error = MapError>>(
    fd: OwnedFd,
    kind: fn(MapData) -> Map,
    table: &Table,
) -> Result<T, GateError> {
    let what = || format!("table {}: open", table.name);
    let map = MapData::from_fd(fd).map_err(|error| refused(what(), error))?;
    T::try_from(kind(map)).map_err(|error| refused(what(), error))
}
