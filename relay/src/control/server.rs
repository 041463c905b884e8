//! The serving side of a control socket: one loop that accepts, one that answers.
//!
//! Everybody on the host may connect, so a connection that says nothing costs nobody his answer, and the question whether
//! the process lives is answered whatever else it has to do: only another question takes a place.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::caller::{Caller, Right, Trust};
use super::lobby::Lobby;
use super::wire::{Answer, PING, QUESTION_MAX};

/// How many connections may have said nothing yet, or nothing since their last answer.
const UNREAD_MAX: usize = 128;

/// How much of a question is read before it has a place, octets: most are shorter.
const BEGINNING_MAX: usize = 4 << 10;

/// How many questions are answered at a time: of those who may change something, and of all others.
const PLACES: usize = 64;

/// How many questions of each of them may wait for a place; whoever asks then is told to ask again.
const QUEUE_MAX: usize = 128;

/// How many callers may have a file under way; others are told to ask again. A file is held in memory.
const FILES_MAX: usize = 2;

/// How long a caller may be silent, or may not read.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a refusal is tried to be written: who reads has room for it at once.
const MOMENT: Duration = Duration::from_millis(50);

/// Answers questions.
pub trait Handler: Send + Sync + 'static {
    /// What can be asked.
    type Request: DeserializeOwned + Send;

    /// Answers a question, to which a file may belong that followed it; an error is a sentence for the
    /// operator.
    fn answer(
        &self,
        request: Self::Request,
        file: Vec<u8>,
        caller: Caller,
    ) -> impl Future<Output = Result<Said, String>> + Send;

    /// Returns how many octets of a file follow a question. Callers who may not send one are refused before
    /// it is read.
    ///
    /// # Errors
    ///
    /// A sentence for the operator; the connection ends with it.
    fn file_of(&self, request: &Self::Request, caller: Caller) -> Result<usize, String> {
        let _ = (request, caller);
        Ok(0)
    }

    /// Takes a connection over for a question that is more than that.
    ///
    /// # Errors
    ///
    /// Gives back the question and the connection if it is not one of those.
    fn adopt(
        self: &Arc<Self>,
        request: Self::Request,
        caller: Caller,
        stream: UnixStream,
    ) -> Result<(), (Self::Request, UnixStream)> {
        let _ = caller;
        Err((request, stream))
    }
}

/// An answer, as JSON.
#[derive(Debug)]
pub struct Said(Vec<u8>);

impl Said {
    /// Writes an answer as JSON.
    ///
    /// # Errors
    ///
    /// If it cannot be written as JSON, which is a mistake of ours.
    pub fn of<T: Serialize>(answer: &T) -> Result<Self, String> {
        serde_json::to_vec(answer).map(Self).map_err(|error| error.to_string())
    }

    /// Returns the JSON.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.0
    }
}

/// Makes the socket: a dead one of the same name is replaced, a live one is an error.
///
/// Everybody may connect; rights are by caller.
///
/// # Errors
///
/// If another process serves the socket, or its folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Serves callers for ever.
pub async fn serve<H: Handler>(listener: UnixListener, trust: Trust, handler: Arc<H>) {
    let house = Arc::new(House {
        handler,
        trust,
        lobby: Lobby::new(UNREAD_MAX),
        looking: Desk::new(),
        changing: Desk::new(),
        files: Semaphore::new(FILES_MAX),
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait until some are given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            let _ = house.converse(stream).await;
        });
    }
}

/// What all connections have in common.
struct House<H> {
    handler: Arc<H>,
    trust: Trust,
    lobby: Lobby,
    /// Where those are answered who may only look, and where the others.
    looking: Desk,
    changing: Desk,
    files: Semaphore,
}

/// Where questions are answered.
struct Desk {
    queue: Semaphore,
    places: Semaphore,
}

impl Desk {
    const fn new() -> Self {
        Self { queue: Semaphore::const_new(QUEUE_MAX), places: Semaphore::const_new(PLACES) }
    }
}

/// How a conversation goes on.
enum Next {
    /// With another question.
    Question(BufReader<UnixStream>),
    /// Not at all.
    End,
}

impl<H: Handler> House<H> {
    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?;
        let caller = Caller { uid: peer.uid(), right: self.trust.of(peer.uid(), peer.gid()) };
        // However many of those come who may do nothing: the operators and the relay are answered.
        let desk = match caller.right {
            Right::Look => &self.looking,
            Right::Relay | Right::Change => &self.changing,
        };
        let mut stream = BufReader::new(stream);
        loop {
            let heard = tokio::select! {
                biased;
                heard = hear(&mut stream) => heard?,
                () = self.lobby.wait() => {
                    return refuse(stream, "too many connections ask nothing, this one for longest; ask again").await;
                }
            };
            let Some(line) = heard else { return Ok(()) };
            let Ok(queued) = desk.queue.try_acquire() else {
                return refuse(stream, "too many questions wait for an answer; ask again").await;
            };
            let Ok(_place) = desk.places.acquire().await else { return Ok(()) };
            drop(queued);
            match self.answer(stream, line, caller).await? {
                Next::Question(kept) => stream = kept,
                Next::End => return Ok(()),
            }
        }
    }

    /// Answers a question that begins with this, which is all of it if it is short.
    async fn answer(
        &self,
        mut stream: BufReader<UnixStream>,
        mut line: Vec<u8>,
        caller: Caller,
    ) -> io::Result<Next> {
        if line.len() == BEGINNING_MAX && !line.ends_with(b"\n") {
            read_line(&mut stream, QUESTION_MAX + 1 - BEGINNING_MAX, &mut line).await?;
        }
        if line.len() > QUESTION_MAX {
            let refusal = format!("a question has at most {QUESTION_MAX} octets");
            write(&mut stream, Err(refusal)).await?;
            return Ok(Next::End);
        }
        let request = match serde_json::from_slice::<H::Request>(&line) {
            Ok(request) => request,
            Err(error) => {
                write(&mut stream, Err(format!("not understood: {error}"))).await?;
                return Ok(Next::Question(stream));
            }
        };
        let permitted = match self.handler.file_of(&request, caller) {
            Ok(0) => Ok((0, None)),
            Ok(bytes) => match self.files.try_acquire() {
                Ok(place) => Ok((bytes, Some(place))),
                Err(_) => Err("other files are being read; ask again".to_owned()),
            },
            Err(refusal) => Err(refusal),
        };
        let (bytes, file_place) = match permitted {
            Ok(read) => read,
            Err(refusal) => {
                write(&mut stream, Err(refusal)).await?;
                return Ok(Next::End);
            }
        };
        let file = read_file(&mut stream, bytes).await?;
        let mut unanswered = Some(request);
        if stream.buffer().is_empty()
            && let Some(request) = unanswered.take()
        {
            match self.handler.adopt(request, caller, stream.into_inner()) {
                Ok(()) => return Ok(Next::End),
                Err((request, kept)) => {
                    stream = BufReader::new(kept);
                    unanswered = Some(request);
                }
            }
        }
        let Some(request) = unanswered else { return Ok(Next::End) };
        if has_gone(&stream) {
            return Ok(Next::End);
        }
        let answer = self.handler.answer(request, file, caller).await;
        drop(file_place);
        write(&mut stream, answer).await?;
        Ok(Next::Question(stream))
    }
}

/// Reads the beginning of a question; none if the caller has no more. Whoever asks for a sign of life gets one
/// meanwhile.
async fn hear(stream: &mut BufReader<UnixStream>) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut line = Vec::new();
        read_line(stream, BEGINNING_MAX, &mut line).await?;
        if line != PING {
            return Ok(Some(line).filter(|line| !line.is_empty()));
        }
        write(stream, Said::of(&())).await?;
    }
}

/// Returns whether the caller has closed his end, and did not only finish his side of it: he was told that this process
/// hangs, and does not reckon with what he asked for any more.
fn has_gone(stream: &BufReader<UnixStream>) -> bool {
    let mut watched = [PollFd::new(stream.get_ref(), PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

/// Says why nothing is answered, to whoever reads it at once.
async fn refuse(mut stream: BufReader<UnixStream>, why: &str) -> io::Result<()> {
    timeout(MOMENT, write(&mut stream, Err(why.to_owned()))).await?
}

/// Adds to a line what comes until its end, of so many octets at most.
async fn read_line(
    stream: &mut BufReader<UnixStream>,
    most: usize,
    line: &mut Vec<u8>,
) -> io::Result<()> {
    let mut bounded = stream.take(most as u64);
    timeout(PATIENCE, bounded.read_until(b'\n', line)).await??;
    Ok(())
}

/// Reads a file that follows a question. A caller who stops sending it is given up.
async fn read_file(stream: &mut BufReader<UnixStream>, bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    while file.len() < bytes {
        let mut rest = (&mut *stream).take((bytes - file.len()) as u64);
        if timeout(PATIENCE, rest.read_buf(&mut file)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(file)
}

/// Writes an answer: one line, `{"ok":…}` or `{"error":…}`.
async fn write(stream: &mut BufReader<UnixStream>, answer: Result<Said, String>) -> io::Result<()> {
    let line = match answer {
        Ok(Said(json)) => [b"{\"ok\":", json.as_slice(), b"}\n"].concat(),
        Err(message) => {
            let mut line = serde_json::to_vec(&Answer::<()>::Error(message))?;
            line.push(b'\n');
            line
        }
    };
    timeout(PATIENCE, stream.write_all(&line)).await?
}

/// Refuses a caller who has not this right.
///
/// # Errors
///
/// A sentence that says who may.
pub fn require(caller: Caller, right: Right) -> Result<(), String> {
    if caller.right >= right {
        Ok(())
    } else {
        Err(format!("{caller} may look, not change: root and the members of gate.admin-group may"))
    }
}

#[cfg(test)]
mod tests;
