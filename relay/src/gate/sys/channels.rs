//! What an interface's driver says of itself (ethtool): its queues, and what it does to frames.
#![expect(unsafe_code, reason = "an ioctl that no safe crate offers")]

use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// The kernel's `struct ethtool_channels`: the command, four limits, then rx, tx, other and combined.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    limits: [u32; 4],
    counts: [u32; 4],
}

/// The kernel's `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// The kernel's `struct ifreq` as SIOCETHTOOL reads it.
#[repr(C)]
struct Request<T> {
    name: [u8; libc::IFNAMSIZ],
    data: *mut T,
    rest: [u8; 16],
}

/// An argument of SIOCETHTOOL.
///
/// # Safety
///
/// The type must be laid out as the command in its first word wants it, and that command must write no more
/// than the type's size.
unsafe trait Question {}

// SAFETY: nine words, in the order of the kernel's struct; ETHTOOL_GCHANNELS writes that struct.
unsafe impl Question for Channels {}
// SAFETY: two words; ETHTOOL_GFLAGS writes that struct.
unsafe impl Question for Value {}

/// Returns how many queues an interface of the calling thread's network receives by, and each of the others;
/// none if its driver does not say.
///
/// # Errors
///
/// What the kernel said.
pub fn channels(name: &str) -> io::Result<Option<[u32; 4]>> {
    let asked = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    Ok(ask(name, asked)?.map(|answer| answer.counts))
}

/// Returns the flags of what a driver does to frames, as `ETH_FLAG_LRO` and `ETH_FLAG_RXVLAN` name them; none
/// if it does not say.
///
/// # Errors
///
/// What the kernel said.
pub fn flags(name: &str) -> io::Result<Option<u32>> {
    Ok(ask(name, Value { command: ETHTOOL_GFLAGS, data: 0 })?.map(|answer| answer.data))
}

fn ask<T: Question>(name: &str, mut question: T) -> io::Result<Option<T>> {
    let mut padded = [0; libc::IFNAMSIZ];
    let Some(place) = padded.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ) else {
        return Ok(None);
    };
    place.copy_from_slice(name.as_bytes());
    let mut request = Request { name: padded, data: &raw mut question, rest: [0; 16] };
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the request has the layout that the kernel reads, and points to a struct of the command's size
    // (`Question` promises both), which outlives the call.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if code == 0 {
        return Ok(Some(question));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_channels_and_nobody_is_no_interface() {
        assert_eq!(channels("lo").unwrap(), None);
        assert!(channels("no-such-device").is_err());
        assert_eq!(channels("a-name-that-is-far-too-long").unwrap(), None);
        assert!(flags("lo").unwrap().is_some());
        assert!(flags("no-such-device").is_err());
    }
}
