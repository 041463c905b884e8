//! journald's own protocol: a datagram of fields for each event, so that `journalctl SALLYPORT_ID=…` finds it
//! (systemd's "Native Journal Protocol").
//!
//! A datagram that does not fit, or that journald is too busy for, is not sent: whoever writes the line has
//! another way, and nobody waits.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::Value;

use super::line;
use crate::event::Event;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to journald. It is asked for at each event: journald may be started anew meanwhile.
#[derive(Debug)]
pub(super) struct Journald {
    path: PathBuf,
    socket: io::Result<UnixDatagram>,
}

impl Default for Journald {
    fn default() -> Self {
        Self::at(SOCKET.into())
    }
}

impl Journald {
    fn at(path: PathBuf) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Self { path, socket }
    }

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// If journald is not there, or does not take it now.
    pub(super) fn send(&self, event: &Event) -> io::Result<()> {
        let socket = self.socket.as_ref().map_err(io::Error::kind)?;
        socket.send_to(&datagram(event), &self.path).map(drop)
    }
}

/// Tells whether standard error of this process leads to journald: `JOURNAL_STREAM` names its device and file
/// (systemd.exec(5)). A process whose output somebody else takes has the variable too.
pub(super) fn takes_standard_error() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(ours) = rustix::fs::fstat(io::stderr()) else { return false };
    named == format!("{}:{}", ours.st_dev, ours.st_ino)
}

/// Writes an event as fields.
fn datagram(event: &Event) -> Vec<u8> {
    let fields = line::fields(event);
    let mut datagram = Vec::with_capacity(1024);
    enter(&mut datagram, "MESSAGE", &line::words(&fields));
    enter(&mut datagram, "PRIORITY", &event.level().priority().to_string());
    enter(&mut datagram, "SYSLOG_IDENTIFIER", "sallyport");
    for (key, value) in &fields {
        let name = format!("SALLYPORT_{}", key.to_ascii_uppercase().replace('-', "_"));
        match value {
            Value::Null => {}
            Value::String(text) => enter(&mut datagram, &name, text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                enter(&mut datagram, &name, &value.to_string());
            }
        }
    }
    datagram
}

/// Writes a field: a line, or, if the value could be taken for more than one, with its length before it.
fn enter(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::message::MessageId;

    fn trouble(problem: &str) -> Event {
        Event::Trouble { room: "net", problem: problem.into() }
    }

    /// Reads what a journald would.
    fn received(socket: &UnixDatagram) -> Vec<(String, String)> {
        let mut buffer = vec![0; 1 << 16];
        let length = socket.recv(&mut buffer).unwrap();
        let (mut rest, mut fields) = (&buffer[..length], Vec::new());
        while let Some(end) = rest.iter().position(|octet| matches!(octet, b'=' | b'\n')) {
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let (value, after) = if rest[end] == b'=' {
                let length = rest[end..].iter().position(|octet| *octet == b'\n').unwrap();
                (&rest[end + 1..end + length], end + length + 1)
            } else {
                let from = end + 9;
                let length = u64::from_le_bytes(rest[end + 1..from].try_into().unwrap()) as usize;
                assert_eq!(rest[from + length], b'\n');
                (&rest[from..from + length], from + length + 1)
            };
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
            rest = &rest[after..];
        }
        assert!(rest.is_empty());
        fields
    }

    fn journald(folder: &tempfile::TempDir) -> (UnixDatagram, Journald) {
        let path = folder.path().join("socket");
        (UnixDatagram::bind(&path).unwrap(), Journald::at(path))
    }

    #[test]
    fn an_event_arrives_as_fields_that_can_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, journald) = journald(&folder);
        journald.send(&Event::Dropped { id: MessageId(1), uid: 0 }).unwrap();
        let expected = [
            ("MESSAGE", "dropped id=0000000000001 uid=0"),
            ("PRIORITY", "7"),
            ("SYSLOG_IDENTIFIER", "sallyport"),
            ("SALLYPORT_EVENT", "dropped"),
            ("SALLYPORT_ID", "0000000000001"),
            ("SALLYPORT_UID", "0"),
        ];
        assert_eq!(received(&socket), expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn a_peer_cannot_forge_a_field() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, journald) = journald(&folder);
        let problem = "x\nPRIORITY=0\nSALLYPORT_UID=0";
        journald.send(&trouble(problem)).unwrap();
        let fields = received(&socket);
        assert_eq!(fields.iter().filter(|(name, _)| name == "PRIORITY").count(), 1);
        assert!(fields.contains(&("SALLYPORT_PROBLEM".into(), problem.into())), "{fields:?}");
        assert!(fields.iter().all(|(name, _)| name != "SALLYPORT_UID"));
        assert!(!fields[0].1.contains('\n'), "the message is one line");
    }

    #[test]
    fn nobody_waits_for_a_journald_that_is_not_there_or_does_not_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journald::at(folder.path().join("nobody")).send(&trouble("x")).is_err());
        let (_socket, journald) = journald(&folder);
        let sent = (0..100_000).take_while(|_| journald.send(&trouble("x")).is_ok()).count();
        assert!(sent < 100_000, "the queue of a socket that nobody reads is full some time");
        assert!(journald.send(&trouble(&"x".repeat(64 << 20))).is_err(), "it does not fit");
    }

    #[test]
    fn a_journald_that_was_started_anew_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, journald) = journald(&folder);
        journald.send(&trouble("first")).unwrap();
        drop(socket);
        let path = folder.path().join("socket");
        std::fs::remove_file(&path).unwrap();
        assert!(journald.send(&trouble("nobody")).is_err());
        let socket = UnixDatagram::bind(&path).unwrap();
        journald.send(&trouble("second")).unwrap();
        assert!(received(&socket).contains(&("SALLYPORT_PROBLEM".into(), "second".into())));
    }
}
