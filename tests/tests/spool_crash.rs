//! A process with an open spool is killed at random moments under load. Whatever it said was
//! committed is there afterwards with the right bytes, and what it said was settled is not. What is
//! submitted again gets the id of the first, since a crash hides whether its client was told.
//!
//! SIGKILL shows the order of writing and telling; that flushed octets survive a loss of power is
//! shown on the simulated disk (`relay/src/spool/simulation.rs`).
//!
//! `SPOOL_CRASH_ROUNDS` and `SPOOL_CRASH_SEED` change how long and with what numbers it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use relay::config;
use relay::event::Event;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::fingerprint::{Arguments, Fingerprint, Text};
use relay::mail::message::MessageId;
use relay::mail::outcome::{Fate, Outcome};
use relay::smtp::address::ReversePath;
use relay::spool::{Claim, Spool, StoreError};

/// The folder of the spool, for the child.
const FOLDER: &str = "SPOOL_CRASH_FOLDER";
/// The numbers of one run.
const SEED: &str = "SPOOL_CRASH_SEED";
/// How often the child is killed.
const ROUNDS: &str = "SPOOL_CRASH_ROUNDS";
/// Tasks of the child that commit, and that claim and settle.
const PRODUCERS: u64 = 8;
const WORKERS: u64 = 4;
/// The most messages that the child lets pile up: the parent reads them all after each round.
const PILE: usize = 400;
/// How many of a round's messages are submitted again.
const AGAIN: usize = 20;

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// The body that belongs to a key: mostly short, now and then of several parts.
fn body(key: u64) -> Vec<u8> {
    let mut dice = Dice(key);
    let most = if dice.roll(20) == 0 { 900 << 10 } else { 12 << 10 };
    let length = dice.roll(most);
    (0..length).map(|place| (place.wrapping_mul(key | 1) >> 7) as u8).collect()
}

fn envelope(key: u64) -> Envelope {
    let sender = format!("{key}@example.com").parse().expect("an address");
    Envelope {
        sender: ReversePath::Mailbox(sender),
        recipients: vec!["b@example.net".parse().expect("an address")],
        body: Body::EightBit,
        login: None,
        tag: None,
        source: Some("192.0.2.1".parse().expect("an address")),
        received_at: jiff::Timestamp::UNIX_EPOCH,
        terms: Terms::default(),
        came: None,
        trace: None,
    }
}

/// What the submission of this key is known by.
fn fingerprint(key: u64) -> Fingerprint {
    let mut text = Text::default();
    text.add(&key.to_le_bytes());
    text.finish(Some("app"), Arguments::of_mail(b"FROM:<>"))
}

async fn submit(spool: &Spool, key: u64) -> Result<MessageId, StoreError> {
    let mut draft = spool.draft(envelope(key)).expect("there is room");
    for piece in body(key).chunks(10_000) {
        draft.append(piece).await;
    }
    draft.commit_once(fingerprint(key)).await
}

fn open(folder: &Path) -> Spool {
    let config = config::Spool { path: folder.to_owned(), reserve_bytes: 0, messages: 1_000_000 };
    let report = |event| assert!(!matches!(event, Event::SpoolDamaged { .. }), "{event:?}");
    Spool::open(&config, report).expect("the spool opens")
}

/// Reads a claimed message and compares it with what its sender says it must be.
async fn has_its_bytes(claim: &Claim) -> bool {
    let sender = claim.envelope().sender.mailbox().expect("a sender");
    let key: u64 = sender.local().parse().expect("a key");
    let (mut reader, mut read) = (claim.body(), Vec::new());
    while let Some(chunk) = reader.read_chunk().await.expect("what was committed can be read") {
        read.extend(chunk);
    }
    read == body(key) && *claim.envelope() == envelope(key)
}

#[test]
#[ignore = "the child of the test below, which starts it and kills it"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let seed: u64 = std::env::var(SEED).expect("a seed").parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let spool = Arc::new(open(Path::new(&folder)));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..PRODUCERS {
            tasks.spawn(produce(Arc::clone(&spool), Dice(seed ^ number << 32)));
        }
        for number in 0..WORKERS {
            tasks.spawn(work(Arc::clone(&spool), Dice(!seed ^ number << 32)));
        }
        // None of them ends but by a panic.
        let ended = tasks.join_next().await;
        println!("FAILED {ended:?}");
        std::process::exit(1);
    });
}

async fn produce(spool: Arc<Spool>, mut dice: Dice) {
    loop {
        if spool.status().expect("the folder answers").messages > PILE {
            tokio::task::yield_now().await;
            continue;
        }
        let key = dice.roll(u64::MAX);
        if dice.roll(20) == 0 {
            // One that is given up.
            let mut draft = spool.draft(envelope(key)).expect("there is room");
            draft.append(&body(key)).await;
            continue;
        }
        let id = submit(&spool, key).await.expect("the disk works");
        println!("committed {id} {key} .");
        if dice.roll(4) > 0 {
            spool.confirm(id);
        }
    }
}

async fn work(spool: Arc<Spool>, mut dice: Dice) {
    loop {
        let claim = spool.claim().await;
        let id = claim.id();
        if !has_its_bytes(&claim).await {
            println!("FAILED {id} has other bytes");
            std::process::exit(1);
        }
        let fate = match dice.roll(4) {
            0 => Fate::Deferred(Duration::from_millis(dice.roll(50))),
            1 => Fate::Failed,
            _ => Fate::Delivered,
        };
        let is_end = !matches!(fate, Fate::Deferred(_));
        let recipient = claim.pending()[0].clone();
        let outcome = Outcome { recipient, fate, next_hop: String::new(), reply: "ok".to_owned() };
        if is_end {
            println!("settling {id}");
        }
        spool.settle(claim, vec![outcome]).await.expect("the disk works");
        if is_end {
            println!("settled {id}");
        }
    }
}

/// What the child said in all rounds so far.
#[derive(Default)]
struct Said {
    committed: BTreeSet<MessageId>,
    settling: BTreeSet<MessageId>,
    settled: BTreeSet<MessageId>,
    /// The keys of what was committed in this round.
    keys: BTreeMap<MessageId, u64>,
}

impl Said {
    /// Takes a line down; the last one may be cut off by the end of the child: its dot is missing.
    fn hear(&mut self, line: &str) {
        assert!(!line.starts_with("FAILED"), "{line}");
        let words: Vec<_> = line.split(' ').collect();
        let Some(Ok(id)) = words.get(1).map(|id| id.parse()) else { return };
        match (words[0], words.get(2).map(|key| key.parse())) {
            ("committed", Some(Ok(key))) if words.last() == Some(&".") => {
                self.committed.insert(id);
                self.keys.insert(id, key);
            }
            ("settling", None) => drop(self.settling.insert(id)),
            ("settled", None) => drop(self.settled.insert(id)),
            _ => {}
        }
    }
}

fn spawn(folder: &Path, seed: u64) -> (Child, Lines<BufReader<ChildStdout>>) {
    let program = std::env::current_exe().expect("the program of this test");
    let mut command = Command::new(program);
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).env(SEED, seed.to_string());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a child");
    let output = child.stdout.take().expect("its output is a pipe");
    (child, BufReader::new(output).lines())
}

/// Reads back everything that is in the spool; each message must have its bytes. What was committed
/// under `keys` is submitted again, in part: it must be known.
fn read_back(folder: &Path, keys: &BTreeMap<MessageId, u64>) -> BTreeSet<MessageId> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let spool = open(folder);
        let status = spool.status().expect("the folder answers");
        assert_eq!(status.damaged, 0);
        for (id, key) in keys.iter().rev().take(AGAIN) {
            assert_eq!(submit(&spool, *key).await, Err(StoreError::Repeat(*id)), "{id} again");
        }
        for id in keys.keys() {
            spool.confirm(*id);
        }
        spool.retry_all().await.expect("there are threads");
        let mut held = BTreeMap::new();
        for _ in 0..status.messages {
            let claim = spool.claim().await;
            assert!(has_its_bytes(&claim).await, "{} has other bytes", claim.id());
            held.insert(claim.id(), claim);
        }
        held.into_keys().collect()
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let (seed, rounds) = (number(SEED).unwrap_or(now), number(ROUNDS).unwrap_or(10));
    println!("{SEED}={seed} {ROUNDS}={rounds}");
    let begun = Instant::now();
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("spool");
    let (mut dice, mut said) = (Dice(seed), Said::default());
    for round in 0..rounds {
        let (mut child, mut lines) = spawn(&folder, dice.roll(u64::MAX));
        // Mostly soon: it is the kill that counts. Now and then the log grows first.
        let moment = 1 + if dice.roll(20) == 0 { dice.roll(1500) } else { dice.roll(100) };
        for line in lines.by_ref().take(moment as usize) {
            said.hear(&line.expect("the child speaks UTF-8"));
        }
        child.kill().expect("the child lives");
        for line in lines.map_while(Result::ok) {
            said.hear(&line);
        }
        child.wait().expect("the child ends");
        let found = read_back(&folder, &std::mem::take(&mut said.keys));
        let lost: Vec<_> = said.committed.difference(&found).collect();
        let lost: Vec<_> = lost.into_iter().filter(|id| !said.settling.contains(id)).collect();
        assert!(lost.is_empty(), "round {round}: committed and gone: {lost:?}");
        let back: Vec<_> = said.settled.intersection(&found).collect();
        assert!(back.is_empty(), "round {round}: settled and back: {back:?}");
        // What was being settled is there or gone, and stays so.
        said.settled.extend(said.settling.difference(&found));
        said.settling.clear();
        said.committed = found;
    }
    println!("{rounds} kills in {:?}", begun.elapsed());
    assert!(!said.settled.is_empty() || !said.committed.is_empty(), "the child did something");
}
