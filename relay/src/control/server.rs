//! The serving side of a control socket: one loop that accepts, one that answers.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::caller::{Caller, Right, Trust};
use super::wire::{Answer, PING, QUESTION_MAX};

/// How many callers are served at a time; others wait in the socket's backlog.
const CALLERS_MAX: usize = 64;

/// How many callers may have a file under way; others are told to ask again. A file is held in memory.
const FILES_MAX: usize = 2;

/// How long a caller may be silent, or may not read.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let places = Arc::new(Semaphore::new(CALLERS_MAX));
    let (trust, files) = (Arc::new(trust), Arc::new(Semaphore::new(FILES_MAX)));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait until some are given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (handler, trust, files) = (handler.clone(), trust.clone(), files.clone());
        tokio::spawn(async move {
            let _ = converse(stream, &trust, &files, handler).await;
            drop(place);
        });
    }
}

async fn converse<H: Handler>(
    stream: UnixStream,
    trust: &Trust,
    files: &Semaphore,
    handler: Arc<H>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let caller = Caller { uid: peer.uid(), right: trust.of(peer.uid(), peer.gid()) };
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stream).take(QUESTION_MAX as u64 + 1);
        if timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        if line.len() > QUESTION_MAX {
            let refusal = Err(format!("a question has at most {QUESTION_MAX} octets"));
            return timeout(PATIENCE, write(&mut stream, refusal)).await?;
        }
        if line == PING {
            timeout(PATIENCE, write(&mut stream, Said::of(&()))).await??;
            continue;
        }
        let request = match serde_json::from_slice::<H::Request>(&line) {
            Ok(request) => request,
            Err(error) => {
                let refusal = Err(format!("not understood: {error}"));
                timeout(PATIENCE, write(&mut stream, refusal)).await??;
                continue;
            }
        };
        let permitted = match handler.file_of(&request, caller) {
            Ok(0) => Ok((0, None)),
            Ok(bytes) => match files.try_acquire() {
                Ok(place) => Ok((bytes, Some(place))),
                Err(_) => Err("other files are being read; ask again".to_owned()),
            },
            Err(refusal) => Err(refusal),
        };
        let (bytes, place) = match permitted {
            Ok(read) => read,
            Err(refusal) => return timeout(PATIENCE, write(&mut stream, Err(refusal))).await?,
        };
        let file = read_file(&mut stream, bytes).await?;
        let mut unanswered = Some(request);
        if stream.buffer().is_empty()
            && let Some(request) = unanswered.take()
        {
            match handler.adopt(request, caller, stream.into_inner()) {
                Ok(()) => return Ok(()),
                Err((request, kept)) => {
                    stream = BufReader::new(kept);
                    unanswered = Some(request);
                }
            }
        }
        let Some(request) = unanswered else { return Ok(()) };
        let answer = handler.answer(request, file, caller).await;
        drop(place);
        timeout(PATIENCE, write(&mut stream, answer)).await??;
    }
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
    stream.write_all(&line).await
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
mod tests {
    use super::*;
    use crate::control::client;
    use crate::control::wire::{RelayRequest, Which};
    use crate::history::Act;
    use crate::mail::message::MessageId;

    struct Echo;

    impl Handler for Echo {
        type Request = RelayRequest;

        async fn answer(
            &self,
            request: RelayRequest,
            file: Vec<u8>,
            caller: Caller,
        ) -> Result<Said, String> {
            match request {
                RelayRequest::QueueShow { .. } => {
                    require(caller, Right::Change).and_then(|()| Said::of(&1))
                }
                RelayRequest::QueueChange { .. } => Said::of(&String::from_utf8_lossy(&file)),
                other => Said::of(&other),
            }
        }

        fn file_of(&self, request: &RelayRequest, caller: Caller) -> Result<usize, String> {
            match request {
                RelayRequest::QueueChange { .. } => require(caller, Right::Change).map(|()| 5),
                _ => Ok(0),
            }
        }
    }

    fn with_a_file() -> RelayRequest {
        RelayRequest::QueueChange { act: Act::Drop, which: Which::Ids(Vec::new()) }
    }

    /// Must be called within a runtime.
    fn served(trust: Trust) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let listener = bind(&path).unwrap();
        tokio::spawn(serve(listener, trust, Arc::new(Echo)));
        (folder, path)
    }

    fn nobody() -> Trust {
        let own_uid = rustix::process::getuid().as_raw();
        Trust { admin_group: None, relay_uid: None, own_uid, hidden_uid: None }
    }

    #[tokio::test]
    async fn a_question_gets_its_answer_and_a_live_socket_is_not_replaced() {
        let (_folder, path) = served(nobody());
        let asked = path.clone();
        let answer: u32 = tokio::task::spawn_blocking(move || {
            client::ask(&asked, "relay", &RelayRequest::QueueShow { id: MessageId(1) })
        })
        .await
        .unwrap()
        .unwrap();
        assert_eq!(answer, 1);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_file_follows_its_question_and_nobody_sends_one_who_may_not() {
        let ids = with_a_file();
        let (_folder, path) = served(nobody());
        let (asked, question) = (path.clone(), ids.clone());
        let echoed: String = tokio::task::spawn_blocking(move || {
            client::ask_with(&asked, "relay", &question, b"five!")
        })
        .await
        .unwrap()
        .unwrap();
        assert_eq!(echoed, "five!");
        let (_folder, path) = served(Trust { own_uid: u32::MAX, ..nobody() });
        if rustix::process::getuid().is_root() {
            eprintln!("skipped: root may change everything");
            return;
        }
        let refused = tokio::task::spawn_blocking(move || {
            client::ask_with::<_, String>(&path, "relay", &ids, &vec![0; 1 << 20])
        });
        let refused = refused.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("may look, not change"), "{refused}");
    }

    #[tokio::test]
    async fn only_so_many_files_are_under_way_at_a_time() {
        let (_folder, path) = served(nobody());
        let mut question = serde_json::to_vec(&with_a_file()).unwrap();
        question.push(b'\n');
        // One more than there are places, and none sends its file.
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..=FILES_MAX {
            let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
            stream.write_all(&question).await.unwrap();
            waiting.spawn(async move {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                line
            });
        }
        let first = waiting.join_next().await.unwrap().unwrap();
        assert!(first.contains("other files are being read; ask again"), "{first}");
        assert!(waiting.try_join_next().is_none(), "the others wait for their files");
    }

    #[tokio::test]
    async fn nonsense_gets_an_error_and_too_much_of_it_the_end() {
        let (_folder, path) = served(nobody());
        let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
        stream.write_all(b"nonsense\n").await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("{\"error\":\"not understood"), "{line}");
        // The server may stop reading before all of it is written.
        let _ = stream.write_all(&vec![b'x'; QUESTION_MAX + 2]).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty() || rest.starts_with(b"{\"error\":\"a question has at most"));
    }
}
