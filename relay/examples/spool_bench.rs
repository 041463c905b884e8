//! Measures the spool alone: durable commits of 4 KiB messages by several producers at a time,
//! and the way out (claim, read, settle) with the log full.
//!
//! ```text
//! cargo run -p relay --release --no-default-features --example spool_bench [FOLDER] [SECONDS]
//! ```
//!
//! The folder's file system is what is measured; it must be empty or absent, and is removed. The
//! last line is the time of one bare write and flush, to compare machines and hours.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures that people read, of counts far below 2^52"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay::config;
use relay::mail::envelope::{Body, Envelope, Terms};
use relay::mail::outcome::{Fate, Outcome};
use relay::smtp::address::ReversePath;
use relay::spool::Spool;

const SIZES: [usize; 2] = [4 << 10, 100 << 10];
const PRODUCERS: [usize; 4] = [1, 16, 64, 256];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder =
        arguments.next().map_or_else(|| PathBuf::from("target/spool-bench"), PathBuf::from);
    let seconds = arguments.next().map_or(2.0, |text| text.parse().expect("seconds as a number"));
    let time = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("octets  producers     msg/s    p50 us    p99 us  flushes/msg  log octets/octet");
    for size in SIZES {
        for producers in PRODUCERS {
            let config = fresh(&folder);
            runtime.block_on(commits(&config, size, producers, time));
        }
    }
    let config = fresh(&folder);
    runtime.block_on(way_out(&config, 20_000, 16));
    flushes(&folder, 500);
    fs::remove_dir_all(&folder).expect("the folder is ours");
}

fn fresh(folder: &Path) -> config::Spool {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("the folder is ours");
    }
    config::Spool { path: folder.to_owned(), reserve_bytes: 256 << 20, messages: 10_000_000 }
}

fn envelope() -> Envelope {
    Envelope {
        sender: ReversePath::Mailbox("a@example.com".parse().expect("an address")),
        recipients: vec!["b@example.net".parse().expect("an address")],
        body: Body::SevenBit,
        login: Some("app".to_owned()),
        tag: Some("billing".to_owned()),
        source: Some("192.0.2.1".parse().expect("an address")),
        received_at: jiff::Timestamp::now(),
        terms: Terms::default(),
    }
}

fn open(config: &config::Spool) -> Arc<Spool> {
    Arc::new(Spool::open(config, |event| eprintln!("{event:?}")).expect("the spool opens"))
}

/// Commits messages for `time` and prints a row.
async fn commits(config: &config::Spool, size: usize, producers: usize, time: Duration) {
    let spool = open(config);
    let body: Arc<[u8]> = (0..size).map(|place| (place % 251) as u8).collect();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|_| {
            let (spool, body) = (Arc::clone(&spool), Arc::clone(&body));
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while begun.elapsed() < time {
                    let asked = Instant::now();
                    let mut draft = spool.draft(envelope()).expect("there is room");
                    draft.append(&body).await;
                    draft.commit().await.expect("the disk works");
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.expect("no producer panics"));
    }
    let elapsed = begun.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: f64| waits[(waits.len() as f64 * share) as usize].as_micros();
    let status = spool.status().expect("the file system answers");
    let per_second = waits.len() as f64 / elapsed;
    let flushes = status.flushes as f64 / status.commits as f64;
    let growth = status.log_bytes as f64 / status.body_bytes as f64;
    println!(
        "{size:>6}  {producers:>9}  {per_second:>8.0}  {:>8}  {:>8}  {flushes:>11.4}  {growth:>16.3}",
        at(0.5),
        at(0.99),
    );
}

/// Delivers `count` messages by `workers` and prints how fast, then how fast they are read back.
async fn way_out(config: &config::Spool, count: usize, workers: usize) {
    let spool = open(config);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let spool = Arc::clone(&spool);
            tokio::spawn(async move {
                for _ in 0..count.div_ceil(64) {
                    let mut draft = spool.draft(envelope()).expect("there is room");
                    draft.append(&[b'x'; 4096]).await;
                    draft.commit().await.expect("the disk works");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no producer panics");
    }
    drop(spool);
    let begun = Instant::now();
    let spool = open(config);
    let status = spool.status().expect("the file system answers");
    println!("reopened {} messages in {} ms", status.messages, begun.elapsed().as_millis());
    let (begun, left) = (Instant::now(), status.messages.div_ceil(workers));
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let spool = Arc::clone(&spool);
            tokio::spawn(async move {
                for _ in 0..left {
                    // The last workers may find nothing more.
                    let claimed = tokio::time::timeout(Duration::from_millis(100), spool.claim());
                    let Ok(claim) = claimed.await else { return };
                    let mut body = claim.body();
                    while body.read_chunk().await.expect("the disk works").is_some() {}
                    let outcomes = claim.pending().iter().map(|recipient| Outcome {
                        recipient: recipient.clone(),
                        fate: Fate::Delivered,
                        next_hop: "mx.example.net:25".to_owned(),
                        reply: "250 2.0.0 ok".to_owned(),
                    });
                    let outcomes = outcomes.collect();
                    spool.settle(claim, outcomes).await.expect("the disk works");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no worker panics");
    }
    let per_second = status.messages as f64 / begun.elapsed().as_secs_f64();
    let after = spool.status().expect("the file system answers");
    println!(
        "claim, read and settle by {workers}: {per_second:.0} msg/s; then {} messages, {} octets of log",
        after.messages, after.log_bytes
    );
}

/// Prints the median of bare appends of 4 KiB, each flushed.
fn flushes(folder: &Path, count: usize) {
    let path = folder.join("bare");
    let mut file = fs::File::create(&path).expect("a file");
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[0; 4096]).expect("the disk works");
            file.sync_data().expect("the disk works");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("one write of 4 KiB and its flush: {} us (median)", times[count / 2].as_micros());
}
