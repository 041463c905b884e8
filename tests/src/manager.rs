//! A service manager as small as can be: it starts the gate, hears when that is ready, and keeps the sockets
//! that the gate gives it (sd_notify(3), sd_listen_fds(3)). It is written apart from the relay's half.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use relay::hosts::Host;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, sockopt};

/// How long the gate may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Ends the manager's thread.
const END: &[u8] = b"END";
/// Becomes the gate, with standard input as the one socket that was kept: the numbers of descriptors and
/// process are as sd_listen_fds(3) wants them.
const PASSING: &str = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";

/// The manager.
pub struct Manager {
    folder: PathBuf,
    kept: Kept,
    ready: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

type Kept = Arc<Mutex<BTreeMap<String, OwnedFd>>>;

impl Manager {
    /// Begins to listen, in a folder where the gate's log goes too.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(folder.join("notify"))?;
        let (tell, ready) = mpsc::channel();
        let kept = Kept::default();
        let keeps = Arc::clone(&kept);
        let thread = std::thread::spawn(move || hear(&socket, &keeps, &tell));
        Ok(Self { folder: folder.into(), kept, ready, thread: Some(thread) })
    }

    /// Starts the gate by `command` in `host`, with what was kept, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it ends or does not get ready; its log is in the error.
    pub fn start(&self, host: &Host, command: &Command) -> Result<Child> {
        let mut passing = Command::new("/bin/sh");
        let socket = if let Some((name, socket)) = lock(&self.kept).iter().next() {
            passing.args(["-c", PASSING, "gate"]).env("LISTEN_FDNAMES", name);
            Stdio::from(socket.try_clone()?)
        } else {
            passing.args(["-c", "exec \"$@\"", "gate"]);
            Stdio::null()
        };
        passing.arg(command.get_program()).args(command.get_args()).stdin(socket);
        let log = File::options().append(true).create(true).open(self.folder.join("gate.log"))?;
        passing.env("NOTIFY_SOCKET", self.folder.join("notify")).stdout(log.try_clone()?);
        passing.stderr(log);
        // What an earlier gate said is not this one's word.
        while self.ready.try_recv().is_ok() {}
        let mut gate = host.spawn(&mut passing)?;
        if self.ready.recv_timeout(PATIENCE).is_err() {
            let _ = gate.kill();
            bail!("the gate does not get ready ({:?}):\n{}", gate.wait(), self.log());
        }
        Ok(gate)
    }

    /// Returns the cookies of the sockets that are kept, by name.
    ///
    /// # Errors
    ///
    /// If something else is kept.
    pub fn kept(&self) -> Result<BTreeMap<String, u64>> {
        let cookie = |(name, socket): (&String, &OwnedFd)| {
            let cookie = sockopt::socket_cookie(socket).context("no socket is kept")?;
            ensure!(sockopt::socket_acceptconn(socket)?, "{name} does not listen");
            Ok((name.clone(), cookie))
        };
        lock(&self.kept).iter().map(cookie).collect()
    }

    /// Closes all that is kept, as a manager does that keeps nothing.
    pub fn drop_kept(&self) {
        lock(&self.kept).clear();
    }

    /// Returns what the gates wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("gate.log")).unwrap_or_default()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let socket = UnixDatagram::unbound();
        let told = socket.and_then(|socket| socket.send_to(END, self.folder.join("notify")));
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn lock(kept: &Mutex<BTreeMap<String, OwnedFd>>) -> MutexGuard<'_, BTreeMap<String, OwnedFd>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(socket: &UnixDatagram, kept: &Kept, ready: &mpsc::Sender<()>) {
    loop {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut into = [IoSliceMut::new(&mut text)];
        let Ok(came) = rustix::net::recvmsg(socket.as_fd(), &mut into, &mut control, flags) else {
            return;
        };
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                sockets.extend(rights);
            }
        }
        let words = String::from_utf8_lossy(&text[..came.bytes]).into_owned();
        let lines: Vec<&str> = words.lines().collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        if words.as_bytes() == END {
            return;
        } else if lines.contains(&"FDSTORE=1") {
            let mut kept = lock(kept);
            for socket in sockets {
                kept.entry(name.to_owned()).or_insert(socket);
            }
        } else if lines.contains(&"FDSTOREREMOVE=1") {
            lock(kept).remove(name);
        } else if lines.contains(&"READY=1") {
            let _ = ready.send(());
        }
    }
}
