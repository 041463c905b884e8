//! aiosmtpd, a mail server in Python: no pipelining, no chunks.

use std::fs;

use anyhow::Result;

use super::{NAME, PASSWORD, PUT_OFF, REFUSED, SIZE_MAX_BYTES, Site, Software, USER};

/// aiosmtpd.
pub const AIOSMTPD: Software = Software {
    name: "aiosmtpd",
    tools: &["aiosmtpd"],
    recipient: "Envelope-To",
    connected: "connect from {}\n",
    marks: &[],
    prepare,
};

const SCRIPT: &str = include_str!("aiosmtpd.py");

fn prepare(site: &Site) -> Result<Vec<String>> {
    let (at, address) = (site.folder.display().to_string(), site.address);
    let script = site.folder.join("etc/server.py");
    fs::write(&script, SCRIPT)?;
    let mut words = vec!["/usr/bin/python3".to_owned(), script.display().to_string(), at];
    words.extend([address.ip().to_string(), address.port().to_string()]);
    words.extend([NAME, USER, PASSWORD].map(str::to_owned));
    words.extend([REFUSED, PUT_OFF].map(|words| words.join(" ")));
    words.push(SIZE_MAX_BYTES.to_string());
    Ok(words)
}
