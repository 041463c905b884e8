//! The calls to the kernel's `bpf` that aya has not, or not as the gate needs them.
//!
//! aya opens a pin without flags, so a process that may only read could not open it; and where the kernel
//! refuses a link with EINVAL, it attaches over netlink without a word, an attachment that ends with nobody
//! and that no pin can hold. Both calls are made here by hand. This is the relay's one file with `unsafe`.
#![expect(unsafe_code, reason = "system calls that no safe crate offers")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;

/// What the descriptor of a pin may be used for. Links take no less than both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Lookups alone; the read bit of the pin is enough.
    Read,
    /// Lookups and changes.
    ReadWrite,
}

/// How an XDP program is attached, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum XdpFlags {
    /// `XDP_FLAGS_SKB_MODE`: in the stack.
    Generic = 1 << 1,
    /// `XDP_FLAGS_DRV_MODE`: in the driver.
    Native = 1 << 2,
}

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_F_RDONLY: u32 = 1 << 3;
const BPF_XDP: u32 = 37;

/// The kernel's argument of `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object {
    pathname: u64,
    fd: u32,
    file_flags: u32,
}

/// The kernel's argument of `BPF_LINK_CREATE` and `BPF_LINK_UPDATE`: four words each.
#[repr(C)]
struct Link {
    words: [u32; 4],
}

/// An argument of `bpf`: a prefix of the kernel's `union bpf_attr`, which may be shorter than the union.
///
/// # Safety
///
/// The type must be `repr(C)` without padding, laid out as the command that it is passed with wants it, and
/// every address in it must be valid for that command.
unsafe trait Attribute {}

// SAFETY: 8 + 4 + 4 bytes, in the order of `union bpf_attr`; both users give a path that outlives the call.
unsafe impl Attribute for Object {}
// SAFETY: four words and no address.
unsafe impl Attribute for Link {}

fn bpf<A: Attribute>(command: libc::c_int, attribute: &A) -> io::Result<libc::c_int> {
    let size = size_of::<A>();
    // SAFETY: `Attribute` promises that `size` bytes behind the reference are what the command reads; none
    // of the four commands writes to them.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attribute), size) };
    // The call answers with a C int in a long: a descriptor, 0 or -1.
    libc::c_int::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for the caller, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn number(fd: RawFd) -> u32 {
    u32::try_from(fd).expect("invariant: an open descriptor is not negative")
}

/// Opens the map or link that is pinned at `path`.
///
/// # Errors
///
/// What the kernel said: ENOENT without a pin, EACCES without the pin's permission, EPERM if `path` lies on
/// another file system than bpffs.
pub fn open_pin(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let file_flags = match access {
        Access::Read => BPF_F_RDONLY,
        Access::ReadWrite => 0,
    };
    bpf(BPF_OBJ_GET, &Object { pathname: path.as_ptr() as u64, fd: 0, file_flags }).map(owned)
}

/// Pins what `fd` holds (map, program or link) at `path`, which must lie on bpffs and not exist.
///
/// # Errors
///
/// What the kernel said: EEXIST, or EPERM if a name in `path` has a dot in it.
pub fn pin(fd: impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let fd = number(fd.as_fd().as_raw_fd());
    bpf(BPF_OBJ_PIN, &Object { pathname: path.as_ptr() as u64, fd, file_flags: 0 }).map(drop)
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
    bpf(BPF_LINK_CREATE, &Link { words: [program, interface, BPF_XDP, flags as u32] }).map(owned)
}

/// Exchanges the program of a link for another, between two frames.
///
/// # Errors
///
/// What the kernel said: ENOLINK if the interface is gone.
pub fn relink(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let (link, program) = (number(link.as_fd().as_raw_fd()), number(program.as_fd().as_raw_fd()));
    bpf(BPF_LINK_UPDATE, &Link { words: [link, program, 0, 0] }).map(drop)
}
