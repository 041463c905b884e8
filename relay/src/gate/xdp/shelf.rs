//! Values that many entries share, kept once: tags and rates.

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::{Array, MapData};
use relay_common::table::Table;

use super::errors::{not_written, refused};
use crate::gate::GateError;

/// A table of different values, each in one place; place 0 is none.
pub struct Shelf<T: Pod> {
    map: Array<MapData, T>,
    table: Table,
    places: BTreeMap<T, u16>,
    /// Places without a value, the lowest last.
    free: Vec<u16>,
}

impl<T: Pod + Ord> Shelf<T> {
    /// Takes a table over with what it holds; `none` is the value of an empty place.
    pub fn adopt(map: Array<MapData, T>, table: Table, none: T) -> Result<Self, GateError> {
        let mut shelf = Self { map, table, places: BTreeMap::new(), free: Vec::new() };
        for place in (1..u16::try_from(table.capacity).unwrap_or(u16::MAX)).rev() {
            let value = shelf.map.get(&place.into(), 0);
            let value =
                value.map_err(|error| refused(format!("table {}: read", table.name), error))?;
            if value == none || shelf.places.insert(value, place).is_some() {
                shelf.free.push(place);
            }
        }
        Ok(shelf)
    }

    /// Returns the place of a value; `None` if there is none yet and no place is left.
    pub fn place(&mut self, value: Option<T>) -> Result<Option<u16>, GateError> {
        let Some(value) = value else { return Ok(Some(0)) };
        if let Some(place) = self.places.get(&value) {
            return Ok(Some(*place));
        }
        let Some(place) = self.free.pop() else { return Ok(None) };
        if let Err(error) = self.map.set(place.into(), value, 0) {
            self.free.push(place);
            return Err(not_written(&self.table, error));
        }
        self.places.insert(value, place);
        Ok(Some(place))
    }

    /// Returns the value in a place.
    pub fn value(&self, place: u16) -> Option<T> {
        self.places.iter().find(|(_, of)| **of == place).map(|(value, _)| *value)
    }

    /// Forgets every value whose place is not `used`. The table keeps it until the place is used again.
    pub fn keep(&mut self, used: impl Fn(u16) -> bool) {
        let free = &mut self.free;
        self.places.retain(|_, place| {
            let keeps = used(*place);
            if !keeps {
                free.push(*place);
            }
            keeps
        });
        free.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// Returns the error of a shelf without room.
    pub const fn full(&self) -> GateError {
        GateError::Full { table: self.table.name, capacity: self.table.capacity - 1 }
    }
}
