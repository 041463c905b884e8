//! `[tls.acme]`.

use std::borrow::Cow;

use toml::de::DeValue;

use super::{Section, Table, unit};
use crate::config::Listener;
use crate::config::acme::{Acme, DIRECTORY, NAMES_MAX};

/// The longest address of a directory, octets.
const URL_MAX: usize = 2048;

pub(super) fn acme(table: &Table<'_>, listeners: &[Section<'_, Listener>]) -> Acme {
    let acme = Acme {
        directory: table.or("directory", DIRECTORY, directory),
        ca_file: table.optional("ca-file", unit::path),
        names: table.list_or("names", &[], unit::domain),
        contact: table.optional("contact", unit::parsed),
        address: table.or("address", "[::]:80", unit::socket),
        account: table.or("account", "/etc/sallyport/acme/account.json", unit::path),
    };
    if acme.names.len() > NAMES_MAX {
        table.report("names", &format!("a certificate is for at most {NAMES_MAX} names"));
    }
    if acme.address.port() == 0 {
        table.report("address", "the port must not be 0");
    }
    let mut ports =
        listeners.iter().filter_map(|(_, listener)| Some(listener.as_ref()?.address.port()));
    if ports.any(|port| port == acme.address.port()) {
        // Nobody else could listen there while the relay runs.
        table.report("address", "its port is that of a [[listener]]");
    }
    table.finish();
    acme
}

/// Reads the address of a directory: keys and proofs go there, so it is one of https (RFC 8555, section 6.1).
fn directory(value: &DeValue<'_>) -> Result<String, Cow<'static, str>> {
    let written = unit::short(URL_MAX)(value)?;
    let is_fine = written.strip_prefix("https://").is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && rest.bytes().all(|octet| octet.is_ascii_graphic())
            && !rest.contains(['@', '#'])
    });
    if is_fine {
        Ok(written)
    } else {
        Err(format!("expected an address of https, as in \"{DIRECTORY}\"").into())
    }
}
