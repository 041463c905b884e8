//! Many conversations at once, with next hops to which every message is converted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::*;
use crate::config::{Config, RouteTls};
use crate::delivery::ruling::Ruling;
use crate::delivery::terms::Timeouts;
use crate::mail::envelope::{self, Body, Envelope};
use crate::smtp::address::ReversePath;
use crate::spool::{Claim, Spool};

/// A next hop for lines of 7 bits, which thinks about every message for as long as it is let.
struct Hop {
    budget: &'static Budget,
    /// What the relay said, and was not answered.
    heard: Vec<u8>,
    is_greeted: bool,
    is_in_data: bool,
    /// Gets a word for every message that is whole.
    whole: mpsc::UnboundedSender<()>,
    /// One permit lets one message go.
    goes: Arc<Semaphore>,
    /// How many hops have a message, and how many had at most.
    having: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Hop {
    /// Takes one command or one message out of what was heard; returns the answer.
    async fn answer(&mut self) -> &'static str {
        if !std::mem::replace(&mut self.is_greeted, true) {
            return "220 mx\r\n";
        }
        let end: &[u8] = if self.is_in_data { b"\r\n.\r\n" } else { b"\r\n" };
        let Some(found) = memchr::memmem::find(&self.heard, end) else {
            return std::future::pending().await;
        };
        let said: Vec<u8> = self.heard.drain(..found + end.len()).collect();
        if std::mem::take(&mut self.is_in_data) {
            assert!(said.is_ascii());
            let _ = self.whole.send(());
            self.goes.acquire().await.expect("it is never closed").forget();
            self.having.0.fetch_sub(1, Ordering::SeqCst);
            return "250 taken\r\n";
        }
        match &said[..4] {
            b"DATA" => {
                self.is_in_data = true;
                "354 go on\r\n"
            }
            b"MAIL" => {
                let having = self.having.0.fetch_add(1, Ordering::SeqCst) + 1;
                self.having.1.fetch_max(having, Ordering::SeqCst);
                "250 ok\r\n"
            }
            _ => "250 ok\r\n",
        }
    }
}

impl Wire for Hop {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn piece(&self) -> usize {
        usize::MAX
    }

    fn memory(&self) -> &'static Budget {
        self.budget
    }

    fn is_busy(&self) -> bool {
        false
    }

    async fn obey(&mut self, attempt: &mut Attempt, action: Action) {
        if let Action::Send(octets) = action {
            self.heard.extend_from_slice(&octets);
            attempt.sent(Instant::now());
        }
    }

    async fn exchange(&mut self, attempt: &mut Attempt) {
        let answer = self.answer().await;
        attempt.receive(answer.as_bytes(), Instant::now());
    }

    fn close(&mut self) {}
}

fn terms() -> Terms {
    let minute = Duration::from_secs(60);
    Terms {
        hostname: "relay.example.net".into(),
        tls: RouteTls::None,
        credentials: None,
        timeouts: Timeouts { reply: minute, final_dot: minute, idle: minute, quit: minute },
        messages: 100,
    }
}

/// Returns a claimed message of 8 bits in a spool of its own.
async fn claimed(text: &[u8]) -> (Claim, Spool, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::parse(&format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n[gate]\nrequired = false\n\
         [[listener]]\naddress = '[::1]:2525'\n[[route]]\nname = 'r'\ndefault = true\n\
         hosts = ['localhost:587']\n[spool]\npath = '{}'\nreserve = '0B'\n",
        folder.path().display(),
    ));
    let spool = Spool::open(&config.unwrap().spool, |_| {}).unwrap();
    let envelope = Envelope {
        sender: ReversePath::Null,
        recipients: vec!["a@example.com".parse().unwrap()],
        body: Body::EightBit,
        login: None,
        tag: None,
        source: None,
        received_at: Timestamp::UNIX_EPOCH,
        terms: envelope::Terms::default(),
        came: None,
        trace: None,
    };
    let mut draft = spool.draft(envelope).unwrap();
    draft.append(text).await;
    draft.commit().await.unwrap();
    (spool.claim().await, spool, folder)
}

#[tokio::test]
async fn however_many_lanes_convert_no_more_is_held_than_the_budget() {
    const LANES: usize = 20;
    let text = format!("MIME-Version: 1.0\r\n\r\n{}", "ü and so on\r\n".repeat(10_000));
    let (claim, _spool, _folder) = claimed(text.as_bytes()).await;
    // While a message is converted it takes four times its octets, and once or twice after.
    let size = claim.size_bytes() as u32;
    let budget: &'static Budget = Box::leak(Box::new(Budget::new(size * 6)));
    let whole_budget = budget.free();
    let (whole, mut come) = mpsc::unbounded_channel();
    let (goes, having) = (Arc::new(Semaphore::new(0)), Arc::default());
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let parcel =
            Parcel::new(claim.envelope(), claim.envelope().recipients.clone(), claim.size_bytes());
        let hop = Hop {
            budget,
            heard: Vec::new(),
            is_greeted: false,
            is_in_data: false,
            whole: whole.clone(),
            goes: Arc::clone(&goes),
            having: Arc::clone(&having),
        };
        let body = claim.body();
        lanes.spawn(async move {
            let conversation = Conversation::begin(hop, terms()).await.map_err(drop).unwrap();
            conversation.carry(parcel, body, &Recall::default()).await.judged
        });
    }
    for _ in 0..LANES {
        come.recv().await.unwrap();
        assert!(budget.free() < whole_budget, "what is held is counted");
        goes.add_permits(1);
    }
    while let Some(judged) = lanes.join_next().await {
        assert_eq!(judged.unwrap()[0].ruling, Ruling::Delivered);
    }
    let most = having.1.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} of {LANES} were held at once");
    assert_eq!(budget.free(), whole_budget, "and all is given back");
}
