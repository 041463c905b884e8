//! Mail servers of other people as next hops: each in namespaces of its own, ended at a stroke.
//!
//! Every server is set up for the same house: it offers STARTTLS and takes mail without it too, so that what comes in
//! the clear is seen; it knows one login; it refuses `nobody@…` with [`REFUSED`]; it puts `later@…` off with
//! [`PUT_OFF`] until [`Server::open_the_door`]; it takes messages of at most [`SIZE_MAX_BYTES`]. What it accepts lies
//! in a maildir, a file for each recipient.

mod aiosmtpd;
mod exim;
mod postfix;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::cli::tls::Made;
use relay::hosts::Host;
use relay::hosts::process::{Signal, signal};

use crate::need;

pub use aiosmtpd::AIOSMTPD;
pub use exim::EXIM;
pub use postfix::POSTFIX;

/// The name that a server calls itself.
pub const NAME: &str = "hop.example.net";
/// The login that a server knows.
pub const USER: &str = "relay";
/// Its password.
pub const PASSWORD: &str = "a word between houses";
/// What a server says of `nobody@…`: the code, and the words. Some put words of their own between them.
pub const REFUSED: [&str; 2] = ["550 5.1.1", "the house has no such guest"];
/// What a server says of `later@…` until its door is open.
pub const PUT_OFF: [&str; 2] = ["450 4.7.1", "the house does not know you yet"];
/// The largest message that a server takes.
pub const SIZE_MAX_BYTES: usize = 6 << 20;

/// How long a server may take to start, and anything else that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that takes mail.
pub struct Software {
    /// Its name, for people.
    pub name: &'static str,
    /// What a test of it needs, by the names in `xtask/src/tool.rs`.
    pub tools: &'static [&'static str],
    /// The header field that names the recipient of a copy.
    recipient: &'static str,
    /// What its log says when a connection from an address begins, `{}` being the address.
    connected: &'static str,
    /// What its log says when a client uses the extensions that it offers.
    pub marks: &'static [&'static str],
    /// Writes its configuration and returns the command line that runs it in the foreground.
    prepare: fn(&Site) -> Result<Vec<String>>,
}

/// Where a server is to run.
struct Site {
    /// The folder that is its own.
    folder: PathBuf,
    address: SocketAddr,
}

/// A server; dropping it ends it.
pub struct Server {
    /// What runs.
    pub software: &'static Software,
    site: Site,
    host: Host,
    words: Vec<String>,
    running: Option<Child>,
}

/// A message as a server keeps it for one recipient.
#[derive(Debug)]
pub struct Taken {
    /// For whom.
    pub recipient: String,
    /// The server's own number of the message: what was accepted twice has two.
    pub number: String,
    /// The trace header field of the server, unfolded.
    pub trace: String,
    /// The message, its lines ending in CRLF, behind all that the server put in front of it.
    pub text: String,
}

impl Server {
    /// Starts `software` on `address` in `host`, with all its files below `folder`, which must be new. `made` is the
    /// certificate to show. None if the machine lacks it; the test has said so.
    ///
    /// # Errors
    ///
    /// If it cannot be started; what it said is in the error.
    pub fn start(
        software: &'static Software,
        host: Host,
        address: SocketAddr,
        folder: &Path,
        made: &Made,
    ) -> Result<Option<Self>> {
        if software.tools.iter().any(|tool| need::tool(tool).is_none()) {
            return Ok(None);
        }
        fs::create_dir_all(folder.join("etc"))?;
        fs::write(folder.join("etc/chain.pem"), &made.chain)?;
        fs::write(folder.join("etc/key.pem"), &made.key)?;
        let site = Site { folder: folder.canonicalize()?, address };
        let words = (software.prepare)(&site).with_context(|| software.name)?;
        let mut server = Self { software, site, host, words, running: None };
        server.start_again()?;
        Ok(Some(server))
    }

    /// Starts the server with what it kept.
    ///
    /// # Errors
    ///
    /// If it does not take connections within a minute; its log is in the error.
    pub fn start_again(&mut self) -> Result<()> {
        let open =
            OpenOptions::new().create(true).append(true).open(self.site.folder.join("log"))?;
        // Postfix's tools open what they write to once more, as a user of their own.
        open.set_permissions(Permissions::from_mode(0o666))?;
        let mut command = alone(&self.site.folder.join("etc"));
        command.args(&self.words).stdin(Stdio::null()).stdout(open.try_clone()?).stderr(open);
        self.running = Some(self.host.spawn(&mut command)?);
        let address = self.site.address;
        let connect = || TcpStream::connect_timeout(&address, PATIENCE).ok();
        let up = eventually("the server to listen", || Ok(self.host.within(connect)?));
        up.map(drop).with_context(|| self.log())
    }

    /// Ends the server and all its processes at once, as a power cut would.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the server does not run")?;
        // It is the first process of its namespace, whose end is the end of all others and waits for them.
        let first = first_child(running.id()).context("the server has ended by itself")?;
        signal(first, Signal::KILL)?;
        running.wait()?;
        Ok(())
    }

    /// Takes `later@…` from now on.
    ///
    /// # Errors
    ///
    /// If the file that says so cannot be written.
    pub fn open_the_door(&self) -> io::Result<()> {
        File::create(self.site.folder.join("open")).map(drop)
    }

    /// Returns what it has accepted since it was last asked.
    ///
    /// # Errors
    ///
    /// If its mailbox cannot be read, or holds what is no mail.
    pub fn take(&self) -> Result<Vec<Taken>> {
        let Ok(files) = fs::read_dir(self.site.folder.join("mail/box/new")) else {
            return Ok(Vec::new());
        };
        let mut taken = Vec::new();
        for file in files {
            let path = file?.path();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            taken.push(self.read(&text)?);
            fs::remove_file(path)?;
        }
        Ok(taken)
    }

    fn read(&self, text: &str) -> Result<Taken> {
        let mut fields = unfold(text);
        let recipient = fields.find_map(|field| value(&field, self.software.recipient));
        let recipient = recipient.with_context(|| format!("no recipient in:\n{text:.1000}"))?;
        let trace = unfold(text).find_map(|field| value(&field, "Received"));
        let trace = trace.with_context(|| format!("no trace in:\n{text:.1000}"))?;
        let number = word_after(&trace, "id").context("the trace has no id")?.to_owned();
        Ok(Taken { recipient, number, trace, text: text.replace('\n', "\r\n") })
    }

    /// Returns how many connections from `address` it has had.
    #[must_use]
    pub fn connections(&self, address: IpAddr) -> usize {
        self.log().matches(&self.software.connected.replace("{}", &address.to_string())).count()
    }

    /// Returns what it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        let names = ["log", "spool/mainlog", "spool/paniclog"];
        let read = |name| fs::read_to_string(self.site.folder.join(name)).unwrap_or_default();
        names.map(read).concat()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was stopped needs no other end.
        let _ = self.stop();
    }
}

/// Returns the word behind `word` in a trace header field, such as its id.
#[must_use]
pub fn word_after<'a>(trace: &'a str, word: &str) -> Option<&'a str> {
    let mut words = trace.split_whitespace().skip_while(|other| *other != word).skip(1);
    words.next().map(|word| word.trim_end_matches(';'))
}

/// Returns the fields of a header section, unfolded.
pub fn unfold(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.lines().take_while(|line| !line.is_empty()).peekable();
    std::iter::from_fn(move || {
        let mut field = lines.next()?.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            field.push_str(more);
        }
        Some(field)
    })
}

/// Returns the value of a field of this name.
#[must_use]
pub fn value(field: &str, name: &str) -> Option<String> {
    let (own, value) = field.split_once(':')?;
    own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
}

/// Polls the state of other programs, which have no event that could be awaited, every 20 ms.
///
/// # Errors
///
/// If `look` finds nothing for a minute; `what` was waited for. What `look` fails with.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the beginning of a command line that runs a program as the first process of its own process namespace,
/// among mounts of its own. Where `etc` has a list of users or groups, the program reads that.
fn alone(etc: &Path) -> Command {
    let script = "for name in passwd group; do\n\
                  [ ! -e \"$0/$name\" ] || mount --bind \"$0/$name\" \"/etc/$name\" || exit\n\
                  done\nexec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.args(["sh", "-c", script]).arg(etc);
    command
}

/// Returns the child of a process that has one.
fn first_child(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
