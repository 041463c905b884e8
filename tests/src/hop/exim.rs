//! Exim, from Debian's package where it is installed, or from the unpacked package: only one mail server can be
//! installed at a time, and that is Postfix.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::{Context as _, Result};

use super::{NAME, PASSWORD, PUT_OFF, REFUSED, SIZE_MAX_BYTES, Site, Software, USER};
use crate::need;

/// Exim.
pub const EXIM: Software = Software {
    name: "Exim",
    tools: &["exim4"],
    recipient: "Envelope-to",
    connected: "SMTP connection from [{}] (TCP/IP",
    // Pipelined, though not before the greeting; in chunks.
    marks: &[" P=esmtpsa L.", " K "],
    prepare,
};

/// The user that Debian's Exim was built for; no user of the host has the number.
const ACCOUNT: (&str, u32) = ("Debian-exim", 65_533);

fn prepare(site: &Site) -> Result<Vec<String>> {
    let program = need::tool("exim4").context("Exim was here a moment ago")?;
    let (name, number) = ACCOUNT;
    for folder in ["spool", "mail"] {
        fs::create_dir_all(site.folder.join(folder))?;
        chown(site.folder.join(folder), Some(number), Some(number))?;
    }
    let etc = site.folder.join("etc");
    for (list, rest) in [("passwd", format!("{number}::/:/bin/false")), ("group", String::new())] {
        let others = fs::read_to_string(format!("/etc/{list}"))?;
        let mut lines: Vec<&str> = others.lines().collect();
        lines.retain(|line| !line.starts_with(&format!("{name}:")));
        fs::write(etc.join(list), format!("{}\n{name}:x:{number}:{rest}\n", lines.join("\n")))?;
    }
    chown(etc.join("key.pem"), Some(number), Some(number))?;
    let program = program.display().to_string();
    fs::write(etc.join("exim.conf"), configuration(site, &program))?;
    let file = etc.join("exim.conf").display().to_string();
    // A run of its queue at the start takes up what a power cut left.
    Ok([&program, "-C", &file, "-bdf", "-q10m"].map(str::to_owned).to_vec())
}

fn configuration(site: &Site, program: &str) -> String {
    let (at, address) = (site.folder.display(), site.address);
    let (name, _) = ACCOUNT;
    let [refused, put_off] = [REFUSED, PUT_OFF].map(|words| words.join(" "));
    format!(
        "primary_hostname = {NAME}\nexim_path = {program}\nspool_directory = {at}/spool\n\
         log_file_path = {at}/spool/%slog\npid_file_path = {at}/spool/pid\nnotifier_socket =\n\
         local_interfaces = {}.{}\nkeep_environment =\nadd_environment = PATH=/usr/bin:/bin\n\
         never_users =\ndeliver_drop_privilege = true\ntls_advertise_hosts = *\n\
         tls_certificate = {at}/etc/chain.pem\ntls_privatekey = {at}/etc/key.pem\n\
         message_size_limit = {SIZE_MAX_BYTES}\nsmtp_accept_queue_per_connection = 0\n\
         log_selector = +smtp_connection +pipelining\nacl_smtp_rcpt = recipient\n\
         acl_smtp_data = accept\n\
         begin acl\n\
         recipient:\n  deny local_parts = nobody\n    message = {refused}\n  \
         defer local_parts = later\n    condition = ${{if !exists{{{at}/open}}}}\n    \
         message = {put_off}\n  accept\n\
         begin routers\nall:\n  driver = accept\n  transport = box\n\
         begin transports\nbox:\n  driver = appendfile\n  directory = {at}/mail/box\n  \
         maildir_format\n  envelope_to_add\n  user = {name}\n  group = {name}\n\
         begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n  \
         server_advertise_condition = ${{if def:tls_in_cipher}}\n  server_prompts = :\n  \
         server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}\n  \
         server_set_id = $auth2\n",
        address.ip(),
        address.port(),
    )
}
