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
use super::wire::{Answer, QUESTION_MAX};

/// How many callers are served at a time; others wait in the socket's backlog.
const CALLERS_MAX: usize = 64;

/// How long a caller may be silent, or may not read.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers questions. What it returns is written as JSON.
pub trait Handler: Send + Sync + 'static {
    /// What can be asked.
    type Request: DeserializeOwned + Send;

    /// Answers a question; an error is a sentence for the operator.
    fn answer(
        &self,
        request: Self::Request,
        caller: Caller,
    ) -> impl Future<Output = Result<serde_json::Value, String>> + Send;

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

/// Makes the socket: a dead one of the same name is replaced, a live one is an error.
///
/// Everybody may connect; rights are by caller.
///
/// # Errors
///
/// If another process serves the socket, or its folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let message = format!("{}: another process serves it", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
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
    let trust = Arc::new(trust);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait until some are given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (handler, trust) = (handler.clone(), trust.clone());
        tokio::spawn(async move {
            let _ = converse(stream, &trust, handler).await;
            drop(place);
        });
    }
}

async fn converse<H: Handler>(
    stream: UnixStream,
    trust: &Trust,
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
        let answer = if line.len() > QUESTION_MAX {
            Answer::Error(format!("a question has at most {QUESTION_MAX} octets"))
        } else {
            match serde_json::from_slice::<H::Request>(&line) {
                Err(error) => Answer::Error(format!("not understood: {error}")),
                Ok(request) if stream.buffer().is_empty() => {
                    match handler.adopt(request, caller, stream.into_inner()) {
                        Ok(()) => return Ok(()),
                        Err((request, kept)) => {
                            stream = BufReader::new(kept);
                            told(handler.answer(request, caller).await)
                        }
                    }
                }
                Ok(request) => told(handler.answer(request, caller).await),
            }
        };
        let is_lost = line.len() > QUESTION_MAX;
        timeout(PATIENCE, write(&mut stream, &answer)).await??;
        if is_lost {
            return Ok(());
        }
    }
}

fn told(result: Result<serde_json::Value, String>) -> Answer<serde_json::Value> {
    match result {
        Ok(value) => Answer::Ok(value),
        Err(message) => Answer::Error(message),
    }
}

async fn write<T: Serialize>(stream: &mut BufReader<UnixStream>, answer: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
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
        Err(format!(
            "uid {} may look, not change: root and the members of gate.admin-group may",
            caller.uid
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::control::client;
    use crate::control::wire::RelayRequest;

    struct Echo;

    impl Handler for Echo {
        type Request = RelayRequest;

        async fn answer(&self, request: RelayRequest, caller: Caller) -> Result<Value, String> {
            match request {
                RelayRequest::QueueRetry { .. } => {
                    require(caller, Right::Change).map(|()| json!(1))
                }
                other => serde_json::to_value(other).map_err(|error| error.to_string()),
            }
        }
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
        Trust { admin_group: None, relay_uid: None, own_uid: rustix::process::getuid().as_raw() }
    }

    #[tokio::test]
    async fn a_question_gets_its_answer_and_a_live_socket_is_not_replaced() {
        let (_folder, path) = served(nobody());
        let asked = path.clone();
        let answer: u32 = tokio::task::spawn_blocking(move || {
            client::ask(&asked, "relay", &RelayRequest::QueueRetry { ids: None })
        })
        .await
        .unwrap()
        .unwrap();
        assert_eq!(answer, 1);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
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
