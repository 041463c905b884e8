//! The asking side of a control socket: one question. The command line blocks for it, a process does not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::wire::{Answer, LINE_MAX, PING};

/// How long whoever waits for an answer lets pass before each look whether the process lives.
const LOOK: Duration = Duration::from_secs(1);

/// How long a process may take to say that it lives. Its socket answers that by itself, whatever it has to do.
const SIGN_OF_LIFE: Duration = Duration::from_secs(4);

/// The time between two tries to get into a queue that is full.
const AGAIN: Duration = Duration::from_millis(20);

/// How long an answer may take while the process says that it lives.
const PATIENCE: Duration = Duration::from_secs(600);

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
    /// It serves its socket and does not even say that it lives: it hangs, or is stopped.
    #[error("the {process} hangs: it has not answered within {} s, not even that it is busy. To start it anew: \
             systemctl restart sallyport-{process}; under `sallyport run`, kill -9 the process, and it is started anew", after.as_secs())]
    Hangs {
        /// `gate` or `relay`.
        process: &'static str,
        /// How long was waited.
        after: Duration,
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

impl AskError {
    /// Returns its words, and for a process that answers nothing in time the commands that tell why.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Silent { process, .. } => {
                format!("{self}; see `sallyport doctor` and `journalctl -u sallyport-{process}`")
            }
            Self::NotRunning { .. }
            | Self::Socket { .. }
            | Self::Hangs { .. }
            | Self::Answer { .. }
            | Self::Refused(_) => self.to_string(),
        }
    }
}

/// Asks the process behind a socket one question, and waits for as long as it lives, 10 minutes at most. One that
/// hangs is known after 5 seconds.
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
    let socket = |source| AskError::Socket { process, path: path.into(), source };
    let mut octets = line(question).map_err(socket)?;
    octets.extend_from_slice(file);
    match runtime().map_err(socket)?.block_on(patiently(path, &octets)) {
        None => Err(AskError::Hangs { process, after: LOOK + SIGN_OF_LIFE }),
        Some(answer) => understood(path, process, PATIENCE, answer),
    }
}

/// Waits for an answer as long as the process lives; none: it hangs.
async fn patiently(path: &Path, octets: &[u8]) -> Option<io::Result<Vec<u8>>> {
    let answer = async { converse(place(path).await?, octets).await };
    tokio::select! {
        biased;
        answer = tokio::time::timeout(PATIENCE, answer) => Some(in_time(answer)),
        () = silence(path) => None,
    }
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
    let runtime = runtime();
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
    let octets =
        line(question).map_err(|source| AskError::Socket { process, path: path.into(), source })?;
    let answer = async { converse(UnixStream::connect(path).await?, &octets).await };
    let answer = tokio::time::timeout(patience, answer).await;
    understood(path, process, patience, in_time(answer))
}

/// Tells whether the process behind a socket says within a time that it lives. It does so also where it has no time for
/// questions.
#[must_use]
pub fn lives(patience: Duration, path: &Path) -> bool {
    let sign = async { converse(place(path).await?, PING).await };
    let in_time = async { tokio::time::timeout(patience, sign).await };
    let said = runtime().map(|runtime| runtime.block_on(in_time));
    matches!(said, Ok(Ok(Ok(said))) if !said.is_empty())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Returns a question as it is sent.
fn line<Q: Serialize>(question: &Q) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(question).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

fn in_time(
    answer: Result<io::Result<Vec<u8>>, tokio::time::error::Elapsed>,
) -> io::Result<Vec<u8>> {
    answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Waits until the process behind a socket gives no sign of life. Any answer is one, also that of an earlier version
/// which does not know the question; one who closes or is gone does not hang.
async fn silence(path: &Path) {
    loop {
        tokio::time::sleep(LOOK).await;
        let sign = async { converse(place(path).await?, PING).await };
        if tokio::time::timeout(SIGN_OF_LIFE, sign).await.is_err() {
            return;
        }
    }
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

/// Connects, and waits for a place in the queue of callers if there is none.
async fn place(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(AGAIN).await;
            }
            connected => return connected,
        }
    }
}

/// Sends a question, with the file that follows it, and reads the answer.
async fn converse(mut stream: UnixStream, octets: &[u8]) -> io::Result<Vec<u8>> {
    // Who refuses the file answers before it was read whole, and closes: his answer is what counts.
    match stream.write_all(octets).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent?,
    }
    let mut answer = Vec::new();
    let mut stream = tokio::io::BufReader::new(stream.take(LINE_MAX as u64));
    stream.read_until(b'\n', &mut answer).await?;
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
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let minute = Duration::from_secs(60);
        let error = ask_soon::<_, ()>(minute, &path, "relay", &1).unwrap_err();
        assert_eq!(error.to_string(), "the relay does not answer within 60 s");
        // Nor one who would wait for a process that is busy, and for a place in its queue.
        let error = ask::<_, ()>(&path, "relay", &1).unwrap_err();
        assert!(matches!(error, AskError::Hangs { process: "relay", .. }), "{error}");
        let said = error.to_string();
        assert!(said.starts_with("the relay hangs: it has not answered within 5 s"), "{said}");
        assert!(said.contains("systemctl restart sallyport-relay"), "{said}");
    }

    /// Serves callers one by one: whoever asks with `PING` is answered as `sign` says, the others only once so many
    /// have asked that.
    async fn busy(listener: tokio::net::UnixListener, sign: &[u8], signs: usize) {
        let mut waiting = Vec::new();
        let mut asked = 0;
        while asked < signs {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            let mut line = Vec::new();
            stream.read_until(b'\n', &mut line).await.unwrap();
            if line == PING {
                stream.write_all(sign).await.unwrap();
                asked += 1;
            } else {
                waiting.push(stream);
            }
        }
        for mut stream in waiting {
            stream.write_all(b"{\"ok\":7}\n").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_process_that_is_busy_and_says_that_it_lives_is_waited_for() {
        for (row, sign) in [
            ("this version", &b"{\"ok\":null}\n"[..]),
            ("an earlier one", b"{\"error\":\"not understood: unknown variant `ping`\"}\n"),
            ("one that closes", b""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("sock");
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            tokio::time::pause();
            let begin = tokio::time::Instant::now();
            let signs = 40;
            let (answer, ()) = tokio::join!(patiently(&path, b"1\n"), busy(listener, sign, signs));
            assert_eq!(answer.unwrap().unwrap(), b"{\"ok\":7}\n", "{row}");
            assert!(begin.elapsed() >= LOOK * 40, "{row}");
            tokio::time::resume();
        }
    }

    #[test]
    fn a_process_that_answers_nothing_gives_no_sign_of_life() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        assert!(!lives(SIGN_OF_LIFE, &path), "there is none");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!lives(Duration::from_millis(10), &path), "it is stopped");
        let answering = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for stream in listener.incoming().flatten().take(2) {
                let (mut stream, mut question) = (stream, [0; 64]);
                if stream.read(&mut question).is_ok_and(|octets| &question[..octets] == PING) {
                    // Whoever gave up does not hear it.
                    let _ = stream.write_all(b"{\"ok\":null}\n");
                }
            }
        });
        assert!(lives(SIGN_OF_LIFE, &path));
        answering.join().unwrap();
    }

    #[test]
    fn a_missing_socket_names_the_process_that_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask::<_, ()>(&folder.path().join("sock"), "gate", &1).unwrap_err();
        assert!(error.to_string().starts_with("the gate does not run: nobody serves"), "{error}");
    }
}
