//! Whether a listener of ours greets a connection from this host.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long the listener may take to accept, and then to greet.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// The longest greeting that is read, octets.
const GREETING_MAX: u64 = 512;

/// What answered a connection from this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    NotTried,
    Said(String),
    Silence,
    Failed(String),
}

/// Connects from this host, reads the greeting and says goodbye.
pub(super) fn greet(address: SocketAddr) -> Greeting {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let said = || -> io::Result<String> {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(io::Read::take(&stream, GREETING_MAX)).read_line(&mut line)?;
        stream.write_all(b"QUIT\r\n")?;
        Ok(line)
    };
    match said() {
        Ok(line) if line.is_empty() => Greeting::Failed("it closed the connection".to_owned()),
        Ok(line) => Greeting::Said(line.trim_end().to_owned()),
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Greeting::Silence,
            _ => Greeting::Failed(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_and_its_want_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 here\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        assert_eq!(greet(address), Greeting::Said("220 here".into()));
        assert_eq!(server.join().unwrap(), "QUIT\r\n");
        assert!(matches!(greet(address), Greeting::Failed(_)), "nobody listens any more");
    }
}
