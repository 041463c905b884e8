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
mod packet;
mod tables;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use relay_common::verdict::{Verdict, judge};

use packet::Packet;
use tables::{Explaining, Maps, Recording};

/// The gate: what is attached to an interface.
#[xdp(frags)]
pub fn gate(ctx: XdpContext) -> u32 {
    let tables = Maps::<Recording>::new();
    let verdict = judge(&Packet::new(ctx.ctx), &tables);
    let reason = verdict.reason();
    if reason.is_counted() {
        tables::count(reason);
    }
    match verdict {
        Verdict::Pass(_) => XDP_PASS,
        Verdict::Drop(_) => {
            diagnose::drop_seen(&ctx, reason);
            XDP_DROP
        }
    }
}

/// The same judge over the same tables, which records nothing and returns its verdict as a code. It is run
/// by BPF_PROG_TEST_RUN and never attached.
#[xdp(frags)]
pub fn explain(ctx: XdpContext) -> u32 {
    judge(&Packet::new(ctx.ctx), &Maps::<Explaining>::new()).code()
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
