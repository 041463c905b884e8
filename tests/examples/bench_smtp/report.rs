//! What was measured, as tables for people.

use std::fmt::Write as _;

use crate::Measured;
use ::tests::contest::load::{WARM_UP, WINDOW};
use ::tests::contest::rounds::Load;
use ::tests::contest::servers::Memory;
use ::tests::contest::servers::Who;

/// Returns the tables.
pub fn tables(measured: &Measured) -> String {
    let mut text = String::new();
    let Measured { kernel, cpus, postfix, tls, memory, start, .. } = measured;
    let rounds = measured.loads.first().map_or(0, |load| load.rounds.len());
    let beside = postfix.as_ref().map_or_else(
        || "nothing beside: Postfix is not here (Debian's postfix, sasl2-bin)".to_owned(),
        |version| format!("beside Postfix {version}"),
    );
    let _ = writeln!(text, "Linux {kernel}, {cpus} CPUs, {beside}");
    let _ = writeln!(
        text,
        "The generator (one thread) and the server share the CPUs. Closed loop, {} ms of warm-up, {} ms counted;\n\
         the servers take turns; the median of {rounds} rounds. Messages have 4 KiB, commands are pipelined\n\
         unless said. Absolute figures move from hour to hour: compare those of one run.",
        WARM_UP.as_millis(),
        WINDOW.as_millis(),
    );
    for (server, words) in tls {
        let _ = writeln!(text, "{server}: {words}");
    }
    throughput(&mut text, measured);
    latency(&mut text, measured);
    let _ = writeln!(text, "\nMemory of idle sessions, and of the server before them:\n");
    row(&mut text, "sessions", "server", ["how many", "KiB each", "MiB before"].map(str::to_owned));
    for Memory { server, sessions, count, alone, each } in memory {
        let before = format!("{:.1}", mebibytes(*alone));
        let cells = [count.to_string(), format!("{:.1}", each / 1024.0), before];
        row(&mut text, sessions, server, cells);
    }
    let _ = writeln!(
        text,
        "\nsallyport starts in {:.0} ms after a crash with {} messages in the spool.",
        start.ms, start.messages
    );
    text
}

fn throughput(text: &mut String, measured: &Measured) {
    let _ =
        writeln!(text, "\nMessages or sessions a second; `x` is sallyport's share of Postfix's:\n");
    let [ours, theirs, clear] = Who::ALL.map(Who::name);
    let heads =
        [ours, theirs, "x", "no TLS or login", "x", "delivered", "by Postfix", "flushes each"];
    row(text, "load", "", heads.map(str::to_owned));
    for own in measured.loads.iter().filter(|load| load.server == ours) {
        let of = |server| find(measured, own.row, server);
        let rate = |load: Option<&Load>| load.map(|load| load.median.per_second);
        let delivered =
            |load: Option<&Load>| load.and_then(|load| load.median.delivered_per_second);
        let times = |other: Option<f64>| {
            other.map_or_else(dash, |other| format!("{:.1}", own.median.per_second / other))
        };
        let (theirs, clear) = (of(theirs), of(clear));
        let cells = [
            whole(rate(Some(own))),
            whole(rate(theirs)),
            times(rate(theirs)),
            whole(rate(clear)),
            times(rate(clear)),
            whole(delivered(Some(own))),
            whole(delivered(theirs)),
            own.median.flushes.map_or_else(dash, |flushes| format!("{flushes:.3}")),
        ];
        row(text, own.row, "", cells);
    }
}

fn latency(text: &mut String, measured: &Measured) {
    let _ = writeln!(
        text,
        "\nFrom the first octet of an operation to its last reply, milliseconds; the server's CPU time for each,\n\
         microseconds; errors of all rounds:\n"
    );
    let heads = ["p50", "p99", "p99.9", "CPU", "resumed", "errors"];
    row(text, "load", "server", heads.map(str::to_owned));
    for Load { row: name, server, median, .. } in &measured.loads {
        let cells = [
            format!("{:.2}", median.p50_ms),
            format!("{:.2}", median.p99_ms),
            format!("{:.2}", median.p999_ms),
            format!("{:.0}", median.cpu_us),
            format!("{:.0} %", median.resumed * 100.0),
            format!("{:.0}", median.errors),
        ];
        row(text, name, server, cells);
    }
}

/// Returns the load of a row and a server.
pub fn find<'a>(measured: &'a Measured, row: &str, server: &str) -> Option<&'a Load> {
    measured.loads.iter().find(|load| load.row == row && load.server == server)
}

fn whole(figure: Option<f64>) -> String {
    figure.map_or_else(dash, |figure| format!("{figure:.0}"))
}

fn dash() -> String {
    "-".to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn row<const CELLS: usize>(text: &mut String, first: &str, second: &str, cells: [String; CELLS]) {
    let _ = write!(text, "{first:<40} {second:<24}");
    for cell in cells {
        let _ = write!(text, " {cell:>15}");
    }
    text.push('\n');
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ::tests::contest::figures::Round;
    use ::tests::contest::rows::{ONE_SESSION, ROWS};
    use ::tests::contest::servers::Start;

    /// Returns figures of every row, twice as good for us.
    pub fn measured() -> Measured {
        let mut loads = Vec::new();
        for row in ROWS {
            for (who, per_second) in Who::ALL.into_iter().zip([2000.0, 1000.0, 1250.0]) {
                let median = Round {
                    per_second,
                    p50_ms: 0.5,
                    p99_ms: 3.0,
                    p999_ms: 9.0,
                    ..Round::default()
                };
                loads.push(Load {
                    row: row.name,
                    server: who.name(),
                    rounds: vec![median.clone()],
                    median,
                });
            }
        }
        Measured {
            kernel: "6.18.0".to_owned(),
            cpus: 2,
            postfix: Some("3.7.11".to_owned()),
            tls: Vec::new(),
            loads,
            memory: vec![Memory {
                server: Who::Sallyport.name(),
                sessions: "idle",
                count: 1000,
                alone: 8 << 20,
                each: 2048.0,
            }],
            start: Start { messages: 10_000, ms: 120.0 },
        }
    }

    fn cells<'a>(text: &'a str, row: &str) -> Vec<&'a str> {
        let line = text.lines().find(|line| line.starts_with(&format!("{row}  "))).unwrap();
        line[40..].split_whitespace().collect()
    }

    #[test]
    fn a_row_shows_both_servers_and_their_ratio() {
        let text = tables(&measured());
        assert_eq!(
            cells(&text, ONE_SESSION),
            ["2000", "1000", "2.0", "1250", "1.6", "-", "-", "-"]
        );
        assert_eq!(cells(&text, "idle"), ["sallyport", "1000", "2.0", "8.0"]);
        assert!(text.contains("2 CPUs, beside Postfix 3.7.11"), "{text}");
    }

    #[test]
    fn without_postfix_the_rest_is_shown() {
        let mut alone = measured();
        alone.loads.retain(|load| load.server == Who::Sallyport.name());
        alone.postfix = None;
        let text = tables(&alone);
        assert_eq!(cells(&text, ONE_SESSION), ["2000", "-", "-", "-", "-", "-", "-", "-"]);
        assert!(text.contains("Postfix is not here"), "{text}");
    }
}
