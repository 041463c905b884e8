//! Links: attachments that last as long as their descriptors and pins.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::libc;

use super::{Link, bpf, number, owned};

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_XDP: u32 = 37;

/// How an XDP program is attached, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum XdpFlags {
    /// `XDP_FLAGS_SKB_MODE`: in the stack.
    Generic = 1 << 1,
    /// `XDP_FLAGS_DRV_MODE`: in the driver.
    Native = 1 << 2,
}

/// Attaches an XDP program to the interface of this index, by a link that lasts as long as its descriptors
/// and pins.
///
/// # Errors
///
/// What the kernel said: EINVAL before Linux 5.9, EOPNOTSUPP if the driver cannot, EBUSY or EEXIST if another
/// program is attached.
pub fn link_xdp(program: impl AsFd, interface: u32, flags: XdpFlags) -> io::Result<OwnedFd> {
    let program = number(program.as_fd().as_raw_fd());
    bpf(BPF_LINK_CREATE, &mut Link { words: [program, interface, BPF_XDP, flags as u32] })
        .map(owned)
}

/// Exchanges the program of a link for another, between two frames.
///
/// # Errors
///
/// What the kernel said: ENOLINK if the interface is gone.
pub fn relink(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let (link, program) = (number(link.as_fd().as_raw_fd()), number(program.as_fd().as_raw_fd()));
    bpf(BPF_LINK_UPDATE, &mut Link { words: [link, program, 0, 0] }).map(drop)
}

/// Detaches a link's program; the link holds nothing then (Linux 5.9).
///
/// # Errors
///
/// What the kernel said.
pub fn unlink(link: impl AsFd) -> io::Result<()> {
    let link = number(link.as_fd().as_raw_fd());
    bpf(BPF_LINK_DETACH, &mut Link { words: [link, 0, 0, 0] }).map(drop)
}
