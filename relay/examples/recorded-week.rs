//! Writes a recorded week of a host with day and night, weekends, noise and bad weather, as the gate records it:
//! 6,048,000 samples, one each 100 ms, some 100 MB. `sallyport alert replay` must find nothing in it. The same seed
//! gives the same week; on standard output:
//!
//! ```sh
//! cargo run --release -p relay --example recorded-week -- SEED > week.txt
//! sallyport alert replay week.txt
//! ```

use std::io::{BufWriter, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use relay::watch::distinct::SOURCE_WINDOWS;
use relay::watch::series::{HEAD, Writer};
use relay::watch::{Sample, TICK, Told};

#[path = "../src/watch/samples/world.rs"]
mod world;

/// A week.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn main() -> Result<()> {
    let seed = std::env::args().nth(1).context("say the seed, a number that is not 0")?;
    let mut world = world::World::new(seed.parse().context(seed.clone())?);
    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(out, "{HEAD}")?;
    let (mut writer, mut text) = (Writer::default(), String::new());
    while world.now.at < WEEK {
        world.pass(TICK, world::Extra::default());
        writer.write(&world.now, &mut text);
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    Ok(out.flush()?)
}
