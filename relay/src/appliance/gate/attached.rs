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
use super::ringing::Ring;
use crate::control::attach::{LINE_MAX, PATIENCE};
use crate::control::passing::{DESCRIPTORS_MAX, Lines};
use crate::control::wire::{Answer, Notice, Word};

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
    ring: &Ring,
    jobs: &SyncSender<Job>,
) -> io::Result<()> {
    let mut lines = Lines::new(stream);
    // What is told from here on is newer than what is handed over.
    let mut told = *bulletin.borrow_and_update();
    timeout(PATIENCE, hand_over(&mut lines, shows, &listeners)).await??;
    tell(&mut lines, &[Word::Notice(notice(told.service))]).await?;
    let (mut newest, mut rung) = (ring.subscribe(), 0);
    loop {
        newest.mark_unchanged();
        let alerts = ring.after(rung);
        rung = alerts.last().map_or(rung, |last| last.number);
        let alerts: Vec<Word> =
            alerts.into_iter().map(|alert| Word::Alert(Box::new(alert))).collect();
        tell(&mut lines, &alerts).await?;
        tokio::select! {
            changed = bulletin.changed() => if changed.is_err() { return Ok(()) },
            changed = newest.changed() => if changed.is_err() { return Ok(()) },
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
        let notices: Vec<Word> = service.into_iter().chain(lists).map(Word::Notice).collect();
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

async fn tell(lines: &mut Lines, words: &[Word]) -> io::Result<()> {
    for word in words {
        let line = serde_json::to_vec(word)?;
        // What the relay would not read whole would cost the connection.
        if line.len() < LINE_MAX {
            timeout(PATIENCE, lines.write(&line, &[])).await??;
        }
    }
    Ok(())
}
