//! What was measured, as tables for people.

use std::fmt::Write as _;

use crate::Measured;
use crate::packets::Cost;

/// Returns the tables.
pub fn tables(measured: &Measured) -> String {
    let mut text = String::new();
    let Measured { kernel, cpus, packets, lists, operators, wire, tables_bytes } = measured;
    let _ = writeln!(text, "Linux {kernel}, {cpus} CPUs\n");
    let _ = writeln!(
        text,
        "Nanoseconds of a frame, beyond a program that passes everything; another of"
    );
    let _ = writeln!(text, "65,536 sources in every frame:\n");
    let mut sizes: Vec<usize> = lists.iter().map(|list| list.networks).collect();
    sizes.sort_unstable();
    sizes.dedup();
    row(&mut text, "program", "frame", sizes.iter().map(|size| format!("{size} networks")));
    for (program, frame) in kinds(packets) {
        let cells = sizes.iter().map(|size| {
            let cost = packets.iter().find(|cost| {
                cost.program == program && cost.frame == frame && cost.networks == *size
            });
            cost.map_or_else(|| "-".to_owned(), |cost| format!("{:.1}", cost.net_ns))
        });
        row(&mut text, program, frame, cells);
    }
    let _ = writeln!(
        text,
        "\nA list exchanged whole: what it took, milliseconds, and its memory, bytes:\n"
    );
    let heads = ["rows", "memory", "waited", "switch", "all", "bytes", "trie, one by one"];
    row(&mut text, "family", "networks", heads.into_iter().map(str::to_owned));
    for list in lists {
        let cells = [
            format!("{:.1}", list.rows_ms),
            format!("{:.1}", list.list_ms),
            format!("{:.1}", list.waited_ms),
            format!("{:.4}", list.switch_ms),
            format!("{:.1}", list.total_ms),
            list.bytes.to_string(),
            format!("{:.1}", list.trie_ms),
        ];
        row(&mut text, list.family, &list.networks.to_string(), cells.into_iter());
    }
    let _ = writeln!(text, "\nTables besides the lists: {tables_bytes} bytes");
    let _ = writeln!(text, "\nFrames over a wire (veth), 10,000 networks:\n");
    let heads = ["ns a drop", "flood/s", "clients", "connected", "median ms", "p99 ms"];
    row(&mut text, "firewall", "", heads.into_iter().map(str::to_owned));
    for drops in wire {
        let mut cells = vec![format!("{:.0}", drops.ns)];
        if let Some(through) = &drops.through {
            cells.extend([
                format!("{:.0}", through.flood_per_second),
                through.tried.to_string(),
                format!("{:.4}", through.connected),
                format!("{:.2}", through.median_ms),
                format!("{:.2}", through.p99_ms),
            ]);
        }
        row(&mut text, drops.firewall, "", cells.into_iter());
    }
    let _ = writeln!(text, "\nWhat operators wait for, milliseconds:\n");
    for (what, ms) in [
        (
            "`allow add` until its first connection stands, median of 100",
            operators.add_to_connect_ms,
        ),
        ("the same, 99 of 100", operators.add_to_connect_p99_ms),
        ("of that: `sallyport` starts and says its version", operators.start_of_command_ms),
        ("start until both processes serve", operators.start_ms),
        ("the same with 100,000 bans to restore", operators.start_with_bans_ms),
        ("a scrape of the metrics with 100,000 entries, median of 20", operators.scrape_ms),
        ("the slowest of them", operators.scrape_max_ms),
    ] {
        let _ = writeln!(text, "{ms:>9.1}  {what}");
    }
    text
}

/// Returns each program with each of its frames, in the order in which they were measured.
fn kinds(packets: &[Cost]) -> Vec<(&str, &str)> {
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for Cost { program, frame, .. } in packets {
        if !kinds.contains(&(program.as_str(), frame.as_str())) {
            kinds.push((program, frame));
        }
    }
    kinds
}

fn row(text: &mut String, first: &str, second: &str, cells: impl Iterator<Item = String>) {
    let _ = write!(text, "{first:<25} {second:<23}");
    for cell in cells {
        let _ = write!(text, " {cell:>16}");
    }
    text.push('\n');
}
