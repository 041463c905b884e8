//! Lines over a Unix socket, and descriptors that travel with them (SCM_RIGHTS, unix(7)).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The descriptors that may travel with one line: more listeners than a configuration has.
pub const DESCRIPTORS_MAX: usize = 64;

/// The octets that one call reads at most.
const CHUNK: usize = 16 << 10;

/// A connection that is read by lines. The memory for a line is bounded by whoever reads it.
#[derive(Debug)]
pub struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// How much of the buffer was looked through without finding an end of line.
    searched: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl Lines {
    /// Returns the lines of a connection.
    #[must_use]
    pub const fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), searched: 0, descriptors: VecDeque::new() }
    }

    /// Reads one line of at most `limit` octets, without its end; none at the end of the connection.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the line is longer or too many descriptors came; else what the kernel says.
    pub async fn read(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(place) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + place + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > limit {
                let problem = format!("a line is longer than {limit} octets");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        let (count, received) = self
            .stream
            .async_io(Interest::READABLE, || receive(self.stream.as_fd(), &mut chunk))
            .await?;
        self.buffer.extend_from_slice(&chunk[..count]);
        self.descriptors.extend(received);
        if self.descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors"));
        }
        Ok(count)
    }

    /// Returns the descriptors that came with the lines so far.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        self.descriptors.drain(..).collect()
    }

    /// Writes a line and its end, the descriptors with its first octet.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn write(&mut self, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut rest = [line, b"\n"].concat();
        let mut with = descriptors;
        while !rest.is_empty() {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || send(self.stream.as_fd(), &rest, with))
                .await?;
            rest.drain(..sent);
            with = &[];
        }
        Ok(())
    }

    /// Returns the connection.
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let flags = SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
}

fn receive(socket: BorrowedFd<'_>, chunk: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(chunk)], &mut control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        // Credentials are asked of the socket, never taken from a message.
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors"));
    }
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Lines, Lines) {
        let (one, other) = UnixStream::pair().unwrap();
        (Lines::new(one), Lines::new(other))
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_were_sent() {
        let (mut one, mut other) = pair();
        one.write(b"first\nsecond", &[]).await.unwrap();
        one.write(b"", &[]).await.unwrap();
        one.write(b"cut", &[]).await.unwrap();
        drop(one);
        for wanted in ["first", "second", "", "cut"] {
            assert_eq!(other.read(64).await.unwrap().as_deref(), Some(wanted.as_bytes()));
        }
        assert_eq!(other.read(64).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_given_up_at_the_limit() {
        let (mut one, mut other) = pair();
        one.write(&vec![b'x'; 40_000], &[]).await.unwrap();
        let error = other.read(20_000).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn descriptors_travel_with_their_line() {
        let (mut one, mut other) = pair();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        one.write(b"here", &[listener.as_fd()]).await.unwrap();
        assert_eq!(other.read(64).await.unwrap().as_deref(), Some(b"here".as_slice()));
        let received = other.take_descriptors();
        assert_eq!(received.len(), 1);
        let cookie = |fd: BorrowedFd<'_>| rustix::net::sockopt::socket_cookie(fd).unwrap();
        assert_eq!(cookie(received[0].as_fd()), cookie(listener.as_fd()), "the same socket");
        let flags = rustix::io::fcntl_getfd(&received[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "children must not inherit it");
    }

    #[tokio::test]
    async fn more_descriptors_than_allowed_are_an_error_and_closed() {
        let (mut one, mut other) = pair();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let many = vec![listener.as_fd(); DESCRIPTORS_MAX];
        for _ in 0..2 {
            one.write(b"flood", &many).await.unwrap();
        }
        let mut results = Vec::new();
        for _ in 0..2 {
            results.push(other.read(64).await);
        }
        assert!(results.iter().any(Result::is_err));
    }
}
