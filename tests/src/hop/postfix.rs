//! Postfix, with a login in a file that Cyrus SASL reads in Postfix's own process.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use relay::demo::next_hop::{MAILBOX, SERVICES};

use super::{NAME, PASSWORD, PUT_OFF, REFUSED, SIZE_MAX_BYTES, Site, Software, USER, run};

/// Postfix.
pub const POSTFIX: Software = Software {
    name: "Postfix",
    tools: &["postfix", "saslpasswd2", "sasl-plain"],
    recipient: "X-Original-To",
    connected: "]: connect from unknown[{}]",
    marks: &[" bdat=", "sasl_method=SCRAM-SHA-512"],
    prepare,
};

fn prepare(site: &Site) -> Result<Vec<String>> {
    let user: u32 = run(Command::new("id").args(["-u", "postfix"]))?.parse()?;
    let group: u32 = run(Command::new("id").args(["-g", "postfix"]))?.parse()?;
    for name in ["etc/sasl", "queue", "data", "mail"] {
        fs::create_dir_all(site.folder.join(name))?;
    }
    for name in ["data", "mail"] {
        chown(site.folder.join(name), Some(user), Some(group))?;
    }
    let etc = site.folder.join("etc");
    let (at, address) = (site.folder.display(), site.address);
    fs::write(etc.join("main.cf"), main_cf(site, user, group))?;
    let policy = format!(
        "policy unix - n n - 0 spawn\n user=nobody argv=/bin/sh {at}/etc/policy {at}/open\n"
    );
    fs::write(
        etc.join("master.cf"),
        format!("{address} inet n - n - - smtpd\n{SERVICES}{MAILBOX}{policy}"),
    )?;
    fs::write(etc.join("refused"), format!("/^nobody@/ {}\n", REFUSED.join(" ")))?;
    fs::write(etc.join("policy"), policy_service())?;
    keep_password(site)?;
    chown(etc.join("sasldb2"), Some(user), None)?;
    let etc = etc.display().to_string();
    Ok(["/usr/sbin/postfix", "-c", &etc, "start-fg"].map(str::to_owned).to_vec())
}

fn main_cf(site: &Site, user: u32, group: u32) -> String {
    let (at, ip) = (site.folder.display(), site.address.ip());
    format!(
        "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
         myhostname = {NAME}\nmydestination =\nmaillog_file = /dev/stdout\n\
         maillog_file_prefixes = /dev/stdout\ninet_interfaces = {ip}\n\
         virtual_mailbox_domains = static:all\nvirtual_mailbox_maps = static:box/\n\
         virtual_mailbox_base = {at}/mail\nvirtual_uid_maps = static:{user}\n\
         virtual_gid_maps = static:{group}\nvirtual_minimum_uid = 1\n\
         message_size_limit = {SIZE_MAX_BYTES}\nsmtpd_tls_security_level = may\n\
         smtpd_tls_chain_files = {at}/etc/key.pem, {at}/etc/chain.pem\nsmtpd_tls_auth_only = yes\n\
         smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\n\
         smtpd_sasl_authenticated_header = no\ncyrus_sasl_config_path = {at}/etc/sasl\n\
         smtpd_sasl_local_domain = {NAME}\nin_flow_delay = 0\n\
         smtpd_relay_restrictions = permit_auth_destination, reject\n\
         smtpd_recipient_restrictions = check_recipient_access regexp:{at}/etc/refused, \
         check_policy_service unix:private/policy, permit\n\
         smtpd_peername_lookup = no\nnotify_classes =\nalias_maps =\nalias_database =\n\
         biff = no\nlocal_recipient_maps =\n"
    )
}

/// Answers Postfix's policy requests (its `SMTPD_POLICY_README`): attributes, a line each, then an empty line.
fn policy_service() -> String {
    let put_off = PUT_OFF.join(" ");
    format!(
        "while IFS= read -r line; do\n  case $line in\n  recipient=*) to=${{line#recipient=}} ;;\n  \
         '')\n    action=DUNNO\n    case $to in later@*) [ -e \"$1\" ] || action='{put_off}' ;; esac\n    \
         printf 'action=%s\\n\\n' \"$action\" ;;\n  esac\ndone\n"
    )
}

fn keep_password(site: &Site) -> Result<()> {
    use std::io::Write as _;
    let database = site.folder.join("etc/sasldb2");
    let text = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\n\
         mech_list: PLAIN SCRAM-SHA-256 SCRAM-SHA-512\nsasldb_path: {}\n",
        database.display()
    );
    fs::write(site.folder.join("etc/sasl/smtpd.conf"), text)?;
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(PASSWORD.as_bytes())?;
    drop(writer);
    let mut command = Command::new("/usr/sbin/saslpasswd2");
    command.args(["-c", "-p", "-u", NAME, "-f"]).arg(&database).arg(USER);
    run(command.stdin(Stdio::from(reader))).context("the login was not kept")?;
    Ok(())
}
