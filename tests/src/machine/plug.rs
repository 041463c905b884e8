//! The plug is pulled while mail is accepted: what was acknowledged must be there after the next boot.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use relay::hosts::Host;

use super::Machine;
use super::around::{Account, message, session};

/// The clients that send at once.
const CLIENTS: usize = 3;
/// The plug is pulled after so many 250s, with all clients in the middle of something.
const ENOUGH: usize = 20;
/// How long those may take.
const LONG: Duration = Duration::from_secs(180);

/// Sends from several clients until the plug is pulled; returns the subjects that were acknowledged.
///
/// # Errors
///
/// If too few are acknowledged in time, or the machine had gone off by itself.
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
    let Ok(mut session) = session(host, account) else { return };
    for number in 0.. {
        let subject = format!("before the plug {client}-{number};");
        if session.send("billing@example.net", "customer@example.com", &message(&subject)).is_err()
            || told.send(subject).is_err()
        {
            return;
        }
    }
}
