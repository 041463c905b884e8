//! The network namespace that a host gives to the relay alone (`config/netns`), and the way into it.

use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::Host;

/// Where that namespace is, if there is one: `config/netns/netns.sh` makes it.
pub const NAMESPACE: &str = "/run/netns/sallyport";
/// What those inside read in the place of /etc/resolv.conf, if it is there (ip-netns(8)).
const RESOLVER: &str = "/etc/netns/sallyport/resolv.conf";

/// Takes the calling thread, and all that it starts from now on, into the relay's own network namespace, if this
/// host has one, and tells whether it has. To be called on the main thread, before there are others:
/// `/proc/self/net` shows the network of that one.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter() -> io::Result<bool> {
    let Ok(host) = Host::named(Path::new(NAMESPACE)) else { return Ok(false) };
    if Path::new(RESOLVER).exists() {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount_bind(RESOLVER, "/etc/resolv.conf")?;
    }
    host.enter()?;
    Ok(true)
}
