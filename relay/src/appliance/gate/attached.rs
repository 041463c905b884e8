//! The gate's end of a relay that attached; the dialogue stands in [`crate::control::attach`].

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::keeper::{Bulletin, Service};
use super::listeners::Listeners;
use super::office::Job;
use crate::control::attach::{LINE_MAX, PATIENCE};
use crate::control::passing::{DESCRIPTORS_MAX, Lines};
use crate::control::wire::{Answer, Notice};

/// Hands the listening sockets over and tells notices until the relay is gone, or until the sockets
/// change: then the relay comes back for the new ones.
///
/// # Errors
///
/// If the relay is silent where it should speak, or the connection fails.
pub async fn attend(
    stream: UnixStream,
    shows: usize,
    listeners: Arc<Mutex<Listeners>>,
    mut bulletin: watch::Receiver<Bulletin>,
    jobs: &SyncSender<Job>,
) -> io::Result<()> {
    let mut lines = Lines::new(stream);
    // What is told from here on is newer than what is handed over.
    let mut told = *bulletin.borrow_and_update();
    timeout(PATIENCE, hand_over(&mut lines, shows, &listeners)).await??;
    let first = [notice(told.service)];
    tell(&mut lines, &first).await?;
    loop {
        tokio::select! {
            changed = bulletin.changed() => if changed.is_err() { return Ok(()) },
            line = lines.read(LINE_MAX) => {
                // The relay says nothing else: anything but a tally is its end.
                let Some(line) = line? else { return Ok(()) };
                let Ok(tally) = serde_json::from_slice(&line) else { return Ok(()) };
                // A keeper who is too busy misses one; the next comes in a tenth of a second.
                let _ = jobs.try_send(Job::Tally(tally));
                continue;
            }
        }
        let now = *bulletin.borrow_and_update();
        if now.listeners != told.listeners {
            return Ok(());
        }
        let service = (now.service != told.service).then(|| notice(now.service));
        let lists = (now.lists != told.lists).then_some(Notice::ListChanged);
        let notices: Vec<Notice> = service.into_iter().chain(lists).collect();
        tell(&mut lines, &notices).await?;
        told = now;
    }
}

const fn notice(service: Service) -> Notice {
    match service {
        Service::Serve => Notice::Serve,
        Service::Refuse => Notice::Refuse,
    }
}

async fn hand_over(
    lines: &mut Lines,
    shows: usize,
    listeners: &Mutex<Listeners>,
) -> io::Result<()> {
    if shows > DESCRIPTORS_MAX {
        let refusal = Answer::<()>::Error(format!("at most {DESCRIPTORS_MAX} sockets"));
        return lines.write(&serde_json::to_vec(&refusal)?, &[]).await;
    }
    if shows > 0 {
        lines.write(&serde_json::to_vec(&Answer::Ok("show"))?, &[]).await?;
        lines.read(LINE_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    let shown = lines.take_descriptors();
    let (handover, sent) = {
        let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.hand_over(shown)?
    };
    let sent: Vec<BorrowedFd<'_>> = sent.iter().map(|socket| socket.as_fd()).collect();
    lines.write(&serde_json::to_vec(&Answer::Ok(handover))?, &sent).await
}

async fn tell(lines: &mut Lines, notices: &[Notice]) -> io::Result<()> {
    for notice in notices {
        timeout(PATIENCE, lines.write(&serde_json::to_vec(notice)?, &[])).await??;
    }
    Ok(())
}
