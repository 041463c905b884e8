//! Telling systemd how the process is (sd_notify(3)): one datagram.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What systemd is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The process serves.
    Ready,
    /// The process ends.
    Stopping,
}

/// Tells systemd, if it wants to know. It is no error if it does not hear: it will say so itself.
pub fn tell(state: State) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = send(path.as_bytes(), state);
    }
}

fn send(path: &[u8], state: State) -> std::io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let word: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(word, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_bytes(), State::Ready).unwrap();
        let mut word = [0; 32];
        let count = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..count], b"READY=1");
        let name = format!("sallyport-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_bytes(), State::Stopping).unwrap();
        let count = socket.recv(&mut word).unwrap();
        assert_eq!(&word[..count], b"STOPPING=1");
    }
}
