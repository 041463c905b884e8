//! Whether a listener of ours greets a connection from this host.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;

use super::aside;

/// How long the listener may take to accept, and then to greet.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long all of that may take.
const WHOLE: Duration = Duration::from_secs(7);
/// The longest greeting that is read, octets.
const GREETING_MAX: u64 = 512;

/// What the system says if this host itself has no address to connect from: IPv6 is switched off, or loopback is
/// down. It tells nothing of the listener.
const OF_OUR_END: [Errno; 3] = [Errno::ADDRNOTAVAIL, Errno::NETUNREACH, Errno::AFNOSUPPORT];

/// What answered a connection from this host, the best first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Greeting {
    Said(String),
    /// The connection was made, and nothing was said.
    Silence,
    /// The connection was made, and ended before anything was said: the listener's process did that.
    Ended(String),
    /// The attempt to connect was refused: the listener's process never heard of it.
    Refused(String),
    /// The attempt to connect was not answered: something drops it, or the queue of the listener is full.
    Unanswered,
    /// This host cannot connect to itself: what the system says.
    Unable(String),
    NotTried,
}

/// Connects from this host, reads the greeting and says goodbye. Of a listener for all addresses each family is
/// tried, side by side, and what answered best counts: a host may have but one.
pub(super) fn greet(address: SocketAddr) -> Greeting {
    let at = |ip: IpAddr| SocketAddr::new(ip, address.port());
    let tried = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![at(Ipv4Addr::LOCALHOST.into())],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![at(Ipv6Addr::LOCALHOST.into()), at(Ipv4Addr::LOCALHOST.into())]
        }
        ip => vec![at(ip)],
    };
    let waiting: Vec<_> =
        tried.into_iter().map(|at| aside(move || greeted(at, PATIENCE))).collect();
    let answers =
        waiting.into_iter().map(|told| told.recv_timeout(WHOLE).unwrap_or(Greeting::Silence));
    answers.min().unwrap_or(Greeting::NotTried)
}

/// Waits so long for the connection, and so long for the greeting.
fn greeted(at: SocketAddr, patience: Duration) -> Greeting {
    let stream = match TcpStream::connect_timeout(&at, patience) {
        Ok(stream) => stream,
        Err(error) if is_late(&error) => return Greeting::Unanswered,
        Err(error) => return refused(&error),
    };
    match said(&stream, patience) {
        Ok(line) if line.is_empty() => Greeting::Ended("it closed the connection".to_owned()),
        Ok(line) => Greeting::Said(line.trim_end().to_owned()),
        Err(error) if is_late(&error) => Greeting::Silence,
        Err(error) => Greeting::Ended(error.to_string()),
    }
}

fn said(mut stream: &TcpStream, patience: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, GREETING_MAX)).read_line(&mut line)?;
    // Whoever refuses may be gone by now; what was said counts.
    let _ = stream.write_all(b"QUIT\r\n");
    Ok(line)
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn refused(error: &io::Error) -> Greeting {
    match Errno::from_io_error(error) {
        Some(of) if OF_OUR_END.contains(&of) => Greeting::Unable(error.to_string()),
        Some(_) | None => Greeting::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    use super::*;

    /// Greets one client, and returns what that said.
    fn serve(listener: TcpListener) -> JoinHandle<String> {
        spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 here\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        })
    }

    #[test]
    fn a_greeting_is_read_and_its_want_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = serve(listener);
        assert_eq!(greet(address), Greeting::Said("220 here".into()));
        assert_eq!(server.join().unwrap(), "QUIT\r\n");
        assert!(matches!(greet(address), Greeting::Refused(_)), "nobody listens any more");
    }

    #[test]
    fn a_connection_that_is_made_and_ended_is_told_from_one_that_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || drop(listener.accept().unwrap()));
        assert!(matches!(greet(address), Greeting::Ended(_)));
        server.join().unwrap();
        assert!(matches!(greet(address), Greeting::Refused(_)));
    }

    #[test]
    fn a_listener_for_all_is_well_if_one_family_is_greeted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let any =
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), listener.local_addr().unwrap().port());
        let server = serve(listener);
        assert_eq!(greet(any), Greeting::Said("220 here".into()));
        server.join().unwrap();
    }

    #[test]
    fn a_connection_that_is_not_answered_is_no_listener_that_says_nothing() {
        let soon = Duration::from_millis(300);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = crate::bound::bound(loopback).unwrap();
        // A queue for one connection, which the kernel makes and nobody takes.
        rustix::net::listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
        assert_eq!(greeted(address, soon), Greeting::Silence);
        assert_eq!(greeted(address, soon), Greeting::Unanswered, "that one still waits");
    }

    #[test]
    fn what_this_host_lacks_is_not_the_listeners_fault() {
        for (errno, wanted) in [
            (Errno::ADDRNOTAVAIL, "unable"),
            (Errno::NETUNREACH, "unable"),
            (Errno::CONNREFUSED, "refused"),
            (Errno::CONNRESET, "refused"),
        ] {
            let seen = match refused(&errno.into()) {
                Greeting::Unable(_) => "unable",
                Greeting::Refused(_) => "refused",
                Greeting::Ended(_)
                | Greeting::Silence
                | Greeting::Unanswered
                | Greeting::Said(_)
                | Greeting::NotTried => "other",
            };
            assert_eq!(seen, wanted, "{errno}");
        }
    }
}
