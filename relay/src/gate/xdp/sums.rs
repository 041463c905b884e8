//! The sums of refused frames by source.

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use relay_common::table::{NO_SKETCH, REFUSED, Sketch};

use super::errors::{not_written, refused};
use super::generation::seed;
use super::kernel_said;
use super::opening::Opening;
use crate::gate::GateError;

/// A sketch for each CPU, all with one seed.
pub struct Sums {
    sketch: PerCpuArray<MapData, Sketch>,
}

impl Sums {
    /// Takes the sums over. If they have no seed, or not the same, they begin anew.
    pub fn adopt(opening: Opening<'_>) -> Result<Self, GateError> {
        let mut sums = Self { sketch: opening.table(&REFUSED, Map::PerCpuArray)? };
        sums.mix()?;
        Ok(sums)
    }

    /// Mixes the sketches of all CPUs with one seed, so that they can be summed.
    fn mix(&mut self) -> Result<(), GateError> {
        let read = |error| refused(format!("table {}: read", REFUSED.name), error);
        let held = self.sketch.get(&0, 0).map_err(read)?;
        let first = held.first().map_or(0, |sketch| sketch.seed);
        if first != 0 && held.iter().all(|sketch| sketch.seed == first) {
            return Ok(());
        }
        let fresh = Sketch { seed: seed()? | 1, ..NO_SKETCH };
        let fresh = PerCpuValues::try_from(vec![fresh; held.len()])
            .map_err(|error| kernel_said("count the CPUs".to_owned(), error))?;
        self.sketch.set(0, fresh, 0).map_err(|error| not_written(&REFUSED, error))
    }

    /// Returns the sums of refused frames by source, of all CPUs.
    pub fn total(&self) -> Result<Box<Sketch>, GateError> {
        let cpus = self.sketch.get(&0, 0);
        let cpus = cpus.map_err(|error| refused(format!("table {}: read", REFUSED.name), error))?;
        let mut sum = Box::new(NO_SKETCH);
        for cpu in cpus.iter() {
            sum.total += cpu.total;
            sum.seed = cpu.seed;
            for (level, cells) in sum.cells.iter_mut().zip(&cpu.cells) {
                for (row, cells) in level.iter_mut().zip(cells) {
                    for (sum, cell) in row.iter_mut().zip(cells) {
                        *sum = sum.wrapping_add(*cell);
                    }
                }
            }
        }
        Ok(sum)
    }
}
