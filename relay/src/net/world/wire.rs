//! One end of a connection: what is sent is cut anywhere, and may end anywhere.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{sleep, timeout};

use super::World;

/// How long clients and next hops wait for the other end.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One end of a connection, as clients and next hops hold it.
pub(super) struct Wire {
    stream: DuplexStream,
    /// Read and not asked for yet.
    ahead: Vec<u8>,
    /// After how many octets of ours the connection ends; none: as we like.
    cut: Option<usize>,
}

impl Wire {
    pub(super) fn new(stream: DuplexStream, cut: Option<usize>) -> Self {
        Self { stream, ahead: Vec::new(), cut }
    }

    /// Tells whether so many octets more are sent before the connection ends.
    pub(super) fn reaches(&self, octets: usize) -> bool {
        self.cut.is_none_or(|left| left >= octets)
    }

    /// Sends `octets` in pieces.
    pub(super) async fn send(&mut self, world: &World, octets: &[u8]) -> io::Result<()> {
        let mut rest = octets;
        while !rest.is_empty() {
            let length = if world.one_in(2) { rest.len() } else { 1 + world.below(rest.len()) };
            let (piece, later) = rest.split_at(length);
            let piece = match &mut self.cut {
                Some(left) => {
                    let sent = &piece[..piece.len().min(*left)];
                    *left -= sent.len();
                    sent
                }
                None => piece,
            };
            self.stream.write_all(piece).await?;
            if piece.len() < length {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if world.one_in(4) {
                sleep(world.pause(2000)).await;
            }
            rest = later;
        }
        Ok(())
    }

    /// Reads a line, without its end.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return Ok(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            self.more().await?;
        }
    }

    /// Reads so many octets.
    pub(super) async fn octets(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            self.more().await?;
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// Reads a reply: its code, and the text of its last line.
    pub(super) async fn reply(&mut self) -> io::Result<(u16, String)> {
        loop {
            let line = self.line().await?;
            if line.as_bytes()[3] == b' ' {
                return Ok((line[..3].parse().unwrap(), line[4..].to_owned()));
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        let mut octets = [0; 2048];
        let read = timeout(PATIENCE, self.stream.read(&mut octets)).await;
        match read.map_err(|_| io::ErrorKind::TimedOut)?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.ahead.extend_from_slice(&octets[..count]);
                Ok(())
            }
        }
    }
}
