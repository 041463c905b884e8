//! The configuration that is to be written: its text, with a reason at every key, checked by the check that every
//! other file goes through.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;

use crate::config::Config;

/// Where everything stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The configuration file.
    pub config: PathBuf,
    /// The certificate, then its intermediates, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The folder of messages.
    pub spool: PathBuf,
    /// The folder of what else survives a restart.
    pub state: PathBuf,
    /// The folder of the control sockets.
    pub sockets: PathBuf,
    /// The folder of programs and tables on a BPF file system.
    pub pins: PathBuf,
}

impl Places {
    /// Returns a file or folder beside the configuration.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.config.parent().unwrap_or(Path::new("/")).join(name)
    }

    /// Returns the file of logins.
    #[must_use]
    pub fn users(&self) -> PathBuf {
        self.beside("users.toml")
    }

    /// Returns the file of the password at the smarthost.
    #[must_use]
    pub fn secret(&self) -> PathBuf {
        self.beside("secrets").join("smarthost")
    }
}

/// Where mail goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To these hosts, in order of preference.
    Smarthosts {
        /// Each with its port: `smtp.example.net:587`.
        hosts: Vec<String>,
        /// Who signed their certificates, PEM; none: the public authorities.
        ca: Option<PathBuf>,
        /// Our login there; none: without one.
        login: Option<String>,
    },
    /// Nowhere: it is kept.
    Capture,
}

/// Who signs the certificate by ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The address of its directory.
    pub directory: String,
    /// Who signed for the directory's own server, PEM; none: the public authorities.
    pub ca: Option<PathBuf>,
    /// The names of the certificate; none: the hostname.
    pub names: Vec<String>,
    /// Where it may write to.
    pub contact: Option<String>,
    /// Where its proofs are answered.
    pub address: SocketAddr,
}

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The name of this host.
    pub hostname: String,
    /// Where reports go that reach nobody else.
    pub postmaster: String,
    /// The interfaces to guard.
    pub interfaces: Vec<String>,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The first login.
    pub login: String,
    /// What it may send as.
    pub senders: Vec<String>,
    /// Who may connect.
    pub allow: Vec<IpNetwork>,
    /// Where mail goes next.
    pub next: Next,
    /// Who signs the certificate by ACME; none: nobody does.
    pub acme: Option<Acme>,
    /// The user that the relay runs as.
    pub user: String,
    /// The group that may change the allowlist.
    pub admin_group: String,
    /// Where everything stands.
    pub places: Places,
}

impl Draft {
    /// Returns the text and what it means.
    ///
    /// # Errors
    ///
    /// What is wrong with it, one problem a line, each beginning with its key.
    pub fn config(&self) -> Result<(String, Config), String> {
        let text = self.text();
        match Config::parse(&text) {
            Ok(config) => Ok((text, config)),
            Err(problems) => {
                let lines: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
                Err(lines.join("\n"))
            }
        }
    }

    /// Returns the text of the file. What stands in it as everywhere is left out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Written by `sallyport init`. sallyport.toml(5) explains every key, `sallyport config check` names\n\
             # every problem, `sallyport reload` puts changes in force.\n\n\
             # The name of this host in its greeting and in trace headers, as clients call it.\n\
             hostname = {}\n\
             # Where reports go that cannot be delivered to the sender they are for.\n\
             postmaster = {}\n",
            quoted(&self.hostname),
            quoted(&self.postmaster)
        );
        self.gate(&mut text);
        self.relay(&mut text);
        let places = &self.places;
        add(
            &mut text,
            format_args!(
                "# Where clients connect: by STARTTLS, and with a login. [::] takes IPv4 clients too.\n\
                 [[listener]]\naddress = {}\n\n\
                 # Read again within seconds of a change. Clients must trust whoever signed the certificate.\n\
                 [tls]\ncertificate = {}\nkey = {}\n",
                quoted(&self.listen.to_string()),
                path(&places.certificate),
                path(&places.key),
            ),
        );
        self.authority(&mut text);
        add(
            &mut text,
            format_args!(
                "# What the login may send as; without a policy nobody sends. Others are added by\n\
                 # `sallyport user add` and a policy of their own.\n\
                 [[policy]]\nlogin = {}\nsenders = {}\n",
                quoted(&self.login),
                list(&self.senders)
            ),
        );
        self.route(&mut text);
        add(
            &mut text,
            format_args!(
                "# What a 250 was given for. Some of its file system stays free for reports: 5 % (at least 256 MiB),\n\
                 # and 2 GiB of one with more than 40 GiB.\n\
                 [spool]\npath = {}\n",
                path(&places.spool)
            ),
        );
        let history = places.state.join("history");
        // Without the key it lies beside the spool.
        if history != places.spool.with_file_name("history") {
            let kept = "# The life of each message, for `sallyport trace`.";
            add(&mut text, format_args!("{kept}\n[history]\npath = {}\n", path(&history)));
        }
        text
    }

    fn authority(&self, text: &mut String) {
        let Some(acme) = &self.acme else { return };
        add(
            text,
            format_args!(
                "# Who signs the certificate by ACME: `sallyport tls renew` has it renewed, hourly run by\n\
                 # sallyport-certificate.timer. It listens on port 80 while an order runs, and then only.\n\
                 [tls.acme]\ndirectory = {}\n",
                quoted(&acme.directory)
            ),
        );
        if let Some(ca) = &acme.ca {
            let _ = writeln!(text, "ca-file = {}", path(ca));
        }
        if !acme.names.is_empty() {
            let _ = writeln!(text, "names = {}", list(&acme.names));
        }
        if let Some(contact) = &acme.contact {
            let _ = writeln!(text, "contact = {}", quoted(contact));
        }
        unless_usual(text, "address", &quoted(&acme.address.to_string()), "[::]:80");
        let account = path(&self.places.beside("acme").join("account.json"));
        unless_usual(text, "account", &account, "/etc/sallyport/acme/account.json");
    }

    fn gate(&self, text: &mut String) {
        let places = &self.places;
        add(
            text,
            format_args!(
                "# The filter in the kernel: on these interfaces strangers get no answer from the ports below.\n\
                 [gate]\ninterfaces = {}\n",
                list(&self.interfaces)
            ),
        );
        let gate = places.state.join("gate");
        let socket = places.sockets.join("gate.sock");
        for (key, value, usual) in [
            ("state", path(&gate), "/var/lib/sallyport/gate"),
            ("pins", path(&places.pins), "/sys/fs/bpf/sallyport"),
            ("socket", path(&socket), "/run/sallyport/gate.sock"),
            ("admin-group", quoted(&self.admin_group), "sallyport-admin"),
        ] {
            unless_usual(text, key, &value, usual);
        }
        let listed =
            "# Who may connect. `sallyport allow add` admits others at run time, and keeps them.";
        if self.allow.is_empty() {
            let example = "[[gate.allow]]\n# cidr = \"192.0.2.0/24\"\n# note = \"the web servers\"";
            add(text, format_args!("{listed}\n# {example}\n"));
        }
        for (place, network) in self.allow.iter().enumerate() {
            let head = if place == 0 { format!("{listed}\n") } else { String::new() };
            let network = quoted(&network.to_string());
            add(
                text,
                format_args!(
                    "{head}[[gate.allow]]\ncidr = {network}\nnote = \"the first set-up\"\n"
                ),
            );
        }
    }

    fn relay(&self, text: &mut String) {
        let (mut keys, places) = (String::new(), &self.places);
        let socket = places.sockets.join("relay.sock");
        for (key, value, usual) in [
            ("user", quoted(&self.user), "sallyport"),
            ("socket", path(&socket), "/run/sallyport/relay.sock"),
            ("users", path(&places.users()), "/etc/sallyport/users.toml"),
        ] {
            unless_usual(&mut keys, key, &value, usual);
        }
        if !keys.is_empty() {
            add(text, format_args!("# The process that speaks SMTP.\n[relay]\n{keys}"));
        }
    }

    fn route(&self, text: &mut String) {
        let Next::Smarthosts { hosts, ca, login } = &self.next else {
            let why = "# All mail is kept for 7 days and sent nowhere: name hosts instead of capture to send it.";
            add(
                text,
                format_args!("{why}\n[[route]]\nname = \"kept\"\ndefault = true\ncapture = true\n"),
            );
            return;
        };
        add(
            text,
            format_args!(
                "# Where mail goes next, in order of preference, over STARTTLS and to nobody whose certificate does\n\
                 # not verify.\n\
                 [[route]]\nname = \"smarthost\"\ndefault = true\nhosts = {}\n",
                list(hosts)
            ),
        );
        if let Some(ca) = ca {
            let _ = writeln!(text, "ca-file = {}", path(ca));
        }
        if let Some(login) = login {
            let (login, secret) = (quoted(login), path(&self.places.secret()));
            let _ = writeln!(text, "login = {{ user = {login}, password-file = {secret} }}");
        }
    }
}

/// Adds a part after an empty line. Writing to a string does not fail.
fn add(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.push('\n');
    let _ = text.write_fmt(part);
}

/// Writes a key unless its value is what it is without it.
fn unless_usual(text: &mut String, key: &str, value: &str, usual: &str) {
    if value != quoted(usual) {
        let _ = writeln!(text, "{key} = {value}");
    }
}

/// Writes a string of TOML.
fn quoted(value: &str) -> String {
    toml::Value::from(value).to_string()
}

fn path(value: &Path) -> String {
    quoted(&value.to_string_lossy())
}

fn list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
pub(super) mod tests;
