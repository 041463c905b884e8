//! How many queues an interface receives by (ethtool).
#![expect(unsafe_code, reason = "an ioctl that no safe crate offers")]

use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// The kernel's `struct ethtool_channels`: the command, four limits, then rx, tx, other and combined.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    limits: [u32; 4],
    counts: [u32; 4],
}

/// The kernel's `struct ifreq` as SIOCETHTOOL reads it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut Channels,
    rest: [u8; 16],
}

/// Returns how many queues an interface of the calling thread's network receives by, and each of the others;
/// none if its driver does not say.
///
/// # Errors
///
/// What the kernel said.
pub fn channels(name: &str) -> io::Result<Option<[u32; 4]>> {
    let mut padded = [0; libc::IFNAMSIZ];
    let Some(place) = padded.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ) else {
        return Ok(None);
    };
    place.copy_from_slice(name.as_bytes());
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let data = &raw mut channels;
    let mut request = Request { name: padded, data, rest: [0; 16] };
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the request has the layout that the kernel reads, and points to a struct of the command's size,
    // which outlives the call.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if code == 0 {
        return Ok(Some(channels.counts));
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
    }
}
