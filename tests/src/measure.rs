//! Programs run by the kernel over many different frames (BPF_PROG_TEST_RUN): another source at every run.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, ProgramArray};
use aya::programs::{ProgramFd, TestRunAttrs, Xdp};
use aya::{Ebpf, TestRun as _, TestRunOptions};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SALLYPORT_MEASURE"));
/// How many sources the kernel has room for.
pub const SOURCES: usize = 1 << 16;

/// Frames that are sent at once.
const BATCH: u32 = 64;

/// Which programs the program under test is one of: the kernel keeps those that take frames in pieces apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those that take frames in pieces.
    Pieces,
    /// Those that take whole frames alone.
    Whole,
}

/// The measuring programs, loaded.
pub struct Measure {
    ebpf: Ebpf,
}

impl Measure {
    /// Loads them.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn load() -> Result<Self> {
        Ok(Self { ebpf: Ebpf::load(OBJECT)? })
    }

    /// Returns one of them, loaded.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or the kernel refused it.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        if program.fd().is_err() {
            program.load()?;
        }
        Ok(program)
    }

    /// Returns what `program` costs to measure another by: nanoseconds of a run of the program that passes
    /// everything.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn nothing(&mut self, kind: Kind, frame: &[u8], repeats: u32) -> Result<f64> {
        let name = match kind {
            Kind::Pieces => "nothing",
            Kind::Whole => "nothing_whole",
        };
        let nothing = self.program(name)?.fd()?.try_clone()?;
        self.aim(kind, &nothing)?;
        Ok(self.run(kind, frame, repeats)?.0)
    }

    /// Takes a program under test.
    ///
    /// # Errors
    ///
    /// If it is of the other kind.
    pub fn aim(&mut self, kind: Kind, program: &ProgramFd) -> Result<()> {
        let name = match kind {
            Kind::Pieces => "target",
            Kind::Whole => "target_whole",
        };
        let map = self.ebpf.map_mut(name).context("no target")?;
        Ok(ProgramArray::try_from(map)?.set(0, program, 0)?)
    }

    /// Returns one of the tables.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("no table {name}"))
    }

    /// Gives the frames these sources, all of one family, one after the other and again; none leaves a frame as
    /// it is.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn set_sources(&mut self, sources: &[IpAddr]) -> Result<()> {
        let family = match sources.first() {
            None => 0,
            Some(IpAddr::V4(_)) => 4,
            Some(IpAddr::V6(_)) => 6,
        };
        if !sources.is_empty() {
            self.set_words(sources.iter().map(|source| words(*source)))?;
        }
        let map = self.ebpf.map_mut("family").context("no family")?;
        Ok(Array::<_, u32>::try_from(map)?.set(0, family, 0)?)
    }

    fn set_words(&mut self, words: impl Iterator<Item = [u64; 2]> + Clone) -> Result<()> {
        let mut table: Array<_, [u64; 2]> = self.map("sources")?.try_into()?;
        for (place, words) in (0..SOURCES).zip(words.cycle()) {
            table.set(u32::try_from(place)?, words, 0)?;
        }
        Ok(())
    }

    /// Makes ready to send plain frames of TCP over IPv4, which differ in their source alone, over the interface
    /// with this number.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn set_frames(&mut self, frames: &[Vec<u8>], interface: u32) -> Result<()> {
        Array::<_, u32>::try_from(self.map("wire")?)?.set(0, interface, 0)?;
        let words = |frame: &Vec<u8>| {
            let two = |at| u64::from(u16::from_ne_bytes([frame[at], frame[at + 1]]));
            [two(26) | two(28) << 16, two(24) | two(50) << 16]
        };
        self.set_words(frames.iter().map(words))
    }

    /// Sends `count` of the frames over the wire, as fast as the kernel can, from the calling thread's network.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn send(&mut self, frame: &[u8], count: u32) -> Result<()> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        self.program("send")?.test_run(options)?;
        Ok(())
    }

    /// Runs the program under test; returns nanoseconds a run, and the action of the last.
    ///
    /// # Errors
    ///
    /// What the kernel refused, and if the program could not be reached.
    pub fn run(&mut self, kind: Kind, frame: &[u8], repeats: u32) -> Result<(f64, u32)> {
        let name = match kind {
            Kind::Pieces => "shuffle",
            Kind::Whole => "shuffle_whole",
        };
        let options =
            TestRunOptions { data_in: Some(frame), repeat: repeats, ..TestRunOptions::default() };
        let program = self.program(name)?;
        let result = program.test_run(options)?;
        // XDP_ABORTED: there was nothing to call.
        ensure!(result.return_value != 0, "the program under test was not reached");
        // The kernel's own clock: what goes on around the runs, for one waiting until no CPU uses the program
        // that was there before, comes in steps of its timer. It drops what is less than a nanosecond.
        Ok((result.duration.as_secs_f64() * 1e9 + 0.5, result.return_value))
    }
}

/// Returns what the kernel writes into the frame.
fn words(source: IpAddr) -> [u64; 2] {
    match source {
        IpAddr::V4(source) => [u32::from_ne_bytes(source.octets()).into(), 0],
        IpAddr::V6(source) => {
            let (high, low) = (source.to_bits() >> 64, source.to_bits());
            [high, low].map(|half| (half as u64).to_be())
        }
    }
}
