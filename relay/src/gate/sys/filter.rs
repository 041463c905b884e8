//! The filter of a socket: locking it, and asking whether it is locked (socket(7), `SO_LOCK_FILTER`).
#![expect(unsafe_code, reason = "socket options that no safe crate offers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::libc;

use super::option::option;

/// Forbids everybody, root too, to take the filter of a socket away or to put another in its place.
///
/// # Errors
///
/// What the kernel said.
pub fn lock_filter(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes a C int, and `on` is one that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LOCK_FILTER,
            std::ptr::from_ref(&on).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns whether the filter of a socket is locked.
///
/// # Errors
///
/// What the kernel said.
pub fn filter_is_locked(socket: impl AsFd) -> io::Result<bool> {
    option::<libc::c_int>(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER).map(|locked| locked != 0)
}

/// Puts a loaded socket filter on a socket, in place of any that stands there.
///
/// # Errors
///
/// What the kernel said: EPERM if the filter that stands there is locked.
pub fn attach_filter(socket: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let program: libc::c_int = program.as_fd().as_raw_fd();
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes a C int, and `program` is one that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            std::ptr::from_ref(&program).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
