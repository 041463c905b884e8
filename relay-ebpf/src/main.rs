//! The kernel program: entry points that hand a frame to `relay_common::verdict::judge` and turn its
//! verdict into an action. It decides nothing by itself.
//!
//! On any other target than BPF this compiles, so that `cargo check` and clippy look at it, and does
//! nothing.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics),
    allow(internal_features, reason = "the only way to a compare-and-swap on this target")
)]
#![expect(missing_docs, reason = "aya's macros wrap each entry point in a function without docs")]
#![expect(unsafe_code, reason = "entry points and packet pointers are the kernel's interface")]

mod clock;
mod diagnose;
mod list;
mod note;
mod packet;
mod rules;
mod tables;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::{socket_filter, xdp};
use aya_ebpf::programs::{SkBuffContext, XdpContext};
use relay_common::state::State;
use relay_common::table::{FIRST_DOOR, SECOND_DOOR};
use relay_common::verdict::{
    Code, Question, Reading, Reason, Tables as _, Verdict, decide, judge_segment, read,
};

use note::About;
use packet::{Arrived, Packet};
use rules::{Explaining, Maps, Recording, Seconding};
use tables::{DOORS, SWITCH, word};

/// The gate: what is attached to an interface.
#[xdp(frags)]
pub fn gate(ctx: XdpContext) -> u32 {
    let code = match read(&Packet::new(ctx.ctx), &Maps::<Recording>::new()) {
        Reading::Settled { verdict: Verdict::Pass(Reason::Unguarded), .. } => return XDP_PASS,
        Reading::Settled { verdict, port } => settled(ctx.ctx, verdict.code(), port.into()),
        Reading::Open(question) => {
            let ([high, low], rest) = question.pack();
            settle(ctx.ctx, high, low, rest, question.state.word())
        }
    };
    if Code(code).passes() {
        return XDP_PASS;
    }
    remark(Code(code).reason());
    XDP_DROP
}

/// Tells the journal of the first drop for an odd reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn remark(reason: u32) -> u32 {
    diagnose::drop_seen(reason).into()
}

/// Asks the lists about a frame and remembers what they said; returns the verdict's code.
///
/// It is a global function: the verifier looks at it once, not once for each way on which a frame can be read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle(ctx: *mut xdp_md, high: u64, low: u64, rest: u64, state: u64) -> u32 {
    let question = Question::unpack([high, low], rest, State::from_word(state));
    let verdict = decide(&question, &Maps::<Recording>::new());
    let packet = Packet::new(ctx);
    let row = note::interface_row(question.state, || packet.interface(), question.port);
    note::count(row, Code(verdict.code()));
    if let Verdict::Drop(_) | Verdict::Spare(_) = verdict {
        note::refuse(&question.source);
        if SWITCH.get_ptr_mut(0).is_some_and(|s| note::take_sample(word!(s, samples_left))) {
            tell(ctx, high, low, rest, u64::from(verdict.code()) << 32 | state >> 32);
        }
    }
    verdict.code()
}

/// Tells a refused frame as a sample. `about` is the verdict's code and the number of the list.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(ctx: *mut xdp_md, high: u64, low: u64, rest: u64, about: u64) -> u32 {
    let question = Question::unpack([high, low], rest, State::default());
    let reason = Code((about >> 32) as u32).reason();
    let packet = Packet::new(ctx);
    let about = About { interface: packet.interface(), generation: about as u32, vlan: 0 };
    note::tell(&question, reason, FIRST_DOOR, &about, |head| packet.head(head)).into()
}

/// Remembers the verdict over a frame that no list was asked about, and returns its code.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settled(ctx: *mut xdp_md, code: u32, port: u32) -> u32 {
    let state = Maps::<Recording>::new().state();
    let packet = Packet::new(ctx);
    note::count(note::interface_row(state, || packet.interface(), port as u16), Code(code));
    code
}

/// The same judge over the same tables, which records nothing and returns its verdict as a code. It is run
/// by BPF_PROG_TEST_RUN and never attached.
#[xdp(frags)]
pub fn explain(ctx: XdpContext) -> u32 {
    match read(&Packet::new(ctx.ctx), &Maps::<Explaining>::new()) {
        Reading::Settled { verdict, .. } => verdict.code(),
        Reading::Open(question) => {
            let ([high, low], rest) = question.pack();
            weigh(high, low, rest, question.state.word())
        }
    }
}

/// Asks the lists, and leaves no trace.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn weigh(high: u64, low: u64, rest: u64, state: u64) -> u32 {
    let question = Question::unpack([high, low], rest, State::from_word(state));
    decide(&question, &Maps::<Explaining>::new()).code()
}

/// The filter on every guarded socket. It calls the newest second door, so that sockets which listen already
/// get that of a new version; where there is none it lets nothing in.
#[socket_filter]
pub fn knocker(ctx: SkBuffContext) -> i64 {
    // SAFETY: nothing here waits to be dropped.
    unsafe { DOORS.tail_call(&ctx, 0) };
    REFUSE
}

/// What a socket filter returns: how many bytes of the segment the socket may see.
const REFUSE: i64 = 0;
const ACCEPT: i64 = u32::MAX as i64;

/// The second door: judges the source of a segment when the stack has undone tags, fragments and tunnels.
#[socket_filter]
pub fn door(ctx: SkBuffContext) -> i64 {
    let arrived = Arrived::new(ctx.as_ptr().cast());
    let tables = Maps::<Seconding>::new();
    let state = tables.state();
    let (port, segment) = arrived.segment();
    let Some(source) = arrived.source() else {
        note::count(note::door_row(port), Code(Verdict::Drop(Reason::Truncated).code()));
        return REFUSE;
    };
    let question = Question::segment(source, port, segment, state);
    let verdict = judge_segment(&question, arrived.origin(), &tables);
    note::count(note::door_row(port), Code(verdict.code()));
    if let Verdict::Drop(reason) | Verdict::Spare(reason) = verdict
        && question.may_connect()
        && SWITCH.get_ptr_mut(0).is_some_and(|s| note::take_sample(word!(s, door_samples_left)))
    {
        let (interface, generation) = (arrived.interface(), state.number());
        let about = About { interface, generation, vlan: arrived.vlan() };
        note::tell(&question, reason.index(), SECOND_DOOR, &about, |head| arrived.head(head));
    }
    if verdict.passes() { ACCEPT } else { REFUSE }
}

/// Passes every frame: what the others are measured beside. It is loaded by the measurement alone.
#[xdp(frags)]
pub fn empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// What this object is licensed under, in the words that the kernel knows: some helpers are for GPL
/// programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that nothing gets here: it refuses a program that could loop for ever.
    loop {}
}

/// There is nothing to run on a desk.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
