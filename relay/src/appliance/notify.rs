//! Telling the service manager how the process is, and giving it sockets to keep (sd_notify(3)): a datagram
//! each. It is no error if it does not hear: it will say so itself.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// How long a service manager that is busy is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The process serves.
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
    say(word, &[]);
}

/// Has a socket kept under `name` until the unit is stopped, restarts not counted: the process that comes
/// after finds it by [`super::inherited`]. One that is kept already is kept once. The name has no colon.
pub fn keep(name: &str, socket: BorrowedFd<'_>) {
    say(&format!("FDSTORE=1\nFDNAME={name}"), &[socket]);
}

/// Has what is kept under `name` closed.
pub fn forget(name: &str) {
    say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]);
}

fn say(words: &str, with: &[BorrowedFd<'_>]) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = send(path.as_bytes(), words, with);
    }
}

fn send(path: &[u8], words: &str, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
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
    rustix::net::sendmsg(socket.as_fd(), &text, &mut control, SendFlags::NOSIGNAL)?;
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
        send(path.as_os_str().as_bytes(), "READY=1", &[]).unwrap();
        let mut word = [0; 32];
        let count = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..count], b"READY=1");
        let name = format!("sallyport-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_bytes(), "STOPPING=1", &[]).unwrap();
        let count = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..count], b"STOPPING=1");
    }
}
