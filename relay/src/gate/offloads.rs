//! What a driver does to frames before the gate sees them.

use std::io;

/// What a driver does to frames before the gate sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// It merges segments (large receive offload).
    pub lro: bool,
    /// It takes VLAN tags off and tells them beside the frame.
    pub strips_tags: bool,
}

/// Returns what the driver of an interface of this network does; none if it does not say.
///
/// # Errors
///
/// What the kernel said.
#[cfg(feature = "xdp")]
pub fn offloads(name: &str) -> io::Result<Option<Offloads>> {
    const RXVLAN: u32 = 1 << 8;
    const LRO: u32 = 1 << 15;
    let flags = super::sys::flags(name)?;
    Ok(flags.map(|flags| Offloads { lro: flags & LRO != 0, strips_tags: flags & RXVLAN != 0 }))
}

/// Returns nothing: this build has no gate that it would matter to.
///
/// # Errors
///
/// None.
#[cfg(not(feature = "xdp"))]
pub fn offloads(_name: &str) -> io::Result<Option<Offloads>> {
    Ok(None)
}
