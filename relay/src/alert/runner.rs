//! The process that runs the programs of alerts, and the way to it.
//!
//! The relay itself can execute nothing: what a stranger would have it run once he had taken it over is
//! everything. So a process of its own is started before the relay gives that up, if a channel runs a program.
//! It reads the configuration itself and runs only what that names; the relay says which channel, and what the
//! alert is. It ends with the relay.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::channel::Outcome;
use super::exec;
use super::format::Message;
use crate::config::Config;
use crate::config::alerts::{ChannelKind, Exec};
use crate::event::Event;
use crate::event::alert::Alert;
use crate::event::telling::OWN_ROOM;
use crate::journal::Journal;

/// The word of the command line that starts it.
pub const VERB: &str = "programs";

/// What the kernel runs for it: this program, also after its file was replaced.
const SELF: &str = "/proc/self/exe";

/// The longest line either side says, octets: an alert has bounded texts.
const LINE_MAX: u64 = 256 << 10;

/// Tellings that wait for the way at most; each channel has one at a time.
const WAITING_MAX: usize = 64;

/// Programs that run at once at most: who has taken the relay over can ask for as many as he likes.
const RUNNING_MAX: usize = 32;

/// How long after a program's time limit its outcome is waited for.
const GRACE: Duration = Duration::from_secs(10);

const GONE: &str = "the process that runs programs is gone: restart the relay";

/// What the relay says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    /// The configuration changed.
    Reread,
    /// Run the program of a channel.
    Run(Box<Task>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    number: u64,
    channel: String,
    id: String,
    host: String,
    alert: Alert,
}

/// What the other side answers.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    number: u64,
    outcome: Outcome,
}

/// The other end of a runner that was started. It ends when this is dropped.
#[derive(Debug)]
pub struct Runner(Socket);

impl Runner {
    /// Starts the process, if the configuration names a program to run.
    ///
    /// # Errors
    ///
    /// If there is no process left, or `/proc` is not there.
    pub fn start(config: &Config, file: &Path) -> io::Result<Option<Self>> {
        if !is_wanted(config) {
            return Ok(None);
        }
        let (ours, theirs) = Socket::pair()?;
        let mut command = Command::new(SELF);
        command.arg0("sallyport").arg("--config").arg(file).arg(VERB);
        command.env_clear().stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn()?;
        Ok(Some(Self(ours)))
    }

    /// Begins to speak to it; that it is gone is said in `journal`. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// If the runtime cannot take the socket.
    pub(super) fn attach(self, journal: Journal) -> io::Result<Programs> {
        self.0.set_nonblocking(true)?;
        let stream = UnixStream::from_std(self.0)?;
        let (orders, listen) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            if speak(stream, listen).await.is_err() {
                journal.write(Event::Trouble { room: OWN_ROOM, problem: GONE.to_owned() });
            }
        });
        Ok(Programs { orders })
    }
}

/// Something for the other side, and who waits for it.
type Order = (Word, Option<oneshot::Sender<Outcome>>);

/// The way to the runner. Clones are the same way.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    orders: mpsc::Sender<Order>,
}

impl Programs {
    /// Has the runner read the configuration again.
    pub(super) fn reread(&self) {
        // Where there is no room somebody waits for a program that runs by the configuration of before.
        let _ = self.orders.try_send((Word::Reread, None));
    }

    /// Has the program of a channel run.
    pub(super) async fn run(&self, channel: &str, exec: &Exec, message: Message<'_>) -> Outcome {
        let later = |why: &str| Outcome::Later { why: why.to_owned(), after: None };
        let (answer, answered) = oneshot::channel();
        let task = Task {
            number: 0,
            channel: channel.to_owned(),
            id: message.id.to_owned(),
            host: message.host.to_owned(),
            alert: message.alert.clone(),
        };
        let told = async {
            self.orders.send((Word::Run(Box::new(task)), Some(answer))).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(exec.time_limit + GRACE, told).await {
            Ok(outcome) => outcome.unwrap_or_else(|| later(GONE)),
            Err(_) => later("the process that runs programs does not answer"),
        }
    }
}

/// Carries orders out and outcomes back, until nobody has orders any more.
///
/// # Errors
///
/// If the other side is gone, or says what cannot be read.
async fn speak(stream: UnixStream, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut outcomes = BufReader::new(read);
    let mut line = Vec::new();
    let mut waiting: HashMap<u64, oneshot::Sender<Outcome>> = HashMap::new();
    let mut last = 0;
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((mut word, answer)) = order else { return Ok(()) };
                if let (Word::Run(task), Some(answer)) = (&mut word, answer) {
                    last += 1;
                    task.number = last;
                    waiting.insert(last, answer);
                }
                say(&mut write, &word).await?;
            }
            // What was read of a line stays in `line` if an order comes first.
            heard = hear::<Done>(&mut outcomes, &mut line) => {
                let done = heard?.ok_or(io::ErrorKind::UnexpectedEof)?;
                if let Some(answer) = waiting.remove(&done.number) {
                    let _ = answer.send(done.outcome);
                }
            }
        }
        // Who gave up waiting is not remembered.
        waiting.retain(|_, answer| !answer.is_closed());
    }
}

async fn say<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), what: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Hears one line; nothing at the end.
async fn hear<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<Option<T>> {
    let room = LINE_MAX.saturating_sub(line.len() as u64);
    (&mut *from).take(room).read_until(b'\n', line).await?;
    if line.last() != Some(&b'\n') {
        return if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) };
    }
    let what = serde_json::from_slice(line);
    line.clear();
    Ok(Some(what?))
}

/// Tells whether a channel runs a program.
pub(super) fn is_wanted(config: &Config) -> bool {
    programs(config).next().is_some()
}

fn programs(config: &Config) -> impl Iterator<Item = (&str, &Exec)> {
    config.alerts.channels.iter().filter_map(|channel| match &channel.kind {
        ChannelKind::Exec(exec) => Some((channel.name.as_str(), exec)),
        ChannelKind::Webhook(_) | ChannelKind::Mail(_) => None,
    })
}

/// Is the runner: runs what the configuration in `file` names when the other side of `socket` says so, until
/// that ends; then what runs is killed. Must be called within a runtime.
///
/// # Errors
///
/// If the configuration cannot be read at the start, or `socket` is none.
pub async fn serve(socket: Socket, file: PathBuf) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let (read, mut write) = UnixStream::from_std(socket)?.into_split();
    let mut words = BufReader::new(read);
    let mut line = Vec::new();
    let mut config = read_config(&file)?;
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            heard = hear::<Word>(&mut words, &mut line) => match heard? {
                None => return Ok(()),
                // One that cannot be read leaves the former in force, as in the relay.
                Some(Word::Reread) => config = read_config(&file).unwrap_or(config),
                Some(Word::Run(task)) if running.len() >= RUNNING_MAX => {
                    let why = format!("{RUNNING_MAX} programs run already");
                    let outcome = Outcome::Later { why, after: None };
                    say(&mut write, &Done { number: task.number, outcome }).await?;
                }
                Some(Word::Run(task)) => {
                    let named = programs(&config).find(|(name, _)| *name == task.channel);
                    let exec = named.map(|(_, exec)| exec.clone());
                    running.spawn(run(*task, exec));
                }
            },
            Some(Ok(done)) = running.join_next() => say(&mut write, &done).await?,
        }
    }
}

fn read_config(file: &Path) -> io::Result<Config> {
    let text = std::fs::read_to_string(file)?;
    Config::parse(&text).map_err(|problems| {
        let problem = problems.first().map(ToString::to_string).unwrap_or_default();
        io::Error::other(format!("{}: {problem}", file.display()))
    })
}

async fn run(task: Task, exec: Option<Exec>) -> Done {
    let Task { number, channel, id, host, alert } = task;
    let outcome = match exec {
        Some(exec) => exec::run(&exec, Message { id: &id, host: &host, alert: &alert }).await,
        None => Outcome::Refused(format!("the configuration names no program for {channel}")),
    };
    Done { number, outcome }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::wording::opened;

    /// A runner within this process, for the configuration with this text.
    pub(in super::super) fn within(file: &Path) -> Runner {
        let (ours, theirs) = Socket::pair().unwrap();
        tokio::spawn(serve(theirs, file.to_owned()));
        Runner(ours)
    }

    fn written(command: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(&file, command);
        file
    }

    fn write(file: &tempfile::NamedTempFile, command: &str) {
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n\
             [[alerts.exec]]\nname = 'pager'\ncommand = {command}\n"
        );
        std::fs::write(file, text).unwrap();
    }

    async fn page(programs: &Programs, channel: &str) -> Outcome {
        let alert = opened("host-down", "x").about("r/h").at(jiff::Timestamp::UNIX_EPOCH);
        let message = Message { id: "7-1", host: "relay.example.net", alert: &alert };
        let exec = Exec { command: vec!["/bin/false".into()], time_limit: Duration::from_secs(20) };
        programs.run(channel, &exec, message).await
    }

    #[tokio::test]
    async fn it_runs_what_its_own_configuration_names_and_nothing_that_it_is_told() {
        let file = written("['/bin/sh', '-c', 'exit 0']");
        let programs = within(file.path()).attach(Journal::memory()).unwrap();
        // What the relay believes the program to be is not asked: it may not be itself any more.
        let taken = page(&programs, "pager").await;
        assert!(matches!(&taken, Outcome::Taken(words) if words.contains("/bin/sh")), "{taken:?}");
        let refused = page(&programs, "/bin/true").await;
        assert!(matches!(&refused, Outcome::Refused(why) if why.contains("names no program")));
        write(&file, "['/bin/sh', '-c', 'exit 65']");
        assert!(matches!(page(&programs, "pager").await, Outcome::Taken(_)), "not read again yet");
        programs.reread();
        assert!(matches!(page(&programs, "pager").await, Outcome::Refused(_)));
        std::fs::write(&file, "nonsense").unwrap();
        programs.reread();
        assert!(matches!(page(&programs, "pager").await, Outcome::Refused(_)), "the former counts");
    }

    #[tokio::test]
    async fn one_that_is_gone_is_said() {
        let (ours, theirs) = Socket::pair().unwrap();
        let journal = Journal::memory();
        let programs = Runner(ours).attach(journal.clone()).unwrap();
        drop(theirs);
        let outcome = page(&programs, "pager").await;
        assert!(matches!(&outcome, Outcome::Later { why, .. } if why == GONE), "{outcome:?}");
        programs.orders.closed().await;
        // The task says it after it let go of the orders.
        let said = loop {
            match journal.take().pop() {
                Some(event) => break event,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(matches!(said, Event::Trouble { room: OWN_ROOM, .. }), "{said:?}");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_ends_it() {
        let long = vec![b'x'; LINE_MAX as usize + 1];
        let heard = hear::<Word>(&mut BufReader::new(&long[..]), &mut Vec::new()).await;
        assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn without_a_program_in_the_configuration_none_is_started() {
        let text = "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
                    [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n";
        let config = Config::parse(text).unwrap();
        assert!(Runner::start(&config, Path::new("/nowhere")).unwrap().is_none());
    }
}
