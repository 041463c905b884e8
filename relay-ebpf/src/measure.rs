//! What the gate is measured with: programs that write another source into the frame at every run and hand it
//! to the program under test. They are no part of the product.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(missing_docs, reason = "aya's macros wrap each entry point in a function without docs")]
#![expect(unsafe_code, reason = "entry points and packet pointers are the kernel's interface")]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::btf_maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// How many sources there are.
const SOURCES: usize = 1 << 16;

/// The sources as they stand in the frame; of an IPv4 address the first four bytes.
#[btf_map(name = "sources")]
static SOURCE: Array<[u64; 2], SOURCES> = Array::new();
/// 4 or 6: the family of the frame; 0 leaves it as it is.
#[btf_map(name = "family")]
static FAMILY: Array<u32, 1> = Array::new();
#[btf_map(name = "turn")]
static TURN: PerCpuArray<u64, 1> = PerCpuArray::new();
/// The number of the interface that frames are sent over.
#[btf_map(name = "wire")]
static WIRE: Array<u32, 1> = Array::new();
/// The program under test. The kernel keeps programs that take frames in pieces apart from the others.
#[btf_map(name = "target")]
static TARGET: ProgramArray<1> = ProgramArray::new();
#[btf_map(name = "target_whole")]
static TARGET_WHOLE: ProgramArray<1> = ProgramArray::new();

/// What a list would be in the kernel's own table for prefixes: to measure the gate's lists beside.
#[btf_map(name = "trie_v4")]
static TRIE_V4: LpmTrie<[u8; 4], u32, TRIE> = LpmTrie::new();
#[btf_map(name = "trie_v6")]
static TRIE_V6: LpmTrie<[u8; 16], u32, TRIE> = LpmTrie::new();
/// As many as a list of the gate may have.
const TRIE: usize = 1 << 20;

/// Returns the words whose turn it is.
#[inline(always)]
fn next_words() -> Option<[u64; 2]> {
    // SAFETY: the value is this CPU's alone.
    let turn = unsafe { &mut *TURN.get_ptr_mut(0)? };
    *turn += 1;
    SOURCE.get(*turn as u32 % SOURCES as u32).copied()
}

/// Writes a number into the frame.
#[inline(always)]
fn write<T>(ctx: &XdpContext, at: usize, value: T) -> Option<()> {
    if ctx.data() + at + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the check proves that the bytes lie inside the frame, which is the program's to change.
    unsafe { ((ctx.data() + at) as *mut T).write_unaligned(value) };
    Some(())
}

/// Returns bytes of the frame.
#[inline(always)]
fn read<const N: usize>(ctx: &XdpContext, at: usize) -> Option<[u8; N]> {
    if ctx.data() + at + N > ctx.data_end() {
        return None;
    }
    // SAFETY: the check proves that the bytes lie inside the frame.
    Some(unsafe { *((ctx.data() + at) as *const [u8; N]) })
}

/// Writes the next source.
#[inline(always)]
fn next_source(ctx: &XdpContext) -> Option<()> {
    let [source, rest] = next_words()?;
    match FAMILY.get(0)? {
        4 => write(ctx, 26, source as u32),
        6 => write(ctx, 22, source).and_then(|()| write(ctx, 30, rest)),
        _ => None,
    }
}

/// For programs that take frames in pieces.
#[xdp(frags)]
pub fn shuffle(ctx: XdpContext) -> u32 {
    let _ = next_source(&ctx);
    // SAFETY: nothing here waits to be dropped.
    unsafe { TARGET.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// For programs that take whole frames alone.
#[xdp]
pub fn shuffle_whole(ctx: XdpContext) -> u32 {
    let _ = next_source(&ctx);
    // SAFETY: nothing here waits to be dropped.
    unsafe { TARGET_WHOLE.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// Passes every frame: what the others are measured beside.
#[xdp(frags)]
pub fn nothing(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The same for whole frames.
#[xdp]
pub fn nothing_whole(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Sends frames over a wire (live frames of BPF_PROG_TEST_RUN): each has the next source, and the check sums of its
/// headers, which stand in the second word.
#[xdp]
pub fn send(ctx: XdpContext) -> u32 {
    sent(&ctx).unwrap_or(XDP_ABORTED)
}

#[inline(always)]
fn sent(ctx: &XdpContext) -> Option<u32> {
    let [source, sums] = next_words()?;
    write(ctx, 24, sums as u16)?;
    write(ctx, 26, source as u32)?;
    write(ctx, 50, (sums >> 16) as u16)?;
    // SAFETY: a helper that takes two numbers.
    u32::try_from(unsafe { bpf_redirect(*WIRE.get(0)?, 0) }).ok()
}

/// Drops every frame: the limit of what can be dropped.
#[xdp(frags)]
pub fn wall(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// Drops TCP to port 2525 from sources that a trie does not hold, and reads nothing but the plainest frames: the
/// least that a gate over the kernel's tries costs.
#[xdp(frags)]
pub fn trie(ctx: XdpContext) -> u32 {
    if strange(&ctx).unwrap_or(false) { XDP_DROP } else { XDP_PASS }
}

#[inline(always)]
fn strange(ctx: &XdpContext) -> Option<bool> {
    match read(ctx, 12)? {
        [0x08, 0x00] if read(ctx, 14)? == [0x45] && read(ctx, 23)? == [TCP] => {
            guarded(read(ctx, 36)?)?;
            Some(TRIE_V4.get(&Key::new(32, read(ctx, 26)?)).is_none())
        }
        [0x86, 0xdd] if read(ctx, 20)? == [TCP] => {
            guarded(read(ctx, 56)?)?;
            Some(TRIE_V6.get(&Key::new(128, read(ctx, 22)?)).is_none())
        }
        _ => None,
    }
}

const TCP: u8 = 6;

#[inline(always)]
fn guarded(port: [u8; 2]) -> Option<()> {
    (u16::from_be_bytes(port) == 2525).then_some(())
}

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
