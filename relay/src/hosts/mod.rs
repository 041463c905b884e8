//! Hosts made of network namespaces, for `sallyport demo` and for tests; and the relay's own one, where it has one.
//!
//! A [`Host`] is a network namespace without a name: it lives as long as a descriptor or a process
//! in it does, so that nothing is left behind, whatever ends the process that made it. Needs
//! `CAP_SYS_ADMIN` (network_namespaces(7)).

pub mod dial;
pub mod own;
pub mod process;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use ipnetwork::IpNetwork;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

/// A network of its own: interfaces, routes, sockets. Loopback is up.
#[derive(Debug)]
pub struct Host {
    namespace: File,
}

impl Host {
    /// Makes a host.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn new() -> io::Result<Self> {
        // A thread that leaves the namespace of the process for a new one, and is thrown away.
        let namespace = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })??;
        let host = Self { namespace };
        host.within(|| {
            // Duplicate address detection would keep IPv6 addresses unusable for a second.
            for scope in ["all", "default"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0")?;
            }
            wire::up("lo")
        })??;
        Ok(host)
    }

    /// Returns the host whose namespace has this path, with all that is in it.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn named(path: &Path) -> io::Result<Self> {
        Ok(Self { namespace: File::open(path)? })
    }

    /// Takes the calling thread into the host for good.
    fn enter(&self) -> io::Result<()> {
        Ok(setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET)?)
    }

    /// Returns this host once more: it lives as long as any of them.
    ///
    /// # Errors
    ///
    /// Without a descriptor to spare.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { namespace: self.namespace.try_clone()? })
    }

    /// Runs `work` on a thread inside the host and returns what it returns. Sockets that `work`
    /// makes stay in the host wherever they are used.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered or `work` panics.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Starts a program inside the host.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered or the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.within(|| command.spawn())?
    }

    /// Joins two hosts by a wire (a veth pair) and brings both ends up.
    ///
    /// # Errors
    ///
    /// If a name is taken or too long.
    pub fn join(a: (&Self, &str), b: (&Self, &str)) -> io::Result<()> {
        let other = b.0.namespace.as_raw_fd();
        a.0.within(|| wire::make(a.1, b.1, other))??;
        a.0.within(|| wire::up(a.1))??;
        b.0.within(|| wire::up(b.1))?
    }

    /// Removes a wire, seen from one of its ends.
    ///
    /// # Errors
    ///
    /// If there is no such interface.
    pub fn cut(&self, interface: &str) -> io::Result<()> {
        self.within(|| wire::remove(interface))?
    }

    /// Gives an interface an address; its network is reached by that interface.
    ///
    /// # Errors
    ///
    /// If there is no such interface, or it has the address.
    pub fn address(&self, interface: &str, address: IpNetwork) -> io::Result<()> {
        self.within(|| wire::address(interface, address))?
    }
}

/// Gives the calling thread, and all that it starts from now on, mounts of its own with a new BPF
/// file system at `folder`, which is made. What is pinned there ends with them. The file system is
/// unmounted when the returned value is dropped, on the same thread, so that `folder` can be removed.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN`; `ENODEV` on a kernel without BPF.
pub fn private_bpf(folder: &Path) -> io::Result<PrivateBpf> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    std::fs::create_dir(folder)?;
    // The mode that systemd gives to /sys/fs/bpf.
    mount("bpf", folder, "bpf", MountFlags::empty(), Some(c"mode=0700"))?;
    Ok(PrivateBpf { folder: folder.to_owned() })
}

/// A mounted BPF file system of [`private_bpf`].
#[derive(Debug)]
#[must_use = "it is unmounted when this is dropped"]
pub struct PrivateBpf {
    folder: PathBuf,
}

impl Drop for PrivateBpf {
    fn drop(&mut self) {
        // Where it fails the mounts end with the last thread that has them.
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

/// Runs `work` on a thread of its own: namespaces belong to threads.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_| io::Error::other("the work inside a test host panicked"))
}
