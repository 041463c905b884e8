//! The tables that are always there, held by descriptors: who takes their pins away ends nothing.

use std::os::fd::OwnedFd;

use relay_common::table::{self, DOORS, Table};

use super::opening::Opening;
use super::pins::{Pins, pin_if_missing};
use crate::gate::GateError;
use crate::gate::sys::Access;

/// A descriptor for each table.
pub struct Anchors {
    pins: Pins,
    tables: Vec<(Table, OwnedFd)>,
}

impl Anchors {
    /// Opens every table that is pinned.
    ///
    /// # Errors
    ///
    /// See [`Opening::raw`].
    pub fn open(pins: &Pins) -> Result<Self, GateError> {
        let opening = Opening { pins, access: Access::ReadWrite };
        let tables = table::ALL.iter().chain([&DOORS]);
        let tables = tables.map(|table| Ok((*table, opening.raw(table)?)));
        Ok(Self { pins: pins.clone(), tables: tables.collect::<Result<_, GateError>>()? })
    }

    /// Pins again what is not pinned any more; returns how many tables were.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn pin_again(&self) -> Result<usize, GateError> {
        let mut pinned = 0;
        for (table, held) in &self.tables {
            pinned += usize::from(pin_if_missing(held, &self.pins.table(table))?);
        }
        Ok(pinned)
    }
}
