//! What it takes to bring a list into the kernel, and what operators wait for.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use relay::demo::stage::{GUARDED, STRANGER};
use relay::demo::steps::attempt;
use relay::gate::bans::Ban;
use relay::gate::clocks::Moment;
use relay::gate::record::Files;
use relay::gate::{Filled, boot_clock_ns};
use relay::hosts::dial::Answer;
use relay_common::addr::{Family, Net};
use serde::Serialize;
use tests::measure::Measure;
use tests::scrape;
use tests::world::World;

use super::lists::{List, rules};
use super::packets::{fill_trie, median};

/// How often an entry is added and its first SYN answered.
const ADDED: usize = 100;
/// How many bans are restored.
const BANS: u32 = 100_000;
/// How often the product starts, with bans and without.
const STARTS: usize = 3;
/// How often the metrics are scraped, and with how many entries in the list.
const SCRAPES: usize = 20;
const LISTED: u32 = 100_000;
/// How many of those have series of their own: what the configuration says by default.
const SERIES: usize = 1_000;
/// How long a connection is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one list took.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// "IPv4" or "IPv6".
    pub family: &'static str,
    /// How many networks the list has.
    pub networks: usize,
    /// Writing the rows of entries, milliseconds.
    pub rows_ms: f64,
    /// Building the list's memory, milliseconds.
    pub list_ms: f64,
    /// Waiting until no CPU used what was in its place, milliseconds.
    pub waited_ms: f64,
    /// Letting it count, milliseconds.
    pub switch_ms: f64,
    /// All of it, milliseconds.
    pub total_ms: f64,
    /// The list's memory, bytes.
    pub bytes: usize,
    /// The same list put into the kernel's trie, network by network, milliseconds.
    pub trie_ms: f64,
}

/// Brings a list into the kernel, and into its trie.
pub fn of_list(
    measure: &mut Measure,
    gate: &mut Filled,
    family: Family,
    list: &List,
) -> Result<Exchange> {
    let wanted = rules(&list.nets);
    let begin = Instant::now();
    gate.fill(&wanted)?;
    let total = begin.elapsed();
    let took = gate.took();
    let trie = fill_trie(measure, family, &list.nets)?;
    Ok(Exchange {
        family: match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        },
        networks: list.nets.len(),
        rows_ms: ms(took.rows),
        list_ms: ms(took.list),
        waited_ms: ms(took.waited),
        switch_ms: ms(took.switch),
        total_ms: ms(total),
        bytes: gate.list_bytes(),
        trie_ms: ms(trie),
    })
}

/// What operators wait for, of the whole product.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "each says its unit")]
pub struct Operating {
    /// From the start of `sallyport allow add` until the entry's first connection stands, milliseconds, the
    /// median of 100.
    pub add_to_connect_ms: f64,
    /// The same, the slowest but one.
    pub add_to_connect_p99_ms: f64,
    /// The part of it that `sallyport` takes to start and say its version.
    pub start_of_command_ms: f64,
    /// From the product's start until it serves, milliseconds.
    pub start_ms: f64,
    /// The same with 100,000 bans to restore.
    pub start_with_bans_ms: f64,
    /// A scrape of the metrics with 100,000 entries in the list, 1,000 of them with series, milliseconds, the median
    /// of 20.
    pub scrape_ms: f64,
    /// The slowest of them.
    pub scrape_max_ms: f64,
}

/// Measures what operators wait for.
pub fn of_operators() -> Result<Operating> {
    let mut world = World::serving()?;
    let mut added = Vec::new();
    let mut begun = Vec::new();
    let stranger = STRANGER.to_string();
    for _ in 0..ADDED {
        let begin = Instant::now();
        world.stage.command(&["--version"])?;
        begun.push(ms(begin.elapsed()));
        let begin = Instant::now();
        world.stage.command(&["allow", "add", &stranger, "--tag", "demo"])?;
        let answer = attempt(&world.stage, STRANGER, GUARDED, PATIENCE)?;
        added.push(ms(begin.elapsed()));
        ensure!(answer == Answer::Connected, "an added source is answered with {answer:?}");
        world.stage.command(&["allow", "remove", &stranger])?;
    }
    added.sort_by(f64::total_cmp);
    let mut start = || -> Result<f64> {
        let times = (0..STARTS).map(|_| {
            world.stage.stop()?;
            let begin = Instant::now();
            world.stage.start()?;
            Ok(ms(begin.elapsed()))
        });
        Ok(median(times.collect::<Result<Vec<_>>>()?.into_iter()))
    };
    let start_ms = start()?;
    let now = Moment { wall: jiff::Timestamp::now(), boot_ns: boot_clock_ns() };
    let bans = (0..BANS).map(|number| Ban {
        net: Net::from(IpAddr::from((0x0a00_0000 + number * 8).to_be_bytes())),
        until_ns: now.after(Duration::from_secs(3_600)),
        note: None,
        uid: 0,
        at: now.wall,
        repeats: 0,
    });
    let bans: Vec<Ban> = bans.collect();
    // The gate writes its file when it changes; a product that starts again reads this one.
    Files::within(&world.folder.path().join("gate")).save_bans(bans.iter(), [].iter(), now)?;
    let start_with_bans_ms = start()?;
    let kept = world.stage.listing(&["ban", "list"])?;
    let kept = kept["bans"].as_array().or(kept.as_array()).map_or(0, Vec::len);
    ensure!(kept == BANS as usize, "{kept} bans of {BANS} came back");
    let scrapes = scrapes()?;
    Ok(Operating {
        add_to_connect_ms: median(added.iter().copied()),
        add_to_connect_p99_ms: added[added.len() - 2],
        start_of_command_ms: median(begun.into_iter()),
        start_ms,
        start_with_bans_ms,
        scrape_ms: median(scrapes.iter().copied()),
        scrape_max_ms: scrapes.into_iter().fold(0.0, f64::max),
    })
}

/// Measures scrapes of a large list, milliseconds each.
fn scrapes() -> Result<Vec<f64>> {
    let world = scrape::telling(SERIES)?;
    scrape::list(&world, LISTED)?;
    let scrape = |_| -> Result<f64> {
        let begin = Instant::now();
        let (head, text) = scrape::page(&world.stage, "/metrics")?;
        let took = ms(begin.elapsed());
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let told = format!("\nsallyport_gate_entries{{tag=\"\"}} {LISTED}\n");
        ensure!(text.contains(&told), "{text}");
        Ok(took)
    };
    (0..SCRAPES).map(scrape).collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
