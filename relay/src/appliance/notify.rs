//! Telling the service manager how the process is, and giving it sockets to keep (sd_notify(3)): a datagram
//! each. It is no error if it does not hear: it will say so itself.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// How long a service manager that is busy is waited for with a word about the process.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The process does what it can do by itself.
    Ready,
    /// The process ends.
    Stopping,
}

/// Tells it, if it wants to know.
pub fn tell(state: State) {
    let word = match state {
        State::Ready => "READY=1",
        State::Stopping => "STOPPING=1",
    };
    if let Some(manager) = manager() {
        let _ = send(&manager, word, &[], SendFlags::empty());
    }
}

/// Returns where the service manager hears this process, if there is one that does.
#[must_use]
pub fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET")
}

/// Has a socket kept under `name` until the unit is stopped, restarts not counted: the process that comes
/// after finds it by [`super::inherited`]. One that is kept already is kept once. The name has no colon. Waits for
/// nothing.
///
/// # Errors
///
/// If the `manager` hears nothing now; it may a little later.
pub fn keep(manager: &OsStr, name: &str, socket: BorrowedFd<'_>) -> io::Result<()> {
    send(manager, &format!("FDSTORE=1\nFDNAME={name}"), &[socket], SendFlags::DONTWAIT)
}

/// Has what is kept under `name` closed. Waits for nothing.
///
/// # Errors
///
/// As [`keep`].
pub fn forget(manager: &OsStr, name: &str) -> io::Result<()> {
    send(manager, &format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[], SendFlags::DONTWAIT)
}

fn send(manager: &OsStr, words: &str, with: &[BorrowedFd<'_>], how: SendFlags) -> io::Result<()> {
    let path = manager.as_bytes();
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(manager)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect_addr(&address)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() && !control.push(SendAncillaryMessage::ScmRights(with)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "one descriptor a datagram"));
    }
    let text = [IoSlice::new(words.as_bytes())];
    rustix::net::sendmsg(socket.as_fd(), &text, &mut control, how | SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1", &[], SendFlags::empty()).unwrap();
        let mut word = [0; 32];
        let count = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..count], b"READY=1");
        let name = format!("sallyport-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = OsString::from(format!("@{name}"));
        send(&manager, "STOPPING=1", &[], SendFlags::empty()).unwrap();
        let count = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..count], b"STOPPING=1");
    }
}
