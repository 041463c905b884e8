//! The keys of `[log]` and `[traces]`.

use std::borrow::Cow;

use toml::de::DeValue;

use crate::config::log::{Log, LogFormat, Traces};
use crate::config::raw::Table;
use crate::config::unit;

/// The longest address of a collector, octets.
const ENDPOINT_MAX: usize = 1024;

pub(super) fn log(table: &Table<'_>) -> Log {
    let formats = &[
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    let format = table.or("format", "auto", unit::word(formats));
    let steps = table.or("steps", false, unit::truth);
    table.finish();
    Log { format, steps }
}

pub(super) fn traces(table: &Table<'_>) -> Option<Traces> {
    let endpoint = table.required("endpoint", endpoint);
    let ca_file = table.optional("ca-file", unit::path);
    let authorization_file = table.optional("authorization-file", unit::path);
    table.finish();
    Some(Traces { endpoint: endpoint?, ca_file, authorization_file })
}

/// Reads the address of a collector. It may be in the clear, since most run beside us; a check names one elsewhere.
fn endpoint(value: &DeValue<'_>) -> Result<String, Cow<'static, str>> {
    let written = unit::short(ENDPOINT_MAX)(value)?;
    let rest = ["http://", "https://"].iter().find_map(|scheme| written.strip_prefix(scheme));
    let is_whole = |rest: &str| {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        !host.is_empty() && !host.starts_with(':') && !path.is_empty()
    };
    let is_plain = |rest: &str| {
        rest.bytes().all(|octet| octet.is_ascii_graphic()) && !rest.contains(['@', '#'])
    };
    if rest.is_some_and(|rest| is_whole(rest) && is_plain(rest)) {
        Ok(written)
    } else {
        Err("expected an address with its path, as in \"http://127.0.0.1:4318/v1/traces\"".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &str) -> Result<Config, String> {
        let shipped = include_str!("../../../../config/smarthost.toml");
        Config::parse(&format!("{shipped}\n{lines}"))
            .map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn a_line_looks_as_the_file_says_and_by_itself_as_it_suits() {
        for (row, lines, log) in [
            ("nothing said", "", Log { format: LogFormat::Auto, steps: false }),
            (
                "all said",
                "[log]\nformat = 'json'\nsteps = true",
                Log { format: LogFormat::Json, steps: true },
            ),
        ] {
            assert_eq!(read(lines).unwrap().log, log, "{row}");
        }
        let problem = read("[log]\nformat = 'xml'").unwrap_err();
        assert!(problem.contains("journald"), "{problem}");
    }

    #[test]
    fn a_collector_is_named_with_its_path_and_without_a_password() {
        assert_eq!(read("").unwrap().traces, None);
        for endpoint in ["http://127.0.0.1:4318/v1/traces", "https://otel.example.net/v1/traces"] {
            let traces = read(&format!("[traces]\nendpoint = '{endpoint}'")).unwrap().traces;
            assert_eq!(traces.unwrap().endpoint, endpoint);
        }
        let named = "ca-file = '/etc/ca.pem'\nauthorization-file = '/etc/otel'";
        let traces = read(&format!("[traces]\nendpoint = 'https://a/v1/traces'\n{named}"));
        let traces = traces.unwrap().traces.unwrap();
        assert_eq!(traces.ca_file.unwrap(), std::path::Path::new("/etc/ca.pem"));
        assert_eq!(traces.authorization_file.unwrap(), std::path::Path::new("/etc/otel"));
        for endpoint in [
            "127.0.0.1:4318/v1/traces",
            "http://127.0.0.1:4318",
            "http:///v1/traces",
            "http://me:secret@otel.example.net/v1/traces",
            "grpc://127.0.0.1:4317/v1/traces",
        ] {
            let problem = read(&format!("[traces]\nendpoint = '{endpoint}'")).unwrap_err();
            assert!(problem.starts_with("traces.endpoint: expected"), "{endpoint}: {problem}");
        }
    }
}
