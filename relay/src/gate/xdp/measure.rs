//! Running the loaded programs over given frames, for tests, measurements and the self-test.

use std::time::Duration;

use aya::programs::ProgramFd;
use aya::{TestRun as _, TestRunOptions};
use relay_common::verdict::Verdict;

use super::errors::refused;
use super::object::Object;
use super::tables::Took;
use super::{Filled, Loaded};
use crate::gate::{GateError, Ruleset};

/// An entry point of the kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPoint {
    /// What is attached to interfaces. It counts what it judges.
    Gate,
    /// The same judge, recording nothing.
    Explain,
}

impl EntryPoint {
    /// Returns its name in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Explain => "explain",
        }
    }
}

/// What a run returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program's return value: an XDP action, or a verdict's code.
    pub returned: u32,
    /// The mean time of one run.
    pub mean: Duration,
}

impl Loaded {
    /// Runs an entry point as [`Filled::run`] does, over the tables as somebody else fills them.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn run(&mut self, point: EntryPoint, frame: &[u8], repeat: u32) -> Result<Run, GateError> {
        run(&mut self.object, point, frame, repeat)
    }
}

impl Filled {
    /// Brings the tables to another ruleset.
    ///
    /// # Errors
    ///
    /// See [`Gate::replace`](crate::gate::Gate::replace).
    pub fn fill(&mut self, ruleset: &Ruleset) -> Result<(), GateError> {
        self.tables.replace(ruleset)
    }

    /// Returns how long the parts of the last exchange of the list took.
    #[must_use]
    pub const fn took(&self) -> Took {
        self.tables.took()
    }

    /// Returns how many bytes the list that counts takes: the memory that frames are looked up in.
    #[must_use]
    pub fn list_bytes(&self) -> usize {
        self.tables.list_bytes()
    }

    /// Runs an entry point over `frame`, `repeat` times. A frame has at least 14 bytes and at most some
    /// 3,500: the kernel takes no other.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn run(&mut self, point: EntryPoint, frame: &[u8], repeat: u32) -> Result<Run, GateError> {
        run(&mut self.object, point, frame, repeat)
    }

    /// Returns an entry point, to be run by somebody else's program.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn program(&mut self, point: EntryPoint) -> Result<&ProgramFd, GateError> {
        let program = self.object.loaded(point.name())?;
        program.fd().map_err(|error| refused(format!("program {}", point.name()), error))
    }

    /// Returns what the recording-free program makes of `frame`.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn judge(&self, frame: &[u8]) -> Result<Verdict, GateError> {
        self.object.judge(frame)
    }

    /// Returns how many instructions the verifier looked at for an entry point; none if the kernel does
    /// not say (before Linux 5.16).
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn verified_instructions(&mut self, point: EntryPoint) -> Result<Option<u32>, GateError> {
        let program = self.object.loaded(point.name())?;
        let info =
            program.info().map_err(|error| refused(format!("program {}", point.name()), error))?;
        Ok(info.verified_instruction_count())
    }
}

fn run(
    object: &mut Object,
    point: EntryPoint,
    frame: &[u8],
    repeat: u32,
) -> Result<Run, GateError> {
    let program = object.loaded(point.name())?;
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    let result = program.test_run(options);
    let result =
        result.map_err(|error| refused(format!("program {}: run", point.name()), error))?;
    Ok(Run { returned: result.return_value, mean: result.duration })
}
