//! Ports that the system gives to outgoing connections. With a guarded one among them the gate would now and then
//! drop the answers to a connection of the host's own: to the gate they are a stranger's segments.

use std::fs;
use std::ops::RangeInclusive;

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Says which of the guarded ports the system may give to outgoing connections, and the remedy; none if it
/// gives none of them away, or does not say.
#[must_use]
pub fn problem(guarded: &[u16]) -> Option<String> {
    let read = |path| fs::read_to_string(path).ok();
    let given = given(&read(RANGE)?, &read(RESERVED).unwrap_or_default(), guarded);
    (!given.is_empty()).then(|| {
        let ports = given.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        format!(
            "the system may give the guarded port {ports} to a connection of its own, whose answers would be \
             dropped; sysctl net.ipv4.ip_local_reserved_ports={ports}"
        )
    })
}

/// Returns those of `guarded` in the range (two numbers) and not among the reserved (`8080,9000-9010`).
fn given(range: &str, reserved: &str, guarded: &[u16]) -> Vec<u16> {
    let mut ends = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else { return Vec::new() };
    let reserved: Vec<RangeInclusive<u16>> = reserved.trim().split(',').filter_map(ports).collect();
    let is_given = |port: &&u16| {
        (first..=last).contains(*port) && !reserved.iter().any(|some| some.contains(*port))
    };
    guarded.iter().filter(is_given).copied().collect()
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_port_that_the_system_gives_away_is_found_unless_it_is_reserved() {
        let usual = "32768\t60999\n";
        assert_eq!(given(usual, "\n", &[25, 2525]), [0_u16; 0]);
        assert_eq!(given("1024\t65535\n", "", &[25, 2525, 2526]), [2525, 2526]);
        assert_eq!(given("1024 65535", "2525,8000-9000\n", &[2525, 2526, 8025]), [2526]);
        assert_eq!(given("1024 65535", "2000-3000", &[2525]), [0_u16; 0]);
        for nonsense in ["", "x", "1024", "9 x", "70000 80000"] {
            assert_eq!(given(nonsense, "-,,x-,5-", &[2525]), [0_u16; 0], "{nonsense:?}");
        }
    }
}
