//! The kernel object: loaded over the pinned tables, asked, listened to.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Map, MapData, MapInfo, ProgramArray, RingBuf};
use aya::programs::{ProgramError, SocketFilter, Xdp};
use aya::{Ebpf, EbpfLoader, TestRun as _, TestRunOptions};
use aya_log::EbpfLogger;
use relay_common::table::{self, DOORS, SAMPLES, Sample};
use relay_common::verdict::Verdict;

use super::attach::{self, Program};
use super::door::Door;
use super::errors::{errno, refused};
use super::needs::named;
use super::opening::Opening;
use super::pins::Pins;
use super::probe;
use crate::gate::GateError;
use crate::gate::sys::Access;

/// The kernel object, as `build.rs` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sallyport-gate"));
/// What a kernel with types of its own shows.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// The lines of the verifier's log that an error shows: the last ones say why.
const LOG_LINES: usize = 6;
/// The most diagnostics that wait to be read.
const DIAGNOSTICS_MAX: usize = 64;

/// The loaded object.
pub struct Object {
    ebpf: Ebpf,
    words: EbpfLogger<Collector>,
    heard: Collector,
    samples: RingBuf<MapData>,
}

impl Object {
    /// Loads the programs over the pinned tables, and makes and pins the tables that are missing.
    ///
    /// # Errors
    ///
    /// [`GateError::NoBtf`], [`GateError::NotPermitted`], [`GateError::Lacking`],
    /// [`GateError::Refused`], [`GateError::Layout`].
    pub fn load(pins: &Pins) -> Result<Self, GateError> {
        if !Path::new(BTF).exists() {
            return Err(GateError::NoBtf);
        }
        pins.check_shapes()?;
        let mut loader = EbpfLoader::new();
        for table in table::ALL.iter().chain([&DOORS]) {
            loader.map_pin_path(table.name, pins.table(table));
        }
        let mut ebpf = loader
            .load(OBJECT)
            .map_err(|error| named(refused("make the tables".to_owned(), error)))?;
        pins.check_shapes()?;
        pins.permit_tables()?;
        let heard = Collector::default();
        let words = EbpfLogger::init_with_logger(&mut ebpf, heard.clone())
            .map_err(|error| refused("open the program's log".to_owned(), error))?;
        let opening = Opening { pins, access: Access::ReadWrite };
        let samples = opening.table(&SAMPLES, Map::RingBuf)?;
        let mut object = Self { ebpf, words, heard, samples };
        for name in ["gate", "explain"] {
            object.loaded(name)?;
        }
        for name in ["knocker", "door"] {
            object.filter_mut(name).load().map_err(|error| not_loaded(name, error))?;
        }
        Ok(object)
    }

    fn filter_mut(&mut self, name: &'static str) -> &mut SocketFilter {
        let program = self.ebpf.program_mut(name).and_then(|program| program.try_into().ok());
        program.expect("invariant: the object has these socket filters; a test loads them")
    }

    /// Lets every socket's filter call this object's second door from now on.
    pub fn hang_door(&mut self, pins: &Pins) -> Result<(), GateError> {
        let what = || "program door: put it in its place".to_owned();
        let opening = Opening { pins, access: Access::ReadWrite };
        let mut doors: ProgramArray<MapData> = opening.table(&DOORS, Map::ProgramArray)?;
        let door = self.filter_mut("door").fd().map_err(|error| refused(what(), error))?;
        doors.set(0, door, 0).map_err(|error| refused(what(), error))
    }

    /// Returns the filter for sockets.
    pub fn knocker(&mut self, pins: &Pins) -> Result<Door, GateError> {
        let what = || "program knocker: copy its descriptor".to_owned();
        let doors = pins.table(&DOORS);
        let place = MapInfo::from_pin(&doors).map_err(|error| refused(what(), error))?.id();
        let filter = self.filter_mut("knocker").fd().map_err(|error| refused(what(), error))?;
        Door::new(filter, place).map_err(|error| super::kernel_said(what(), error))
    }

    /// Returns the samples since the last call.
    pub fn samples(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        // The kernel permits only so many between two calls.
        while let Some(item) = self.samples.next() {
            samples.extend(sample(&item));
        }
        samples
    }

    fn program_mut(&mut self, name: &'static str) -> &mut Xdp {
        let program = self.ebpf.program_mut(name).and_then(|program| program.try_into().ok());
        program.expect("invariant: the object has these XDP programs; a test loads them")
    }

    fn program(&self, name: &'static str) -> &Xdp {
        let program = self.ebpf.program(name).and_then(|program| program.try_into().ok());
        program.expect("invariant: the object has these XDP programs; a test loads them")
    }

    /// Returns the program that is attached to interfaces.
    pub fn gate(&self) -> Result<Program<'_>, GateError> {
        attach::of(self.program("gate"))
    }

    /// Returns a program of the object, loaded.
    pub fn loaded(&mut self, name: &'static str) -> Result<&mut Xdp, GateError> {
        let program = self.program_mut(name);
        match program.fd().map(drop) {
            Err(ProgramError::NotLoaded) => {
                program.load().map_err(|error| not_loaded(name, error))?;
            }
            known => known.map_err(|error| refused(format!("program {name}"), error))?,
        }
        Ok(program)
    }

    /// Asks the recording-free program about a SYN.
    pub fn explain(&self, source: IpAddr, port: u16) -> Result<Verdict, GateError> {
        self.judge(&probe::syn(source, port))
    }

    /// Asks the recording-free program about a frame.
    pub fn judge(&self, frame: &[u8]) -> Result<Verdict, GateError> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let what = || "program explain: run".to_owned();
        let result = self.program("explain").test_run(options);
        let code = result.map_err(|error| refused(what(), error))?.return_value;
        let verdict = Verdict::from_code(code);
        verdict.ok_or_else(|| refused(what(), io::Error::from(io::ErrorKind::InvalidData)))
    }

    /// Returns what the programs said since the last call.
    pub fn diagnostics(&mut self) -> Vec<String> {
        self.words.flush();
        std::mem::take(&mut *self.heard.lock())
    }
}

/// Reads a sample as the kernel wrote it; none of another length.
fn sample(bytes: &[u8]) -> Option<Sample> {
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let sample = Sample {
        at_ns: u64::from_ne_bytes(take(8)?.try_into().ok()?),
        source: take(16)?.try_into().ok()?,
        interface: u32::from_ne_bytes(take(4)?.try_into().ok()?),
        generation: u32::from_ne_bytes(take(4)?.try_into().ok()?),
        port: u16::from_ne_bytes(take(2)?.try_into().ok()?),
        vlan: u16::from_ne_bytes(take(2)?.try_into().ok()?),
        reason: take(1)?[0],
        family: take(1)?[0],
        door: take(1)?[0],
        head_bytes: take(1)?[0],
        head: take(table::SAMPLE_HEAD)?.try_into().ok()?,
    };
    rest.is_empty().then_some(sample)
}

/// Finds what the operator can do about a program that was not loaded.
fn not_loaded(program: &'static str, error: ProgramError) -> GateError {
    if errno(&error) == Some(nix::libc::EPERM) {
        return GateError::NotPermitted { what: format!("program {program}: load") };
    }
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return refused(format!("program {program}: load"), error);
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join(" | ");
    named(GateError::Refused { program, log: format!("{io_error}: {last}") })
}

/// Keeps what the programs say until somebody asks.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<String>>>);

impl Collector {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for Collector {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut heard = self.lock();
        if heard.len() < DIAGNOSTICS_MAX {
            heard.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}
