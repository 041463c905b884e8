//! The calls to the kernel's `bpf` that aya has not, or not as the gate needs them.
//!
//! aya opens a pin without flags, so a process that may only read could not open it; and where the kernel
//! refuses a link with EINVAL, it attaches over netlink without a word, an attachment that ends with nobody
//! and that no pin can hold. It makes tables without the types that bpftool prints them by, and knows no
//! batches. Those calls are made in this folder by hand: `unsafe` stands here, in `channels`, `filter`,
//! `memory` and `option`, in `clock` for one call that has nothing to do with the gate, and nowhere else in the relay.
#![expect(unsafe_code, reason = "system calls that no safe crate offers")]

mod channels;
mod clock;
mod filter;
mod link;
mod memory;
mod option;
mod queue;
mod seen;
mod table;

pub use channels::{channels, flags};
pub use clock::clock_is_kept;
pub use filter::{attach_filter, filter_is_locked, lock_filter};
pub use link::{XdpFlags, link_xdp, relink, unlink};
pub use memory::Written;
pub use queue::queue;
pub use seen::{Seen, Window, all_words};
pub use table::{Types, clear, make, put, put_many};

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

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_F_RDONLY: u32 = 1 << 3;

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

/// The kernel's argument of `BPF_MAP_CREATE`, as far as it is used.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
}

/// The kernel's argument of `BPF_MAP_UPDATE_ELEM` and `BPF_MAP_DELETE_ELEM`.
#[repr(C)]
struct Element {
    map_fd: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// The kernel's argument of `BPF_MAP_UPDATE_BATCH` and `BPF_MAP_LOOKUP_BATCH`. It writes how many it took or
/// gave to `count`.
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// The kernel's argument of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct About {
    fd: u32,
    length: u32,
    info: u64,
}

/// The kernel's argument of `BPF_BTF_GET_FD_BY_ID`.
#[repr(C)]
struct Number {
    id: u32,
    next_id: u32,
    flags: u32,
}

/// The beginning of the kernel's `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    numbers: [u32; 6],
    name: [u8; 16],
    ifindex: u32,
    btf_vmlinux_value_type_id: u32,
    netns: [u64; 2],
    btf_id: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    rest: u32,
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
// SAFETY: words and a name of 16 bytes, and no address.
unsafe impl Attribute for Create {}
// SAFETY: four words of eight bytes (the kernel's descriptor has four bytes and four of padding before the
// key); every user gives addresses of values that outlive the call.
unsafe impl Attribute for Element {}
// SAFETY: words in the order of the union; the users give slices of `count` elements that outlive the call, of
// the sizes that the table has, and to look up a key's place for the last one.
unsafe impl Attribute for Batch {}
// SAFETY: 4 + 4 + 8 bytes; the user gives the address of `length` bytes that outlive the call.
unsafe impl Attribute for About {}
// SAFETY: three words and no address.
unsafe impl Attribute for Number {}

fn bpf<A: Attribute>(command: libc::c_int, attribute: &mut A) -> io::Result<libc::c_int> {
    let size = size_of::<A>();
    // SAFETY: `Attribute` promises that `size` bytes behind the reference are what the command reads; it
    // may write to them, and the reference is the only one.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) };
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
    bpf(BPF_OBJ_GET, &mut Object { pathname: path.as_ptr() as u64, fd: 0, file_flags }).map(owned)
}

/// Pins what `fd` holds (map, program or link) at `path`, which must lie on bpffs and not exist.
///
/// # Errors
///
/// What the kernel said: EEXIST, or EPERM if a name in `path` has a dot in it.
pub fn pin(fd: impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let fd = number(fd.as_fd().as_raw_fd());
    bpf(BPF_OBJ_PIN, &mut Object { pathname: path.as_ptr() as u64, fd, file_flags: 0 }).map(drop)
}
