//! A frame on its way in, and a segment at a socket: the only packet pointers.

use aya_ebpf::bindings::bpf_hdr_start_off::BPF_HDR_START_NET;
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_xdp_load_bytes,
};
use relay_common::addr::Addr;
use relay_common::frame::{self, ChainEnd, ChainStart, Frame, Segment, Untagged};
use relay_common::table::SAMPLE_HEAD;
use relay_common::verdict::Origin;

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

    /// Returns the number of the interface that the frame came in by.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        // SAFETY: as in `new`.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// Writes the first bytes of the frame to `head`, and returns how many.
    #[inline(always)]
    pub fn head(&self, head: *mut [u8; SAMPLE_HEAD]) -> u8 {
        // A frame as long as the head, a SYN without options over IPv4, an Ethernet header.
        for bytes in [SAMPLE_HEAD as u32, 54, 14] {
            // SAFETY: the helper writes at most `bytes`, no more than `head` has, and none if it fails.
            let code = unsafe { bpf_xdp_load_bytes(self.ctx, 0, head.cast(), bytes) };
            if code == 0 {
                return bytes as u8;
            }
        }
        0
    }
}

/// A segment that a TCP socket is about to take: its data begin with the TCP header.
pub struct Arrived {
    skb: *mut __sk_buff,
}

/// The number of the loopback interface, in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

impl Arrived {
    /// Returns the segment of `skb`, which must be the context that the kernel handed to this program.
    #[inline(always)]
    pub const fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// Returns `N` bytes behind the beginning of the IP header.
    #[inline(always)]
    fn network<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: the helper writes at most `N` bytes, into an array of `N`.
        let code = unsafe {
            bpf_skb_load_bytes_relative(self.skb.cast(), offset, to, N as u32, BPF_HDR_START_NET)
        };
        (code == 0).then_some(bytes)
    }

    /// Returns `N` bytes of the TCP header.
    #[inline(always)]
    fn transport<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: as in `network`.
        let code = unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, to, N as u32) };
        (code == 0).then_some(bytes)
    }

    /// Returns who sent it.
    #[inline(always)]
    pub fn source(&self) -> Option<Addr> {
        let [version, _] = self.network::<2>(0)?;
        match version >> 4 {
            4 => self.network(12).map(Addr::v4),
            6 => self.network(8).map(Addr::v6_on_the_wire),
            _ => None,
        }
    }

    /// Returns the port it is for and what it is.
    #[inline(always)]
    pub fn segment(&self) -> (u16, Segment) {
        let Some(port) = self.transport(2).map(u16::from_be_bytes) else {
            return (0, Segment::Short);
        };
        let segment = match self.transport::<2>(12) {
            Some([_, flags]) => Segment::of_flags(flags),
            None => Segment::Short,
        };
        (port, segment)
    }

    /// Returns whether it came from this host itself.
    #[inline(always)]
    pub fn origin(&self) -> Origin {
        if self.interface() == LOOPBACK { Origin::OwnHost } else { Origin::Network }
    }

    /// Returns the number of the interface that the stack took it from.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        // SAFETY: the kernel's context is valid while the program runs.
        unsafe { (*self.skb).ifindex }
    }

    /// Returns the VLAN that was taken off; 0 for none.
    #[inline(always)]
    pub fn vlan(&self) -> u16 {
        // SAFETY: as in `interface`.
        let tci = unsafe { (*self.skb).vlan_tci };
        tci as u16 & 0x0fff
    }

    /// Writes the first bytes of the IP packet to `head`, and returns how many.
    #[inline(always)]
    pub fn head(&self, head: *mut [u8; SAMPLE_HEAD]) -> u8 {
        for bytes in [SAMPLE_HEAD as u32, 40] {
            let start = BPF_HDR_START_NET;
            // SAFETY: the helper writes at most `bytes`, no more than `head` has.
            let code = unsafe {
                bpf_skb_load_bytes_relative(self.skb.cast(), 0, head.cast(), bytes, start)
            };
            if code == 0 {
                return bytes as u8;
            }
        }
        0
    }
}

impl Frame for Packet {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // The compiler writes the check of a single byte in a form from which the verifier learns nothing.
        const { assert!(N >= 2) };
        // Else it compares what the offset was made of, from which the verifier of Linux 6.1 learns nothing of a sum.
        let offset = own(offset as u32) as usize;
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
    fn near<const N: usize>(&self) -> Option<&[u8; N]> {
        if self.start + N > self.end {
            return None;
        }
        // SAFETY: as in `bytes`; the frame stays where it is while the program runs.
        Some(unsafe { &*(self.start as *const [u8; N]) })
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

/// Returns a number as one that the compiler knows nothing of.
///
/// It knows that an offset is a part of the word it was packed in, and compares the word instead; it knows
/// that a reason has a small number, and leaves out the bound that the verifier has to see.
#[inline(always)]
pub fn own(offset: u32) -> u32 {
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
