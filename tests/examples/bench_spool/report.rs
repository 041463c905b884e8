//! What was measured, as tables for people.

use std::fmt::Write as _;

use crate::{Measured, SHOWN};
use ::tests::contest::rounds::Load;
use ::tests::contest::servers::Who;

/// Returns the load of a server, if it was measured.
pub fn find<'a>(loads: &'a [Load], row: &str, who: Who) -> Option<&'a Load> {
    loads.iter().find(|load| load.row == row && load.server == who.name())
}

/// Returns what counts of a load: delivered messages where they are delivered, else accepted ones.
pub fn rate(load: &Load) -> f64 {
    load.median.delivered_per_second.unwrap_or(load.median.per_second)
}

/// Returns the tables.
pub fn tables(measured: &Measured) -> String {
    let Measured { kernel, cpus, postfix, flushes, appends, backlog, loads } = measured;
    let beside = postfix.as_ref().map_or_else(
        || "nothing beside: Postfix is not here".to_owned(),
        |version| format!("beside Postfix {version}"),
    );
    let mut text = format!(
        "Linux {kernel}, {cpus} CPUs, {beside}\nOne write of 4 KiB and its flush take {:.0} us (p50). \
         Compare figures of one run.\n\nThe spool alone, every message flushed:\n\n",
        flushes.p50_us
    );
    let _ = writeln!(text, "  octets  producers     msg/s    p50 ms    p99 ms  flushes each");
    for row in appends {
        let _ = writeln!(
            text,
            "{:>8}  {:>9}  {:>8.0}  {:>8.3}  {:>8.3}  {:>12.4}",
            row.size, row.producers, row.per_second, row.p50_ms, row.p99_ms, row.flushes
        );
    }
    let _ = writeln!(
        text,
        "\nWith {} messages in the spool the relay takes clients after {:.0} ms. Each of them takes\n\
         {:.0} octets of its memory, which is {:.1} MiB without any.\n\n\
         Messages a second, STARTTLS and AUTH, accepted or (end to end) delivered:\n",
        backlog.messages,
        backlog.ms,
        backlog.each,
        mebibytes(backlog.alone),
    );
    let _ =
        writeln!(text, "{:<36} {:>10} {:>10} {:>6}  flushes each", "", "sallyport", "Postfix", "x");
    for row in SHOWN {
        let Some(own) = find(loads, row, Who::Sallyport) else { continue };
        let theirs = find(loads, row, Who::Postfix).map(rate);
        let flushes = own.median.flushes.map_or_else(dash, |flushes| format!("{flushes:.3}"));
        let _ = writeln!(
            text,
            "{row:<36} {:>10.0} {:>10} {:>6}  {flushes:>12}",
            rate(own),
            theirs.map_or_else(dash, |rate| format!("{rate:.0}")),
            theirs.map_or_else(dash, |theirs| format!("{:.1}", rate(own) / theirs)),
        );
    }
    text
}

fn dash() -> String {
    "-".to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::alone::{Appends, Flushes};
    use crate::backlog::Backlog;
    use ::tests::contest::figures::Round;

    /// What a run could have brought.
    pub fn measured() -> Measured {
        let mut loads = Vec::new();
        for row in SHOWN {
            for (who, per_second) in [(Who::Sallyport, 5000.0), (Who::Postfix, 1000.0)] {
                let median = Round { per_second, flushes: Some(0.25), ..Round::default() };
                loads.push(Load { row, server: who.name(), median, rounds: Vec::new() });
            }
        }
        let appends = [1, 64].map(|producers| Appends {
            size: 4096,
            producers,
            per_second: 70_000.0,
            p50_ms: 0.5,
            p99_ms: 1.5,
            flushes: 0.0312,
        });
        Measured {
            kernel: "6.18".to_owned(),
            cpus: 2,
            postfix: Some("3.7".to_owned()),
            flushes: Flushes { p50_us: 190.0 },
            appends: appends.into(),
            backlog: Backlog { messages: 1_000_000, ms: 1234.0, alone: 8 << 20, each: 210.4 },
            loads,
        }
    }

    #[test]
    fn the_tables_say_every_figure() {
        let text = tables(&measured());
        for words in [
            "    4096         64     70000     0.500     1.500        0.0312",
            "takes clients after 1234 ms",
            "210 octets of its memory, which is 8.0 MiB without any",
            "64 reused connections                      5000       1000    5.0         0.250",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
