//! A frame on its way in: the only packet pointers.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use relay_common::frame::{self, ChainEnd, ChainStart, Frame, Untagged};

/// The furthest offset that is read through a pointer. The verifier wants a bound below 65,536; what lies
/// further is never in a frame's first piece.
const NEAR: usize = 0x3fff;

/// The frame of one XDP run.
pub struct Packet {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
}

impl Packet {
    /// Returns the frame of `ctx`, which must be the context that the kernel handed to this program.
    #[inline(always)]
    pub fn new(ctx: *mut xdp_md) -> Self {
        // SAFETY: the kernel's context is valid while the program runs, and it is the only caller's.
        let data = unsafe { (*ctx).data };
        // SAFETY: as above.
        let data_end = unsafe { (*ctx).data_end };
        Self { ctx, start: data as usize, end: data_end as usize }
    }
}

impl Frame for Packet {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The compiler writes the check of a single byte in a form from which the verifier learns nothing.
        const { assert!(N >= 2) };
        if offset <= NEAR {
            let start = self.start + offset;
            if start + N <= self.end {
                // SAFETY: the kernel keeps `data..data_end` mapped while the program runs, and the check
                // above proves that `start..start + N` lies inside it. `[u8; N]` needs no alignment.
                return Some(unsafe { *(start as *const [u8; N]) });
            }
        }
        // The header is not in the frame's first piece: jumbo frames, header split, short first pieces.
        let mut bytes = [0; N];
        // SAFETY: the helper writes at most `N` bytes, into an array of `N`, and none if it fails.
        let code = unsafe {
            bpf_xdp_load_bytes(self.ctx, offset as u32, bytes.as_mut_ptr().cast(), N as u32)
        };
        (code == 0).then_some(bytes)
    }

    #[inline(always)]
    fn untag(&self, at: u32) -> Untagged {
        let mut untagged = Untagged::unpack(untag(self.ctx, at));
        if let Untagged::Type { at, .. } = &mut untagged {
            *at = own(*at);
        }
        untagged
    }

    #[inline(always)]
    fn chain(&self, start: ChainStart) -> ChainEnd {
        let mut end = ChainEnd::unpack(chain(self.ctx, start.at, start.end, start.pack()));
        if let ChainEnd::Upper { at, .. } = &mut end {
            *at = own(*at);
        }
        end
    }
}

/// Returns `offset` as a number that the compiler knows nothing of.
///
/// It knows that an offset is a part of the word it was packed in, and compares the word instead; the verifier
/// then sees an offset without a bound.
#[inline(always)]
fn own(offset: u32) -> u32 {
    // SAFETY: it reads a number of this function's own.
    unsafe { core::ptr::from_ref(&offset).read_volatile() }
}

/// Takes tags off.
///
/// It is a global function, as [`chain`] is: the verifier looks at it once, with arguments it knows nothing of.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn untag(ctx: *mut xdp_md, at: u32) -> u64 {
    frame::untag(&Packet::new(ctx), at).pack()
}

/// Walks a chain of extension headers. Inlined into each place that calls it, the walk took a quarter of a
/// million instructions to verify.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chain(ctx: *mut xdp_md, at: u32, end: u32, start: u32) -> u64 {
    frame::walk(&Packet::new(ctx), ChainStart::unpack(at, end, start)).pack()
}
