//! The asking side of a control socket, for the command line: blocking, one question.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

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
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NotRunning { process, path: path.into() }
        }
        _ => AskError::Socket { process, path: path.into(), source },
    };
    let line = exchange(path, question, file).map_err(failed)?;
    match Answer::read(&line) {
        Ok(answer) => answer.map_err(AskError::Refused),
        Err(source) => Err(AskError::Answer { process, source }),
    }
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

    #[test]
    fn a_missing_socket_names_the_process_that_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask::<_, ()>(&folder.path().join("sock"), "gate", &1).unwrap_err();
        assert!(error.to_string().starts_with("the gate does not run: nobody serves"), "{error}");
    }
}
