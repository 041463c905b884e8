//! The next hop of the demo: Postfix if the host has it, else our own sink. Both take mail over
//! STARTTLS inside a test host and keep what arrives.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::sink;
use crate::cli::tls::Made;
use crate::hosts::Host;
use crate::hosts::process::{self, Signal};

/// How long a next hop may take to start, and a message to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// A next hop in a test host.
pub enum NextHop {
    /// Postfix with a configuration, a queue and a mailbox of its own.
    Postfix {
        /// The server, in the foreground.
        server: Child,
        /// The folder of new messages of its one mailbox.
        mailbox: PathBuf,
        /// What it says about itself.
        log: PathBuf,
        /// The folder that it works in.
        queue: PathBuf,
    },
    /// Our own.
    Sink(Receiver<sink::Arrived>),
}

impl NextHop {
    /// Starts Postfix if this host has it, else our own sink, on `address` inside `host`.
    ///
    /// `folder` must be new; everything is kept below it. `made` is the certificate to show.
    ///
    /// # Errors
    ///
    /// If the next hop cannot be started.
    pub fn start(
        host: &Host,
        address: SocketAddr,
        folder: &Path,
        made: &Made,
    ) -> anyhow::Result<Self> {
        if Path::new(POSTFIX).exists() {
            postfix(host, address, folder, made)
        } else {
            let listener = host.within(|| TcpListener::bind(address))??;
            let (to, arrived) = channel();
            let (chain, key) = (made.chain.clone(), made.key.clone());
            std::thread::spawn(move || sink::serve(&listener, &chain, &key, &to));
            Ok(Self::Sink(arrived))
        }
    }

    /// Returns what it is, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Postfix { .. } => "Postfix",
            Self::Sink(_) => "our own sink (Postfix is not installed)",
        }
    }

    /// Waits for the next message and returns its octets with lines that end in CRLF.
    ///
    /// # Errors
    ///
    /// If none arrives within 20 seconds.
    pub fn next_message(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Sink(arrived) => {
                arrived.recv_timeout(PATIENCE).context("no message reached the next hop")
            }
            Self::Postfix { mailbox, log, .. } => {
                let file = wait_for("a message in Postfix's mailbox", || {
                    let mut files = fs::read_dir(mailbox).into_iter().flatten().flatten();
                    files.next().map(|entry| entry.path())
                });
                let said = || fs::read_to_string(log).unwrap_or_default();
                let file = file.with_context(|| format!("Postfix said:\n{}", said()))?;
                let text = fs::read(&file)?;
                fs::remove_file(file)?;
                Ok(with_crlf(&text))
            }
        }
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        match self {
            Self::Sink(_) => {}
            Self::Postfix { server, queue, .. } => {
                // The child is a shell, and Postfix's master its child, unless that is the first
                // process of its namespace: only the master ends all that belongs to it.
                let master = fs::read_to_string(queue.join("pid/master.pid")).unwrap_or_default();
                let works_here = |pid: &u32| {
                    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == *queue)
                };
                let master = master.trim().parse().ok().filter(works_here);
                let _ = process::signal(master.unwrap_or(server.id()), Signal::TERM);
                let _ = server.wait();
                // Its services end a moment after it.
                let _ = wait_for("Postfix to end", || (!is_used(queue)).then_some(()));
            }
        }
    }
}

/// Tells whether a process works in `folder` or below it.
fn is_used(folder: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_link(process.path().join("cwd")).ok())
        .any(|cwd| cwd.starts_with(folder))
}

/// Where Debian, and most others, put Postfix's command.
pub const POSTFIX: &str = "/usr/sbin/postfix";

/// The services that every Postfix needs that receives by SMTP, as lines of its `master.cf` (master(5)):
/// what listens, and what delivers, comes beside them.
pub const SERVICES: &str = "\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

/// The service that delivers to a mailbox.
pub const MAILBOX: &str = "virtual unix - n n - - virtual\n";

fn postfix(
    host: &Host,
    address: SocketAddr,
    folder: &Path,
    made: &Made,
) -> anyhow::Result<NextHop> {
    let account = nix::unistd::User::from_name("postfix").ok().flatten();
    let account = account.context("Postfix is installed, but there is no user \"postfix\"")?;
    let owner = (Some(account.uid.as_raw()), Some(account.gid.as_raw()));
    for name in ["etc", "queue", "data", "mail"] {
        fs::create_dir_all(folder.join(name))?;
    }
    for name in ["data", "mail"] {
        std::os::unix::fs::chown(folder.join(name), owner.0, owner.1)?;
    }
    let (etc, at) = (folder.join("etc"), folder.display());
    fs::write(etc.join("chain.pem"), &made.chain)?;
    fs::write(etc.join("key.pem"), &made.key)?;
    let (ip, port) = (address.ip(), address.port());
    let uid = account.uid;
    let gid = account.gid;
    fs::write(
        etc.join("main.cf"),
        format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
             myhostname = hop.example.net\nmydestination =\nmaillog_file = /dev/stdout\n\
             maillog_file_prefixes = /dev/stdout\ninet_interfaces = {ip}\n\
             virtual_mailbox_domains = static:all\nvirtual_mailbox_maps = static:box/\n\
             virtual_mailbox_base = {at}/mail\nvirtual_uid_maps = static:{uid}\n\
             virtual_gid_maps = static:{gid}\nvirtual_minimum_uid = 1\n\
             smtpd_tls_security_level = encrypt\nsmtpd_tls_chain_files = {at}/etc/key.pem, \
             {at}/etc/chain.pem\nsmtpd_relay_restrictions = permit_auth_destination, reject\n\
             smtpd_peername_lookup = no\nnotify_classes =\nalias_maps =\nalias_database =\n\
             biff = no\nlocal_recipient_maps =\n"
        ),
    )?;
    let service = if ip.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    fs::write(
        etc.join("master.cf"),
        format!("{service} inet n - n - - smtpd\n{SERVICES}{MAILBOX}"),
    )?;
    let log = folder.join("log");
    let to_log = fs::File::create(&log)?;
    let mut command = Command::new(POSTFIX);
    command.arg("-c").arg(&etc).arg("start-fg").stdin(Stdio::null());
    command.stdout(to_log.try_clone()?).stderr(to_log);
    let server = host.spawn(&mut command).context("Postfix cannot be started")?;
    let mailbox = folder.join("mail/box/new");
    let queue = folder.join("queue").canonicalize()?;
    let hop = NextHop::Postfix { server, mailbox, log: log.clone(), queue };
    let up = wait_for("Postfix to listen", || {
        host.within(|| std::net::TcpStream::connect_timeout(&address, PATIENCE).ok()).ok().flatten()
    });
    match up {
        Ok(_) => Ok(hop),
        Err(error) => Err(error.context(fs::read_to_string(log).unwrap_or_default())),
    }
}

/// Polls another program's state, which has no event that could be awaited, every 10 ms.
///
/// # Errors
///
/// If `look` finds nothing for 20 seconds; `what` was waited for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Postfix stores lines that end in LF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        whole.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        whole.extend_from_slice(b"\r\n");
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_lines_get_their_crlf_back() {
        assert_eq!(with_crlf(b"a\n\nb\n"), b"a\r\n\r\nb\r\n");
    }
}
