//! The start with many messages in the spool, and what they take of memory.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::Result;
use serde::Serialize;

use crate::alone;
use ::tests::contest::product::{NOBODY, Product, settle_disk};
use ::tests::contest::servers::ratio;

/// Our start with many messages in the spool.
#[derive(Debug, Serialize)]
pub struct Backlog {
    /// Messages in the spool.
    pub messages: u64,
    /// Until a client could connect, milliseconds.
    pub ms: f64,
    /// The relay with an empty spool, bytes.
    pub alone: u64,
    /// For each message, bytes.
    pub each: f64,
}

/// Measures the relay without messages, then its start with `count` of them: as it was stopped in order
/// with a log that lies in memory, as after a restart of the process.
pub fn measure(product: &mut Product, count: u64) -> Result<Backlog> {
    product.start()?;
    let alone = product.pss()?;
    product.kill()?;
    let folder = product.folder.join("spool");
    fs::remove_dir_all(&folder)?;
    alone::fill(&folder, count)?;
    for file in fs::read_dir(&folder)? {
        chown(file?.path(), Some(NOBODY), Some(NOBODY))?;
    }
    settle_disk();
    let took = product.start_again()?;
    let (messages, with) = (product.spool("messages")?, product.pss()?);
    product.kill()?;
    let each = ratio(with.saturating_sub(alone), messages);
    Ok(Backlog { messages, ms: took.as_secs_f64() * 1e3, alone, each })
}
