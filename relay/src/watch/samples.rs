//! Samples for tests.

use std::time::Duration;

use jiff::Timestamp;

pub use self::world::net;

use super::distinct::SOURCE_WINDOWS;
use super::memory::Record;
use super::{Sample, TICK, Told, Watch};
use crate::config;

/// A host at work.
pub mod world;

/// The settings that the tests judge by.
pub fn settings() -> config::Spikes {
    config::Spikes {
        floor_per_second: 50,
        sources_per_second: 5,
        connections_per_second: 20,
        forged_per_second: 20,
        logins_per_second: 5,
        deviations: 6.0,
        quiet: Duration::from_secs(30),
        record_bytes: 0,
    }
}

/// Returns a moment so many ticks after the start of a week.
pub fn tick(ticks: u32) -> (Duration, Timestamp) {
    let at = TICK * ticks;
    (at, Timestamp::UNIX_EPOCH + at)
}

/// Returns a watch to which so many refusals a second are usual in every hour and window.
pub fn accustomed(per_second: f32) -> Watch {
    let level = (per_second, per_second / 20.0, 10_800.0);
    let hours = (0..168).map(|hour| (hour, [level; 4])).collect();
    let mut watch = Watch::new(settings());
    let class = "spike-refused".to_owned();
    watch.recall([Record::Hours { class, hours, high: Vec::new() }]);
    watch
}

/// Returns a watch that has seen two hours of an entry's connections and of refusals.
pub fn busy_hour() -> Watch {
    let mut watch = Watch::new(settings());
    for second in 1..7_300 {
        let (at, wall) = tick(second * 10);
        let count = u64::from(second);
        let told = Some(Told { completed: count * 3, failed_logins: 0 });
        let completed = vec![(net(7), 3)];
        let (refused, admitted) = (count * 2, count * 3);
        watch.take(&Sample { refused, admitted, told, completed, ..Sample::new(at, wall) });
    }
    watch
}

/// Returns a watch in which spikes of so many refused networks are open, and one of an entry.
pub fn many_spikes(networks: u32) -> Watch {
    let mut watch = Watch::new(settings());
    for second in 1..4_u32 {
        let (at, wall) = tick(second * 10);
        let loud = (0..networks).map(|number| (net(number), 6_000)).collect();
        let completed = vec![(net(1 << 24), 10_000)];
        watch.take(&Sample { loud: Some(loud), completed, ..Sample::new(at, wall) });
    }
    watch
}
