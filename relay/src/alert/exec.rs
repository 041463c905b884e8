//! Tells by running a program: no shell, the alert as JSON on its standard input, a few variables, a time limit.
//!
//! It runs as the relay's user, in the process beside the relay ([`super::runner`]), and so with what keeps both
//! from harm, as the unit does, and without what the relay shuts itself in. The group of processes that it leads
//! is killed when its time is over.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::channel::Outcome;
use super::format::{Message, plain};
use crate::config::alerts::Exec;
use crate::smtp::answer::printable;

/// How much of what the program says on standard error is told, octets.
const WORDS_MAX: usize = 200;

/// How long its last words are waited for after its end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Where programs are looked for that the program runs.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program. Exit code 0 means that it took the alert, 65 (EX_DATAERR, sysexits.h(3)) that it never
/// will.
pub(super) async fn run(exec: &Exec, message: Message<'_>) -> Outcome {
    let later = |why: String| Outcome::Later { why, after: None };
    let Some((program, arguments)) = exec.command.split_first() else {
        return Outcome::Refused("no program is named".to_owned());
    };
    let alert = message.alert;
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH)
        .env("SALLYPORT_ID", message.id)
        .env("SALLYPORT_HOST", message.host)
        .env("SALLYPORT_CLASS", &alert.class)
        .env("SALLYPORT_KEY", alert.key())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return later(format!("{program} cannot be run: {error}")),
    };
    let mut group = Group::of(&child);
    let input = plain(message).to_string();
    let attended = tokio::time::timeout(exec.time_limit, attend(&mut child, input)).await;
    if attended.is_err() {
        group.kill();
        // Killed, it ends at once.
        let _ = child.wait().await;
    }
    // Its number may be another's by now.
    group.forget();
    match attended {
        Ok(Ok((status, _))) if status.success() => Outcome::Taken(format!("{program}: {status}")),
        Ok(Ok((status, words))) if status.code() == Some(65) => {
            Outcome::Refused(format!("{program}: {status} {words}"))
        }
        Ok(Ok((status, words))) => later(format!("{program}: {status} {words}")),
        Ok(Err(error)) => later(format!("{program}: {error}")),
        Err(_) => later(format!("{program} took longer than its time-limit and was killed")),
    }
}

/// The processes of a program: killed when this is dropped, for instance because the relay ends.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Hands the alert over and waits for the end; returns it with the first words on standard error.
async fn attend(child: &mut Child, input: String) -> std::io::Result<(ExitStatus, String)> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read it may take the alert by its variables.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let mut words = Vec::new();
    let read = async {
        let Some(mut stderr) = stderr else { return };
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            let room = WORDS_MAX.saturating_sub(words.len());
            words.extend_from_slice(&piece[..length.min(room)]);
        }
    };
    let status = {
        let mut streams = std::pin::pin!(async { tokio::join!(write, read) });
        tokio::select! {
            status = child.wait() => {
                // What it left running may hold its standard error open: its own end counts.
                let _ = tokio::time::timeout(LAST_WORDS, &mut streams).await;
                status?
            }
            _ = &mut streams => child.wait().await?,
        }
    };
    Ok((status, printable(words.trim_ascii(), WORDS_MAX)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::event::wording::opened;

    async fn run_shell(script: &str, limit: Duration) -> Outcome {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let alert = opened("host-down", "x").about("r/h").at(jiff::Timestamp::UNIX_EPOCH);
        let message = Message { id: "7-1", host: "relay.example.net", alert: &alert };
        run(&Exec { command, time_limit: limit }, message).await
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_program_gets_the_alert_and_its_exit_code_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("got");
        let script = format!("cat > {0}; env | sort >> {0}", file.display());
        let outcome = run_shell(&script, LIMIT).await;
        assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
        let got = std::fs::read_to_string(&file).unwrap();
        assert!(got.contains("\"key\":\"host-down/r/h\""), "{got}");
        assert!(got.contains("SALLYPORT_KEY=host-down/r/h") && !got.contains("HOME="), "{got}");
        let Outcome::Later { why, .. } = run_shell("echo no >&2; exit 3", LIMIT).await else {
            panic!("it failed")
        };
        assert!(why.contains("exit status: 3 no"), "{why}");
        assert!(matches!(run_shell("exit 65", LIMIT).await, Outcome::Refused(_)));
        let folder = Exec { command: vec!["/nowhere/x".into()], time_limit: LIMIT };
        let alert = opened("x", "x").at(jiff::Timestamp::UNIX_EPOCH);
        let message = Message { id: "1", host: "h", alert: &alert };
        assert!(matches!(run(&folder, message).await, Outcome::Later { .. }));
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let script = format!("sleep 600 & echo $! > {}; yes >&2; wait", file.display());
        let began = Instant::now();
        let outcome = run_shell(&script, Duration::from_secs(1)).await;
        assert!(began.elapsed() < LIMIT);
        assert!(matches!(&outcome, Outcome::Later { why, .. } if why.contains("was killed")));
        let child = std::fs::read_to_string(&file).unwrap();
        let status = Path::new("/proc").join(child.trim()).join("stat");
        let gone = async {
            // A killed orphan stays a zombie until it is waited for by whoever inherits it.
            while std::fs::read_to_string(&status).is_ok_and(|text| !text.contains(") Z")) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("the child was killed too");
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_does_not_hold_the_alert() {
        let began = Instant::now();
        let outcome = run_shell("sleep 5 & exit 0", LIMIT).await;
        assert!(matches!(outcome, Outcome::Taken(_)), "{outcome:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
