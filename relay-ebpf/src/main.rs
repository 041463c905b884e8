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
use relay_common::table::{FIRST_DOOR, SECOND_DOOR, Switch, is_sketched};
use relay_common::verdict::{
    Code, Question, REST_BITS, Reading, Reason, See, Tables as _, Verdict, decide, glance,
    judge_segment, read,
};

use note::About;
use packet::{Arrived, Packet};
use rules::{Explaining, Maps, Recording, Seconding};
use tables::{DOORS, SWITCH, field, word};

/// The gate: what is attached to an interface.
///
/// What a flood or other services send is done with here, without a call: on many CPUs each return from one
/// costs as much as the rest of the way.
#[xdp(frags)]
pub fn gate(ctx: XdpContext) -> u32 {
    let (packet, maps) = (Packet::new(ctx.ctx), Maps::<Recording>::new());
    glance(&packet, &maps, &AtTheDoor { ctx: ctx.ctx, maps: &maps })
}

/// What the gate does with what it saw at a glance; the answer is an XDP action.
struct AtTheDoor<'a> {
    ctx: *mut xdp_md,
    maps: &'a Maps<Recording>,
}

impl See for AtTheDoor<'_> {
    type Answer = u32;

    #[inline(always)]
    fn unrelated(&self) -> u32 {
        XDP_PASS
    }

    #[inline(always)]
    fn stranger(&self, question: &Question) -> u32 {
        let code = Verdict::Drop(question.refusal()).code();
        remember(self.ctx, question, code, self.maps.switch());
        XDP_DROP
    }

    #[inline(always)]
    fn open(&self, question: &Question) -> u32 {
        let ([high, low], rest) = question.pack();
        action(settle(self.ctx, high, low, rest, question.state.word()))
    }

    #[inline(always)]
    fn unclear(&self) -> u32 {
        action(unclear(self.ctx))
    }
}

/// Returns the XDP action for a verdict's code.
#[inline(always)]
const fn action(code: u32) -> u32 {
    if Code(code).passes() { XDP_PASS } else { XDP_DROP }
}

/// Counts a refusal, sums its source up and tells a sample.
#[inline(always)]
fn remember(ctx: *mut xdp_md, question: &Question, code: u32, switch: Option<*mut Switch>) {
    let Question { source, port, state, .. } = question;
    let row = note::interface_row(switch, *state, || Packet::new(ctx).interface(), *port);
    let nth = note::count(row, Code(code));
    let [high, low] = source.words();
    if is_sketched(nth, switch.map_or(0, |switch| field!(switch, source_seed))) {
        sum(high, source.family() as u32);
    }
    if switch.is_some_and(|switch| word!(switch, samples_left).read() != 0) {
        let (_, rest) = question.pack();
        tell(ctx, high, low, rest, u64::from(code) << 32 | u64::from(state.number()));
    }
}

/// Adds a refused source to the sums; no network that is summed up has more than 64 bits.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum(high: u64, family: u32) -> u32 {
    note::refuse(&list::address(family, high, 0));
    0
}

/// Judges a frame of which a glance does not tell enough; returns the verdict's code.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn unclear(ctx: *mut xdp_md) -> u32 {
    let maps = Maps::<Recording>::new();
    let code = match read(&Packet::new(ctx), &maps) {
        Reading::Settled { verdict, .. } if verdict == Verdict::Pass(Reason::Unguarded) => {
            return verdict.code();
        }
        Reading::Settled { verdict, port } => settled(ctx, verdict.code(), port.into()),
        Reading::Open(question) => {
            let ([high, low], rest) = question.pack();
            settle(ctx, high, low, rest, question.state.word())
        }
    };
    if !Code(code).passes() {
        remark(Code(code).reason());
    }
    code
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
    let maps = Maps::<Recording>::new();
    let verdict = decide(&question, &maps);
    match verdict {
        Verdict::Drop(_) | Verdict::Spare(_) => {
            refuse(ctx, high, low, rest | u64::from(verdict.code()) << REST_BITS, state);
        }
        Verdict::Pass(_) => {
            let interface = || Packet::new(ctx).interface();
            let row = note::interface_row(maps.switch(), question.state, interface, question.port);
            note::count(row, Code(verdict.code()));
            let switch = maps.switch();
            if question.may_connect()
                && switch.is_some_and(|s| word!(s, admitted_samples_left).read() != 0)
            {
                let about = u64::from(verdict.code()) << 32 | u64::from(question.state.number());
                tell(ctx, high, low, rest, about);
            }
        }
    }
    verdict.code()
}

/// Remembers that the lists refused a frame, or would have. `about` is what a question packs beside its source,
/// and above it the verdict's code.
///
/// It is no part of [`settle`]: a kernel gives all functions of a chain of calls 512 bytes of stack together, and
/// Linux 6.1 rounds each up to 32.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refuse(ctx: *mut xdp_md, high: u64, low: u64, about: u64, state: u64) -> u32 {
    let question = Question::unpack([high, low], about, State::from_word(state));
    let code = (about >> REST_BITS) as u32;
    remember(ctx, &question, code, Maps::<Recording>::new().switch());
    code
}

/// Tells a frame as a sample, if there is one left for its kind: refused frames cannot use those of admitted
/// attempts up. `about` is the verdict's code and the number of the list.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(ctx: *mut xdp_md, high: u64, low: u64, rest: u64, about: u64) -> u32 {
    let code = Code((about >> 32) as u32);
    let is_left = |switch: *mut Switch| {
        note::take_sample(if code.passes() && !code.is_spared() {
            word!(switch, admitted_samples_left)
        } else {
            word!(switch, samples_left)
        })
    };
    if !SWITCH.get_ptr_mut(0).is_some_and(is_left) {
        return 0;
    }
    let question = Question::unpack([high, low], rest, State::default());
    let reason = code.reason();
    let packet = Packet::new(ctx);
    let about = About { interface: packet.interface(), generation: about as u32, vlan: 0 };
    note::tell(&question, reason, FIRST_DOOR, &about, |head| packet.head(head)).into()
}

/// Remembers the verdict over a frame that no list was asked about, and returns its code.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settled(ctx: *mut xdp_md, code: u32, port: u32) -> u32 {
    let maps = Maps::<Recording>::new();
    let interface = || Packet::new(ctx).interface();
    note::count(
        note::interface_row(maps.switch(), maps.state(), interface, port as u16),
        Code(code),
    );
    code
}

/// The same judge over the same tables, which records nothing and returns its verdict as a code. It is run
/// by BPF_PROG_TEST_RUN and never attached.
#[xdp(frags)]
pub fn explain(ctx: XdpContext) -> u32 {
    let (packet, maps) = (Packet::new(ctx.ctx), Maps::<Explaining>::new());
    glance(&packet, &maps, &InWords { ctx: ctx.ctx })
}

/// What is said of what was seen at a glance: the verdict's code.
struct InWords {
    ctx: *mut xdp_md,
}

impl See for InWords {
    type Answer = u32;

    #[inline(always)]
    fn unrelated(&self) -> u32 {
        Verdict::Pass(Reason::Unguarded).code()
    }

    #[inline(always)]
    fn stranger(&self, question: &Question) -> u32 {
        Verdict::Drop(question.refusal()).code()
    }

    #[inline(always)]
    fn open(&self, question: &Question) -> u32 {
        let ([high, low], rest) = question.pack();
        weigh(high, low, rest, question.state.word())
    }

    #[inline(always)]
    fn unclear(&self) -> u32 {
        explain_unclear(self.ctx)
    }
}

/// Explains a frame of which a glance does not tell enough.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn explain_unclear(ctx: *mut xdp_md) -> u32 {
    match read(&Packet::new(ctx), &Maps::<Explaining>::new()) {
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
