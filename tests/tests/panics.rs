//! What a panic says is a line of the log, and whoever panics waits for nobody who reads it. The only test of its
//! process, whose standard error it takes.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use relay::config::{Log, LogFormat};
use relay::journal::Journal;
use rustix::io::ioctl_fionbio;
use rustix::stdio::{dup2_stderr, stderr};

#[test]
fn a_panic_is_one_line_of_the_log_and_waits_for_no_reader() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let before = stderr().try_clone_to_owned().unwrap();
    dup2_stderr(&writer).unwrap();
    let journal = Journal::of(&Log { format: LogFormat::Text, ..Log::default() });
    journal.hear_panics();
    journal.unhurried().unwrap();
    ioctl_fionbio(writer.as_fd(), true).unwrap();
    let mut size = 0;
    let filled = loop {
        match writer.write(b"\n") {
            Ok(written) => size += written,
            Err(error) => break error.kind(),
        }
    };
    ioctl_fionbio(writer.as_fd(), false).unwrap();
    assert_eq!((filled, size > 0), (ErrorKind::WouldBlock, true));
    let (say, said) = channel::<()>();
    let panicking = thread::Builder::new().name("victim".into()).spawn(move || {
        let _said = say;
        panic!("two\nlines");
    });
    // The other end goes as the thread ends.
    let ended = said.recv_timeout(Duration::from_secs(10));
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    let line = lines.find(|line| !line.is_empty()).unwrap();
    dup2_stderr(before).unwrap();
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it waits for the reader");
    assert!(panicking.unwrap().join().is_err());
    assert!(
        line.contains(" WARN trouble room=panic problem=\"the thread victim panicked at "),
        "{line}"
    );
    assert!(line.contains("two\\nlines"), "{line}");
}
