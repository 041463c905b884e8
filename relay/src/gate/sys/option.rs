//! Asking for an option of a socket that no safe crate offers (getsockopt(2)).
#![expect(unsafe_code, reason = "socket options that no safe crate offers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::libc;

/// What an option is told as.
///
/// # Safety
///
/// It is made of integers alone: any bytes are one.
pub(super) unsafe trait Integers: Copy {}

// SAFETY: it is an integer.
unsafe impl Integers for libc::c_int {}

// SAFETY: each of its fields is an integer (linux/tcp.h).
unsafe impl Integers for libc::tcp_info {}

/// Returns an option of a socket; what the kernel does not tell of it, as an older one, is zero.
///
/// # Errors
///
/// What the kernel said.
pub(super) fn option<T: Integers>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    // SAFETY: bytes of zero are a `T`, as any are.
    let mut told: T = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `size` bytes, which is what a `T` has, and whatever it writes is one.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(&mut told).cast(),
            std::ptr::from_mut(&mut size),
        )
    };
    if result == 0 { Ok(told) } else { Err(io::Error::last_os_error()) }
}
