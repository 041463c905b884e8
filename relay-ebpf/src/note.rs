//! What is remembered of a verdict: counters, sums of refused sources, samples of refused frames.

use relay_common::addr::Addr;
use relay_common::state::{Interfaces, State};
use relay_common::table::{
    Counts, DOOR_ROW, LEVEL_PREFIXES, PORT_ROWS, SAMPLE_HEAD, SKETCH_CELLS, SKETCHED, Switch,
    family_index, interface_cell, port_row, sketch_cells,
};
use relay_common::verdict::{Code, Question};

use crate::clock;
use crate::packet::own;
use crate::tables::{
    COUNTERS, INTERFACES, REFUSED, SAMPLES, SWITCH, Word, field, half, place_of, put, word,
};

/// The first door: the row of an interface and a guarded port.
#[inline(always)]
pub fn interface_row(
    switch: Option<*mut Switch>,
    state: State,
    interface: impl FnOnce() -> u32,
    port: u16,
) -> u32 {
    let Some(switch) = switch else { return 0 };
    let row = match state.interfaces() {
        Interfaces::One => 0,
        Interfaces::Many => {
            let cell = interface_cell(interface(), field!(switch, interface_factor));
            INTERFACES.get(cell).copied().unwrap_or(0)
        }
    };
    row * PORT_ROWS + row_of_port(port, field!(switch, port_factor))
}

/// The second door: the row of a guarded port.
#[inline(always)]
pub fn door_row(port: u16) -> u32 {
    let factor = SWITCH.get_ptr(0).map_or(0, |switch| field!(switch, port_factor));
    DOOR_ROW * PORT_ROWS + row_of_port(port, factor)
}

#[inline(always)]
const fn row_of_port(port: u16, factor: u32) -> u32 {
    if port == 0 { 0 } else { port_row(port, factor) }
}

/// Counts a verdict, and returns how many there were of its kind.
#[inline(always)]
pub fn count(row: u32, code: Code) -> u64 {
    let Some(counts) = COUNTERS.get_ptr_mut(row) else { return 0 };
    let at = if code.is_spared() { Counts::SPARED } else { code.reason() };
    // The verifier wants to see that the place lies inside the value.
    Word::at(counts, own(at) as usize % COUNTS_WORDS).count()
}

/// The words of [`Counts`], a power of two.
const COUNTS_WORDS: usize = size_of::<Counts>() / 8;

/// Adds a refused frame, which stands for [`SKETCHED`] of them, to the sums of its source's networks.
#[inline(always)]
pub fn refuse(source: &Addr) {
    let Some(sketch) = REFUSED.get_ptr_mut(0) else { return };
    let total = word!(sketch, total);
    total.write(total.read() + SKETCHED);
    let seed = field!(sketch, seed);
    let prefixes = LEVEL_PREFIXES[family_index(source.family())];
    for (level, prefix) in prefixes.into_iter().enumerate() {
        let [one, other] = sketch_cells(&source.masked(prefix), prefix, seed);
        half!(sketch, cells[level][0][one % SKETCH_CELLS]).count();
        half!(sketch, cells[level][1][other % SKETCH_CELLS]).count();
    }
}

/// Takes one of the samples that may still be told; returns whether there was one.
#[inline(always)]
pub fn take_sample(left: Word) -> bool {
    let seen = left.read();
    // Where another CPU was quicker this frame is not told.
    seen > 0 && left.exchange(seen, seen - 1)
}

/// Where and by what a frame was judged.
pub struct About {
    /// The interface that it came in by.
    pub interface: u32,
    /// The number of the list.
    pub generation: u32,
    /// The VLAN that was taken off.
    pub vlan: u16,
}

/// Tells a sample; `head` writes the first bytes of the frame and returns how many. It is written where it is
/// read from: the stack of a kernel program is small. Returns whether there was room; if nobody empties the
/// buffer samples are lost.
#[inline(always)]
pub fn tell(
    question: &Question,
    reason: u32,
    door: u8,
    about: &About,
    head: impl FnOnce(*mut [u8; SAMPLE_HEAD]) -> u8,
) -> bool {
    let Some(mut place) = SAMPLES.reserve(0) else { return false };
    let sample = place.as_mut_ptr();
    put!(sample, at_ns, clock::now_ns());
    put!(sample, source, question.source.octets());
    put!(sample, interface, about.interface);
    put!(sample, generation, about.generation);
    put!(sample, port, question.port);
    put!(sample, vlan, about.vlan);
    put!(sample, reason, reason as u8);
    put!(sample, family, question.source.family() as u8);
    put!(sample, door, door);
    put!(sample, head, [0; SAMPLE_HEAD]);
    let head_bytes = head(place_of!(sample, head));
    put!(sample, head_bytes, head_bytes);
    place.submit(0);
    true
}
