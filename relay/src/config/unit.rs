//! Values with a unit, as written in the configuration: `"5m"`, `"50MiB"`, `"600/min"`.
//!
//! Each function turns one written value into a meant one, or says what was expected.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use toml::de::{DeFloat, DeInteger, DeValue};

use super::{AddressPattern, NextHop, Pin, Rate, SenderPattern};
use crate::smtp::address::is_domain;
use crate::smtp::parameter::Priority;

type Meant<T> = Result<T, Cow<'static, str>>;

/// The longest duration that is taken: a year.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a string.
pub(super) fn text<'a>(value: &'a DeValue<'_>) -> Meant<&'a str> {
    value.as_str().ok_or_else(|| format!("expected a string, found {}", value.type_str()).into())
}

/// Reads a string of 1 to `max` octets without control characters.
pub(super) fn short(max: usize) -> impl Fn(&DeValue<'_>) -> Meant<String> {
    move |value| {
        let text = text(value)?;
        if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
            return Err(format!("expected 1 to {max} printable octets").into());
        }
        Ok(text.to_owned())
    }
}

/// Reads `true` or `false`.
pub(super) fn truth(value: &DeValue<'_>) -> Meant<bool> {
    value.as_bool().ok_or_else(|| "expected true or false".into())
}

/// Reads a whole number within `range`.
pub(super) fn count(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Meant<u64> {
    move |value| {
        let written = value.as_integer().ok_or_else(|| {
            Cow::from(format!("expected a whole number, found {}", value.type_str()))
        })?;
        let number = u64::from_str_radix(written.as_str(), written.radix()).ok();
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            format!("{} is not within {low} to {high}", written.as_str()).into()
        })
    }
}

/// Reads a priority of mail.
pub(super) fn priority(value: &DeValue<'_>) -> Meant<Priority> {
    let written = value.as_integer().ok_or("expected a whole number within -9 to 9")?;
    let number = i8::from_str_radix(written.as_str(), written.radix()).ok();
    let priority = number.and_then(|number| Priority::try_from(number).ok());
    priority.ok_or_else(|| format!("{} is not within -9 to 9", written.as_str()).into())
}

/// Reads a number within `range`, whole or not.
pub(super) fn number(range: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Meant<f64> {
    move |value| {
        let written = value
            .as_float()
            .map(DeFloat::as_str)
            .or_else(|| value.as_integer().map(DeInteger::as_str))
            .ok_or("expected a number")?;
        let number = written.parse::<f64>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!("{written} is not within {} to {}", range.start(), range.end()).into()
        })
    }
}

/// Reads one of the words of a table.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Meant<T> {
    move |value| {
        let written = text(value)?;
        let found = words.iter().find(|(word, _)| *word == written);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("expected {}", list.join(" or ")).into()
        })
    }
}

/// Reads what its own type can read, for instance an address.
pub(super) fn parsed<T>(value: &DeValue<'_>) -> Meant<T>
where
    T: FromStr,
    T::Err: Display,
{
    text(value)?.parse().map_err(|error: T::Err| error.to_string().into())
}

/// Reads an address and port to listen on.
pub(super) fn socket(value: &DeValue<'_>) -> Meant<SocketAddr> {
    let wanted = "expected an address and a port, as in \"[::]:2525\" or \"192.0.2.1:2525\"";
    text(value)?.parse().map_err(|_| wanted.into())
}

/// Reads an absolute path.
pub(super) fn path(value: &DeValue<'_>) -> Meant<PathBuf> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() { Ok(path) } else { Err("expected an absolute path".into()) }
}

/// Reads a host name: labels of letters, digits and hyphens.
pub(super) fn domain(value: &DeValue<'_>) -> Meant<String> {
    let written = text(value)?;
    let last = written.rsplit('.').next().unwrap_or_default();
    if is_domain(written) && !last.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(written.to_ascii_lowercase())
    } else {
        Err("expected a domain name, as in \"relay.example.net\"".into())
    }
}

/// Reads the name or the address that a certificate must be for.
pub(super) fn server_name(value: &DeValue<'_>) -> Meant<String> {
    let written = text(value)?;
    if is_domain(written) || written.parse::<std::net::IpAddr>().is_ok() {
        Ok(written.to_ascii_lowercase())
    } else {
        Err("expected the name in the certificate, as in \"smtp.example.net\"".into())
    }
}

/// Reads the pin of a public key.
pub(super) fn pin(value: &DeValue<'_>) -> Meant<Pin> {
    Pin::read(text(value)?).ok_or_else(|| {
        "expected \"sha256:\" and the SHA-256 digest of the public key in base64 (44 characters)"
            .into()
    })
}

/// Reads a network whose host bits are zero. A mapped IPv4 network becomes IPv4.
pub(super) fn cidr(value: &DeValue<'_>) -> Meant<IpNetwork> {
    network(text(value)?).map_err(Cow::from)
}

/// Reads a network as [`cidr`] does, from plain text; used by the command line too.
///
/// # Errors
///
/// Says what is wrong with the text and, where host bits are set, which network was meant.
pub fn network(written: &str) -> Result<IpNetwork, String> {
    let network: IpNetwork = written.parse().map_err(|_| {
        format!("\"{written}\" is no network: write 192.0.2.0/24 or 2001:db8::/32, or one address")
    })?;
    let network = match network {
        IpNetwork::V6(v6) if v6.prefix() >= 96 => v6
            .ip()
            .to_ipv4_mapped()
            .and_then(|v4| IpNetwork::new(v4.into(), v6.prefix() - 96).ok())
            .unwrap_or(network),
        IpNetwork::V4(_) | IpNetwork::V6(_) => network,
    };
    if network.ip() != network.network() {
        let (meant, bits) = (network.network(), network.prefix());
        return Err(format!("{written} has host bits set: write {meant}/{bits}"));
    }
    Ok(network)
}

/// Reads a duration: a number and one of `ms`, `s`, `m`, `h`, `d`.
pub(super) fn duration(value: &DeValue<'_>) -> Meant<Duration> {
    time(text(value)?).map_err(Cow::from)
}

/// Reads a duration from plain text; used by the command line too.
///
/// # Errors
///
/// Says how a duration is written.
pub fn time(written: &str) -> Result<Duration, String> {
    let wanted = || format!("\"{written}\" is no duration: write 500ms, 30s, 5m, 8h or 7d");
    let (number, unit) = split_unit(written).ok_or_else(wanted)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wanted()),
    };
    let duration = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wanted)?;
    if duration > DURATION_MAX {
        return Err(format!("{written} is longer than a year"));
    }
    Ok(duration)
}

/// Writes a duration as [`time`] reads it, in whole seconds at the finest.
#[must_use]
pub fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit =
        units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

/// Reads a size in octets: a number and one of `B`, `KiB`, `MiB`, `GiB`.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Meant<u64> {
    move |value| {
        let written = text(value)?;
        let wanted = "expected a size, as in \"64KiB\", \"50MiB\" or \"1GiB\"";
        let (number, unit) = split_unit(written).ok_or(wanted)?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wanted.into()),
        };
        let octets = number.checked_mul(1 << shift).filter(|octets| range.contains(octets));
        octets.ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            format!("{written} is not within {low} to {high} octets").into()
        })
    }
}

/// Reads a rate: a number, `/`, and one of `s`, `min`, `h`, `d`.
pub(super) fn rate(value: &DeValue<'_>) -> Meant<Rate> {
    rate_text(text(value)?).map_err(Cow::from)
}

/// Reads a rate over an hour or a day.
pub(super) fn quota(value: &DeValue<'_>) -> Meant<Rate> {
    let quota = rate(value)?;
    if quota.per < Duration::from_secs(3600) {
        return Err("a quota is for an hour or a day, as in \"1000/h\" or \"20000/d\"".into());
    }
    Ok(quota)
}

/// Reads a rate from plain text; used by lists of entries too.
///
/// # Errors
///
/// Says how a rate is written.
pub fn rate_text(written: &str) -> Result<Rate, String> {
    let wanted = "expected a rate, as in \"10/s\", \"600/min\", \"1000/h\" or \"20000/d\"";
    let (count, per) = written.split_once('/').ok_or(wanted)?;
    let seconds = match per {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wanted.into()),
    };
    let count = count.parse().ok().filter(|count| (1..=1_000_000).contains(count));
    let count = count.ok_or("a rate counts 1 to 1000000 per time")?;
    Ok(Rate { count, per: Duration::from_secs(seconds) })
}

/// Reads a next hop: `host:port`, an IPv6 address in brackets.
pub(super) fn next_hop(value: &DeValue<'_>) -> Meant<NextHop> {
    let wanted =
        "expected a host and a port, as in \"smtp.example.net:587\" or \"[2001:db8::1]:25\"";
    let (host, port) = text(value)?.rsplit_once(':').ok_or(wanted)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(wanted)?;
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match literal {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
        None if is_domain(host) => host,
        Some(_) | None => return Err(wanted.into()),
    };
    Ok(NextHop { host: host.to_ascii_lowercase(), port })
}

/// Reads a sender pattern: `<>` or what [`address`] reads.
pub(super) fn sender(value: &DeValue<'_>) -> Meant<SenderPattern> {
    let wanted = "expected \"news@example.net\", \"@example.net\", \"*\" or \"<>\"";
    match text(value)? {
        "<>" => Ok(SenderPattern::Null),
        written => pattern(written).map(SenderPattern::Address).ok_or_else(|| wanted.into()),
    }
}

/// Reads a pattern of mailboxes: `*`, `@domain` or a mailbox.
pub(super) fn address(value: &DeValue<'_>) -> Meant<AddressPattern> {
    let wanted = "expected \"news@example.net\", \"@example.net\" or \"*\"";
    pattern(text(value)?).ok_or_else(|| wanted.into())
}

fn pattern(written: &str) -> Option<AddressPattern> {
    match (written, written.strip_prefix('@')) {
        ("*", _) => Some(AddressPattern::Any),
        (_, Some(domain)) => {
            is_domain(domain).then(|| AddressPattern::Domain(domain.to_ascii_lowercase()))
        }
        (_, None) => written.parse().ok().map(AddressPattern::Mailbox),
    }
}

/// Splits `"50MiB"` into 50 and `MiB`.
fn split_unit(written: &str) -> Option<(u64, &str)> {
    let digits = written.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = written.split_at(digits);
    number.parse().ok().map(|number| (number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_the_configuration_does() {
        for (seconds, text) in [(432_000, "5d"), (129_600, "36h"), (90, "90s"), (300, "5m")] {
            assert_eq!(written(Duration::from_secs(seconds)), text);
        }
    }
}
