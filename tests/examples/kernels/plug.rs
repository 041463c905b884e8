//! The plug is pulled while mail is accepted: what was acknowledged must be there after the next boot.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use relay::demo::sink::Arrived;
use relay::hosts::Host;
use tests::machine::Machine;

use crate::guest::{self, Account, PATIENCE};

/// The clients that send at once.
const CLIENTS: usize = 3;
/// The plug is pulled after so many 250s, with all clients in the middle of something.
const ENOUGH: usize = 20;
/// How long those may take, and what was acknowledged to reach the next hop.
const LONG: Duration = Duration::from_secs(180);

/// Shows that the disks of this machine forget what was not flushed: otherwise a plug proves nothing. It writes
/// two blocks of the second disk, and flushes the first.
pub fn write_on_the_second_disk(machine: &mut Machine) -> Result<()> {
    machine.must("dd if=/dev/urandom of=/tmp/block bs=4k count=1", PATIENCE)?;
    machine.must("dd if=/tmp/block of=/dev/vdb bs=4k count=1 conv=fsync", PATIENCE)?;
    // The last close writes it to the disk, and does not flush.
    machine.must("dd if=/tmp/block of=/dev/vdb bs=4k count=1 seek=16", PATIENCE)?;
    Ok(())
}

/// Returns what became of the two blocks.
///
/// # Errors
///
/// Unless the flushed one is there and the other is not.
pub fn read_from_the_second_disk(machine: &mut Machine) -> Result<()> {
    let mut is_empty = |block: u32| -> Result<bool> {
        let read = format!("dd if=/dev/vdb bs=4k count=1 skip={block} 2>/dev/null");
        let compare = format!("{read} >/tmp/block && cmp -n 4096 /tmp/block /dev/zero");
        Ok(machine.run(&compare, PATIENCE)?.code == 0)
    };
    ensure!(!is_empty(0)?, "the disk forgot a block that was flushed");
    ensure!(
        is_empty(16)?,
        "the disk kept a block that was not flushed: pulling the plug shows nothing"
    );
    Ok(())
}

/// Sends from several clients until the plug is pulled; returns the subjects that were acknowledged.
pub fn pull(machine: Machine, host: &Host, account: &Account) -> Result<Vec<String>> {
    let (told, acknowledged) = mpsc::channel();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let told = told.clone();
            scope.spawn(move || send_on(host, account, client, &told));
        }
        drop(told);
        let first = until(&acknowledged, ENOUGH);
        let pulled = machine.pull_the_plug();
        // The clients end with the machine, whatever they were doing; until then some heard of more.
        let mut subjects = first?;
        subjects.extend(acknowledged.iter());
        pulled?;
        Ok(subjects)
    })
}

fn until(acknowledged: &Receiver<String>, enough: usize) -> Result<Vec<String>> {
    let end = Instant::now() + LONG;
    let mut subjects = Vec::new();
    while subjects.len() < enough {
        let left = end.saturating_duration_since(Instant::now());
        let subject = acknowledged.recv_timeout(left);
        subjects.push(subject.with_context(|| format!("{} were acknowledged", subjects.len()))?);
    }
    Ok(subjects)
}

/// Sends one message after the other, and tells the subject of each that was acknowledged.
fn send_on(host: &Host, account: &Account, client: usize, told: &Sender<String>) {
    let Ok(mut session) = guest::session(host, account) else { return };
    for number in 0.. {
        let subject = format!("before the plug {client}-{number};");
        if session.send("billing@example.net", "customer@example.com", &message(&subject)).is_err()
            || told.send(subject).is_err()
        {
            return;
        }
    }
}

/// Returns a message with a subject, of some kilobytes.
pub fn message(subject: &str) -> Vec<u8> {
    let mut text = format!(
        "From: Billing <billing@example.net>\r\nTo: customer@example.com\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{}@example.net>\r\n\r\n",
        subject.replace([' ', ';'], "-"),
    );
    text.extend(
        (0..100)
            .map(|line| format!("line {line} of a receipt that is long enough to be split\r\n")),
    );
    text.into_bytes()
}

/// Waits until a message with every one of the subjects has arrived; returns how many came more than once.
pub fn all_arrive(arrived: &Receiver<Arrived>, subjects: &[String]) -> Result<usize> {
    let end = Instant::now() + LONG;
    let mut missing: HashSet<&str> = subjects.iter().map(String::as_str).collect();
    let mut again = 0;
    while !missing.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        let message = match arrived.recv_timeout(left) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        };
        let text = String::from_utf8_lossy(&message);
        let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
        let subject = line.context("a message without a subject arrived")?;
        if !missing.remove(subject) && subjects.iter().any(|one| one == subject) {
            again += 1;
        }
    }
    ensure!(missing.is_empty(), "acknowledged, and lost: {missing:?}");
    Ok(again)
}
