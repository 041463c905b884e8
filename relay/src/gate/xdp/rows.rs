//! Which row of counters stands for which interface and port.

use std::collections::BTreeSet;

use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues};
use relay_common::state::Interfaces;
use relay_common::table::{
    COUNT_ROWS, COUNTERS, Counts, DOOR_ROW, INTERFACE_CELLS, INTERFACES, PORT_ROWS, interface_cell,
    port_row,
};

use super::errors::{not_written, refused};
use super::opening::Opening;
use super::switch::Board;
use crate::gate::{CountRow, Counters, GateError};

/// How many factors are tried until no two of what they spread fall together.
const TRIES: u64 = 1 << 22;

/// The counters.
pub struct Rows {
    counters: PerCpuArray<MapData, Counts>,
    cells: Array<MapData, u32>,
    interfaces: Vec<String>,
    ports: Vec<u16>,
    port_factor: u32,
    /// The numbers of the interfaces, as they were told; 0 for one that is not there.
    told: Vec<u32>,
}

impl Rows {
    /// Takes the counters over.
    pub fn open(opening: Opening<'_>) -> Result<Self, GateError> {
        Ok(Self {
            counters: opening.table(&COUNTERS, Map::PerCpuArray)?,
            cells: opening.table(&INTERFACES, Map::Array)?,
            interfaces: Vec::new(),
            ports: Vec::new(),
            port_factor: 0,
            told: Vec::new(),
        })
    }

    /// Gives rows to these ports. What was counted under other ports or interfaces is forgotten.
    pub fn set_ports(&mut self, ports: &[u16], board: &Board) -> Result<(), GateError> {
        self.ports = ports.to_vec();
        self.assign(board)
    }

    /// Gives rows to these interfaces, likewise.
    pub fn set_interfaces(&mut self, names: &[String], board: &Board) -> Result<(), GateError> {
        self.interfaces = names.to_vec();
        self.assign(board)?;
        let several = if names.len() > 1 { Interfaces::Many } else { Interfaces::One };
        board.set_state(|state| state.with_interfaces(several));
        Ok(())
    }

    fn assign(&mut self, board: &Board) -> Result<(), GateError> {
        let places: BTreeSet<u16> = self.ports.iter().copied().collect();
        let spread = |factor| places.iter().map(move |port| port_row(*port, factor));
        self.port_factor = factor(places.len(), spread)
            .ok_or(GateError::Spread { what: "guarded ports", count: places.len() })?;
        if self.interfaces.is_empty() {
            // Nothing is counted yet, and what was counted before stays for whoever attaches again.
            board.set_rows(board.rows_key(), 0, self.port_factor);
            return Ok(());
        }
        let key = key(&self.interfaces, &self.ports);
        if board.rows_key() != key {
            self.forget()?;
        }
        self.told.clear();
        board.set_rows(key, 0, self.port_factor);
        Ok(())
    }

    fn forget(&mut self) -> Result<(), GateError> {
        let held = self.counters.get(&0, 0).map_err(|error| not_written(&COUNTERS, error))?;
        for row in 0..COUNT_ROWS {
            let nothing = PerCpuValues::try_from(vec![Counts::default(); held.len()])
                .map_err(|error| super::kernel_said("count the CPUs".to_owned(), error))?;
            self.counters.set(row, nothing, 0).map_err(|error| not_written(&COUNTERS, error))?;
        }
        Ok(())
    }

    /// Tells the program which interface has which row, by the numbers that they have now.
    pub fn tell(&mut self, numbers: &[u32], board: &Board) -> Result<(), GateError> {
        if self.told == numbers || self.interfaces.len() < 2 {
            return Ok(());
        }
        let there: BTreeSet<u32> = numbers.iter().copied().filter(|number| *number != 0).collect();
        let spread = |factor| there.iter().map(move |number| interface_cell(*number, factor));
        let factor = factor(there.len(), spread)
            .ok_or(GateError::Spread { what: "interfaces", count: there.len() })?;
        let mut cells = vec![0; INTERFACE_CELLS as usize];
        for (row, number) in (0u32..).zip(numbers).filter(|(_, number)| **number != 0) {
            cells[interface_cell(*number, factor) as usize] = row;
        }
        for (cell, row) in (0u32..).zip(cells) {
            self.cells.set(cell, row, 0).map_err(|error| not_written(&INTERFACES, error))?;
        }
        board.set_rows(key(&self.interfaces, &self.ports), factor, self.port_factor);
        self.told = numbers.to_vec();
        Ok(())
    }

    /// Returns what was counted.
    pub fn counters(&self) -> Result<Counters, GateError> {
        let names = self.interfaces.iter().cloned().map(Some);
        // Programs that are run and not attached count in the first row.
        let nowhere = self.interfaces.is_empty().then(|| Some("-".to_owned()));
        sum(&self.counters, names.chain(nowhere), &self.ports, self.port_factor)
    }
}

/// Returns what was counted on interfaces with these names, in the order of their rows, and at the second
/// door.
pub fn sum(
    counters: &PerCpuArray<MapData, Counts>,
    names: impl Iterator<Item = Option<String>>,
    ports: &[u16],
    port_factor: u32,
) -> Result<Counters, GateError> {
    let mut rows = Vec::new();
    for (first, interface) in (0u32..).zip(names).chain([(DOOR_ROW, None)]) {
        let ports = ports.iter().map(|port| (Some(*port), port_row(*port, port_factor)));
        for (port, row) in [(None, 0)].into_iter().chain(ports) {
            let cpus = counters.get(&(first * PORT_ROWS + row), 0);
            let cpus =
                cpus.map_err(|error| refused(format!("table {}: read", COUNTERS.name), error))?;
            let counts = cpus.iter().fold(Counts::default(), |sum, cpu| sum.plus(cpu));
            rows.push(CountRow { interface: interface.clone(), port, counts });
        }
    }
    Ok(Counters { rows })
}

/// Returns a factor under which all `count` things fall into different places.
fn factor<I: Iterator<Item = u32>>(count: usize, spread: impl Fn(u32) -> I) -> Option<u32> {
    let apart = |factor: &u32| spread(*factor).collect::<BTreeSet<u32>>().len() == count;
    let factors = (1..TRIES).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 | 1);
    factors.into_iter().find(apart)
}

/// Returns a number for these interfaces and ports in this order.
pub fn key(interfaces: &[String], ports: &[u16]) -> u64 {
    let text = format!("{interfaces:?} {ports:?}");
    let [low, high] = [0, 1].map(|seed| u64::from(crc32c::crc32c_append(seed, text.as_bytes())));
    high << 32 | low | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_ports_and_interfaces_are_spread_apart() {
        let ports: Vec<u16> = (0..15).map(|n| 2525 + n * 101).collect();
        let found = factor(15, |factor| ports.iter().map(move |port| port_row(*port, factor)));
        let factor_of_ports = found.expect("some factor spreads fifteen ports over sixteen rows");
        let rows: BTreeSet<u32> =
            ports.iter().map(|port| port_row(*port, factor_of_ports)).collect();
        assert_eq!(rows.len(), 15);
        let numbers: Vec<u32> = (0..64).map(|n| 2 + n * 3).collect();
        assert!(factor(64, |f| numbers.iter().map(move |n| interface_cell(*n, f))).is_some());
    }
}
