//! The spool without a session before it: durable commits by several producers at a time.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use relay::config;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::fingerprint::{Arguments, Text};
use relay::smtp::address::ReversePath;
use relay::spool::Spool;
use serde::Serialize;
use tokio::task::JoinSet;

use ::tests::contest::figures::percentile;

const SIZES: [usize; 2] = [4 << 10, 100 << 10];
const PRODUCERS: [usize; 4] = [1, 16, 64, 256];
/// How long each row runs.
const TIME: Duration = Duration::from_secs(2);
/// Bare flushes, of a record with a message each.
const FLUSHES: u32 = 500;

/// One row.
#[derive(Debug, Serialize)]
pub struct Appends {
    /// Octets of a message.
    pub size: usize,
    /// Producers at a time, each in a closed loop.
    pub producers: usize,
    /// Commits that ended, a second.
    pub per_second: f64,
    /// How long half of them took at most, milliseconds.
    pub p50_ms: f64,
    /// The same of 99 in 100.
    pub p99_ms: f64,
    /// Flushes for each message.
    pub flushes: f64,
}

/// What the disk takes for one write of 4 KiB and its flush, microseconds.
#[derive(Debug, Serialize)]
pub struct Flushes {
    /// Half of them took no longer.
    pub p50_us: f64,
}

/// Measures the disk by itself.
pub fn flushes(folder: &Path) -> Result<Flushes> {
    let path = folder.join("bare");
    let mut file = fs::File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..FLUSHES {
        let begun = Instant::now();
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    fs::remove_file(path)?;
    Ok(Flushes { p50_us: percentile(&took, 500).as_secs_f64() * 1e6 })
}

/// Measures every size with every number of producers, each on a spool of its own in `folder`.
pub fn appends(folder: &Path) -> Result<Vec<Appends>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut rows = Vec::new();
    for size in SIZES {
        for producers in PRODUCERS {
            eprintln!("bench: the spool alone: {size} octets, {producers} producers");
            rows.push(runtime.block_on(row(folder, size, producers))?);
            fs::remove_dir_all(folder)?;
            rustix::fs::sync();
        }
    }
    Ok(rows)
}

/// Fills a spool with messages of 4 KiB that wait for a next hop which says nothing.
pub fn fill(folder: &Path, messages: u64) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (spool, numbers) = (open(folder)?, Arc::new(AtomicU64::new(0)));
        let body: Arc<[u8]> = vec![b'x'; SIZES[0]].into();
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let (spool, numbers, body) = (spool.clone(), numbers.clone(), body.clone());
            tasks.spawn(async move {
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if number >= messages {
                        return anyhow::Ok(());
                    }
                    commit(&spool, number, &body).await?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    })
}

fn open(folder: &Path) -> Result<Arc<Spool>> {
    let config =
        config::Spool { path: folder.to_owned(), reserve_bytes: 256 << 20, messages: 10_000_000 };
    Ok(Arc::new(Spool::open(&config, |event| eprintln!("bench: {event:?}"))?))
}

/// As many logins take turns: one may take a quarter of the spool at most.
const LOGINS: u64 = 8;

fn envelope(number: u64) -> Result<Envelope> {
    Ok(Envelope {
        sender: ReversePath::Mailbox("billing@example.net".parse()?),
        recipients: vec!["customer@held.example".parse()?],
        body: Body::SevenBit,
        login: Some(format!("app-{}", number % LOGINS)),
        tag: Some("billing".to_owned()),
        source: Some("192.0.2.1".parse()?),
        received_at: jiff::Timestamp::now(),
        terms: Terms::default(),
        came: None,
        trace: None,
    })
}

/// Commits one message as a session does, and confirms it as its client does.
async fn commit(spool: &Spool, number: u64, body: &[u8]) -> Result<()> {
    let mut text = Text::default();
    text.add(&number.to_le_bytes());
    let fingerprint = text.finish(Some(::tests::contest::LOGIN), Arguments::of_mail(b"FROM:<>"));
    let mut draft = spool.draft(envelope(number)?)?;
    draft.append(body).await;
    let id = draft.commit_once(fingerprint).await?;
    spool.confirm(id);
    Ok(())
}

async fn row(folder: &Path, size: usize, producers: usize) -> Result<Appends> {
    let spool = open(folder)?;
    let body: Arc<[u8]> = vec![b'x'; size].into();
    let numbers = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..producers {
        let (spool, numbers, body) = (spool.clone(), numbers.clone(), body.clone());
        tasks.spawn(async move {
            let mut took = Vec::new();
            while begun.elapsed() < TIME {
                let asked = Instant::now();
                commit(&spool, numbers.fetch_add(1, Ordering::Relaxed), &body).await?;
                took.push(asked.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done??);
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    let status = spool.status()?;
    let count = f64::from(u32::try_from(took.len()).context("a count")?);
    let flushes = f64::from(u32::try_from(status.flushes).context("a count")?);
    let ms = |per_mille| percentile(&took, per_mille).as_secs_f64() * 1e3;
    Ok(Appends {
        size,
        producers,
        per_second: count / elapsed.as_secs_f64(),
        p50_ms: ms(500),
        p99_ms: ms(990),
        flushes: flushes / count,
    })
}
