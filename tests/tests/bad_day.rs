//! What an operator's verbs do when something is broken: the configuration, or a process that hangs.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use anyhow::{Result, ensure};
use tests::world::program;

/// Writes a configuration whose sockets are in `folder`, with a line in it that is wrong: the fourth.
fn broken(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("sallyport.toml");
    let place = folder.display();
    let text = format!(
        "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n[gate]\nstrikt = true\n\
         interfaces = [\"eth0\"]\nsocket = \"{place}/gate.sock\"\n[relay]\nsocket = \"{place}/relay.sock\"\n\
         [[listener]]\naddress = \"[::]:2525\"\n"
    );
    fs::write(&file, text)?;
    Ok(file)
}

fn sallyport(file: &Path, verb: &str) -> Result<Output> {
    let mut command = Command::new(program()?);
    Ok(command.arg("--config").arg(file).args(verb.split(' ')).output()?)
}

/// Answers every question with `answer`, for as long as the test runs.
fn answering(socket: &Path, answer: &'static str) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        }
    });
    Ok(())
}

#[test]
fn a_mistake_in_the_configuration_keeps_nobody_from_processes_that_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = broken(folder.path())?;
    for socket in ["gate.sock", "relay.sock"] {
        answering(&folder.path().join(socket), "{\"ok\":[]}\n")?;
    }
    for verb in ["allow list --json", "ban list --json", "route list --json"] {
        let Output { status, stdout, stderr } = sallyport(&file, verb)?;
        let (said, warned) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        ensure!(status.code() == Some(0) && said.trim() == "[]", "{verb}: {said}{warned}");
        let wanted =
            format!("WARNING: {}: line 4, column 1: gate.strikt: no such key", file.display());
        ensure!(warned.contains(&wanted), "{verb}: {warned}");
    }
    // What goes by the whole of the file does not go on.
    for verb in ["config show", "config check", "user list", "spool check"] {
        let Output { status, stderr, .. } = sallyport(&file, verb)?;
        let said = String::from_utf8(stderr)?;
        ensure!(status.code() == Some(1) && said.contains("line 4, column 1"), "{verb}: {said}");
    }
    Ok(())
}

#[test]
fn a_process_that_hangs_is_named_within_seconds_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = broken(folder.path())?;
    // The kernel takes callers for a process that is stopped, and nobody answers them.
    let _stopped = UnixListener::bind(folder.path().join("relay.sock"))?;
    let begin = std::time::Instant::now();
    let Output { status, stderr, .. } = sallyport(&file, "alert list")?;
    let said = String::from_utf8(stderr)?;
    ensure!(status.code() == Some(1) && said.contains("the relay hangs"), "{said}");
    ensure!(said.contains("systemctl restart sallyport-relay"), "{said}");
    ensure!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
    Ok(())
}
