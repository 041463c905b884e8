//! The second door: a filter on a listening socket, which every connection accepted from it inherits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::gate::sys;

/// The filter for sockets, loaded. Clones are the same.
#[derive(Clone, Debug)]
pub struct Door {
    program: Arc<OwnedFd>,
    place: u32,
}

impl Door {
    /// Returns the door of a loaded program, and the number of the table that it finds the judge in.
    ///
    /// # Errors
    ///
    /// What the kernel said to copying the descriptor.
    pub fn new(program: impl AsFd, place: u32) -> io::Result<Self> {
        Ok(Self { program: Arc::new(program.as_fd().try_clone_to_owned()?), place })
    }

    /// Returns the number of the table in which the door finds its judge. A socket whose door has another one
    /// lets nobody in any more.
    #[must_use]
    pub const fn place(&self) -> u32 {
        self.place
    }

    /// Puts the door on a socket and locks it: nobody, root included, can take it away again. It belongs there
    /// before the socket listens.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn hang(&self, socket: impl AsFd) -> io::Result<()> {
        sys::attach_filter(&socket, self.program.as_fd())?;
        sys::lock_filter(&socket)
    }

    /// Returns whether a locked filter stands on a socket.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn hangs(socket: impl AsFd) -> io::Result<bool> {
        sys::filter_is_locked(socket)
    }
}
