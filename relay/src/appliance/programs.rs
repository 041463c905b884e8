//! `sallyport programs`: the process beside the relay that runs the programs of alerts ([`crate::alert::runner`]).

use std::io::stdin;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::privilege;
use crate::alert::runner;

/// Runs programs for the relay at the other end of standard input, until that ends.
///
/// # Errors
///
/// If it was started as root, by somebody else than the relay, or the configuration cannot be read.
pub fn run(file: PathBuf) -> anyhow::Result<()> {
    privilege::become_relay()?;
    // Without a terminal: its signals are for the relay, which ends this process, and what runs here must not
    // have it say what nobody typed (TIOCSTI). A leader of a group, which a shell makes, cannot leave it.
    rustix::process::setsid().context("only the relay starts this")?;
    let socket = UnixStream::from(stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr().context("only the relay starts this: standard input must be its socket")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Whoever ends the whole unit tells every process: this one ends with the relay, which tells its
        // last alerts first.
        let _term = signal(SignalKind::terminate())?;
        let _int = signal(SignalKind::interrupt())?;
        Ok(runner::serve(socket, file).await?)
    })
}
