//! The asking side of a control socket: one question. The command line blocks for it, a process does not.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use super::wire::{Answer, LINE_MAX};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody serves the socket.
    #[error("the {process} does not run: nobody serves {} (start `sallyport run` or the systemd \
             unit; name the configuration with --config if it is another)", path.display())]
    NotRunning {
        /// `gate` or `relay`.
        process: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// The socket failed.
    #[error("{process}: {}: {source}", path.display())]
    Socket {
        /// `gate` or `relay`.
        process: &'static str,
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// It may run, and did not answer in time: it hangs, is stopped, or has much to do.
    #[error("the {process} does not answer within {} s", after.as_secs())]
    Silent {
        /// `gate` or `relay`.
        process: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The answer was not understood: two versions speak.
    #[error("the {process}'s answer is not understood ({0}): is it another version?", .source)]
    Answer {
        /// `gate` or `relay`.
        process: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The process refused, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// Asks the process behind a socket one question.
///
/// # Errors
///
/// See [`AskError`].
pub fn ask<Q: Serialize, A: DeserializeOwned>(
    path: &Path,
    process: &'static str,
    question: &Q,
) -> Result<A, AskError> {
    ask_with(path, process, question, &[])
}

/// Asks as [`ask`] does, with a file that follows the question.
///
/// # Errors
///
/// See [`AskError`].
pub fn ask_with<Q: Serialize, A: DeserializeOwned>(
    path: &Path,
    process: &'static str,
    question: &Q,
    file: &[u8],
) -> Result<A, AskError> {
    understood(path, process, PATIENCE, exchange(path, question, file))
}

/// Asks as [`ask`] does, and waits for so long at most, whatever the process does: also for a place in its
/// queue.
///
/// # Errors
///
/// See [`AskError`].
pub fn ask_soon<Q: Serialize + Sync, A: DeserializeOwned>(
    patience: Duration,
    path: &Path,
    process: &'static str,
    question: &Q,
) -> Result<A, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|source| AskError::Socket { process, path: path.into(), source })?;
    runtime.block_on(ask_within(patience, path, process, question))
}

/// Asks as [`ask`] does, without blocking, and waits for so long at most.
///
/// # Errors
///
/// See [`AskError`].
pub async fn ask_within<Q: Serialize + Sync, A: DeserializeOwned>(
    patience: Duration,
    path: &Path,
    process: &'static str,
    question: &Q,
) -> Result<A, AskError> {
    let answer = tokio::time::timeout(patience, converse(path, question)).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    understood(path, process, patience, answer)
}

/// Reads what a process answered.
fn understood<A: DeserializeOwned>(
    path: &Path,
    process: &'static str,
    after: Duration,
    answer: io::Result<Vec<u8>>,
) -> Result<A, AskError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NotRunning { process, path: path.into() }
        }
        // A blocking socket says the one, a clock the other; a queue without a place is no answer either.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent { process, after },
        _ => AskError::Socket { process, path: path.into(), source },
    };
    match Answer::read(&answer.map_err(failed)?) {
        Ok(answer) => answer.map_err(AskError::Refused),
        Err(source) => Err(AskError::Answer { process, source }),
    }
}

async fn converse<Q: Serialize>(path: &Path, question: &Q) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(question).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut stream = tokio::net::UnixStream::connect(path).await?;
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    let mut stream = tokio::io::BufReader::new(stream.take(LINE_MAX as u64));
    stream.read_until(b'\n', &mut answer).await?;
    Ok(answer)
}

fn exchange<Q: Serialize>(path: &Path, question: &Q, file: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    // Who refuses the file answers before it was read whole, and closes: his answer is what counts.
    match stream.write_all(file) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent?,
    }
    let mut answer = Vec::new();
    BufReader::new(stream.take(LINE_MAX as u64)).read_until(b'\n', &mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_does_not_answer_is_waited_for_no_longer_than_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let soon = Duration::from_millis(20);
        let error = ask_within::<_, ()>(soon, &path, "gate", &1).await.unwrap_err();
        assert!(matches!(error, AskError::Silent { process: "gate", .. }), "{error}");
        assert_eq!(error.to_string(), "the gate does not answer within 0 s");
    }

    #[test]
    fn a_full_queue_of_a_process_that_hangs_holds_nobody() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let hangs = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&hangs, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&hangs, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let minute = Duration::from_secs(60);
        let error = ask_soon::<_, ()>(minute, &path, "relay", &1).unwrap_err();
        assert_eq!(error.to_string(), "the relay does not answer within 60 s");
    }

    #[test]
    fn a_missing_socket_names_the_process_that_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask::<_, ()>(&folder.path().join("sock"), "gate", &1).unwrap_err();
        assert!(error.to_string().starts_with("the gate does not run: nobody serves"), "{error}");
    }
}
