//! Asks the gate for the bans that clients deserve, one after the other.
//!
//! Slower than the gate grants them. What it refuses is not asked for again: the source deserves
//! another ban soon if it goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::control::attach::{LINE_MAX, PATIENCE};
use crate::control::passing::Lines;
use crate::control::wire::{Answer, Change, GateRequest};
use crate::event::Event;
use crate::gate::bans::Budget;
use crate::journal::Journal;
use crate::net::conduct::WantedBan;

/// What a question takes of our budget, which is as large as the gate's: twice what the gate takes. The gate
/// sees questions later than we do, some by more than others.
const TOKENS: usize = 2;
/// How long it waits before it looks again whether it may ask, or whether the gate is back.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a gate that is away is waited for: a restart takes less.
const ABSENCE: Duration = Duration::from_secs(30);
/// How old a ban may be when it is asked for.
const STALE: Duration = Duration::from_secs(60);
/// How often it is told that bans fail.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why a ban was not granted.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("no answer in time")]
    Silence(#[from] tokio::time::error::Elapsed),
    #[error("not understood: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(String),
}

/// Asks the gate that serves `socket` for every ban that comes, until nobody can want one any more.
pub(super) async fn ask(socket: PathBuf, mut wanted: mpsc::Receiver<WantedBan>, journal: Journal) {
    let (began, mut budget) = (Instant::now(), Budget::default());
    let mut told: Option<Instant> = None;
    while let Some(ban) = wanted.recv().await {
        while !budget.take(TOKENS, began.elapsed()) {
            sleep(PAUSE).await;
        }
        // The gate was away for so long that nobody knows any more how the source behaves now.
        if ban.at.elapsed() > STALE {
            continue;
        }
        match insist(&socket, ban).await {
            Ok(()) => {
                let (net, grounds) = (ban.source.network(), ban.grounds.to_string());
                journal.write(Event::Offender { net, grounds });
            }
            Err(error) if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) => {
                told = Some(Instant::now());
                let problem = format!("a ban was not granted: {error}");
                journal.write(Event::Trouble { room: "relay", problem });
            }
            Err(_) => {}
        }
    }
}

/// Asks for one ban until the gate answers, or has been away for too long.
async fn insist(socket: &Path, ban: WantedBan) -> Result<(), AskError> {
    let began = Instant::now();
    loop {
        match timeout(PATIENCE, exchange(socket, ban)).await? {
            Err(AskError::Socket(_)) if began.elapsed() < ABSENCE => sleep(PAUSE).await,
            answered => return answered,
        }
    }
}

/// A connection for each question: making one takes less than the gate's answer, and an idle one is
/// closed by the gate.
async fn exchange(socket: &Path, ban: WantedBan) -> Result<(), AskError> {
    let mut lines = Lines::new(UnixStream::connect(socket).await?);
    let question = GateRequest::BanAdd {
        networks: vec![ban.source.network()],
        ttl_ms: None,
        note: Some(ban.grounds.to_string()),
    };
    lines.write(&serde_json::to_vec(&question)?, &[]).await?;
    let line = lines.read(LINE_MAX).await?.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
    Answer::<Vec<Change>>::read(&line)?.map(drop).map_err(AskError::Refused)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::caller::{Caller, Trust};
    use crate::control::server::{self, Handler, Said};
    use crate::net::conduct::Conduct;
    use crate::policy::conduct::{AutoBan, Source, Standing};

    /// A gate that grants bans of one client only.
    struct Picky(mpsc::UnboundedSender<GateRequest>);

    impl Handler for Picky {
        type Request = GateRequest;

        async fn answer(
            &self,
            request: GateRequest,
            _: Vec<u8>,
            _: Caller,
        ) -> Result<Said, String> {
            let granted = serde_json::to_string(&request).unwrap().contains("192.0.2.1/32");
            self.0.send(request).unwrap();
            if granted { Said::of(&Vec::<Change>::new()) } else { Err("no".to_owned()) }
        }
    }

    fn fail(conduct: &Conduct, client: [u8; 4]) {
        for number in 0..20 {
            conduct.failed(client.into(), &(number % 5).to_string());
        }
    }

    #[tokio::test]
    async fn every_ban_is_asked_for_and_a_refusal_is_told_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gate.sock");
        let journal = Journal::memory();
        let on = |client| Standing { source: Source::of(client, None), auto_ban: AutoBan::On };
        let (conduct, wanted) = Conduct::new(on);
        let asking = tokio::spawn(ask(socket.clone(), wanted, journal.clone()));
        fail(&conduct, [192, 0, 2, 2]);
        fail(&conduct, [192, 0, 2, 3]);
        fail(&conduct, [192, 0, 2, 1]);
        // The gate comes after the questions.
        let (asked, mut questions) = mpsc::unbounded_channel();
        let trust = Trust { admin_group: None, relay_uid: None, own_uid: 0, hidden_uid: None };
        let listener = server::bind(&socket).unwrap();
        tokio::spawn(server::serve(listener, trust, Arc::new(Picky(asked))));
        drop(conduct);
        asking.await.unwrap();
        let grounds = "20 failed logins over 5 names in 10 minutes".to_owned();
        for client in ["192.0.2.2/32", "192.0.2.3/32", "192.0.2.1/32"] {
            let question = GateRequest::BanAdd {
                networks: vec![client.parse().unwrap()],
                ttl_ms: None,
                note: Some(grounds.clone()),
            };
            assert_eq!(questions.recv().await, Some(question));
        }
        let problem = "a ban was not granted: no".to_owned();
        let net = "192.0.2.1/32".parse().unwrap();
        let told = [Event::Trouble { room: "relay", problem }, Event::Offender { net, grounds }];
        assert_eq!(journal.take(), told);
    }
}
