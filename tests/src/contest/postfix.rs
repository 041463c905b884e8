//! Postfix beside it: a private instance with its own configuration, queue and data.
//!
//! Three things are set in its favour: it asks no name server, it never slows clients down while the queue grows
//! (`in_flow_delay = 0`), and mail that is to wait goes into the hold queue, which its queue manager never reads.
//! Its durability stays: a flush for each message.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls::Made;
use relay::demo::next_hop::{POSTFIX, SERVICES, wait_for};
use relay::hosts::process::{Signal, signal};

use super::process;
use super::{LOGIN, NAME, SINK};

/// Where it wants STARTTLS and a login, as we do.
pub const SECURED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2526);
/// Where it wants neither.
pub const CLEAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2527);
/// How long a connection is waited for at the start.
const PATIENCE: Duration = Duration::from_secs(20);
/// Debian's sasl2-bin.
const SASLPASSWD: &str = "/usr/sbin/saslpasswd2";

/// The services that deliver to the next hop.
const RELAYING: &str = "smtp unix - - n - - smtp\nscache unix - - n - 1 scache\n";

/// A Postfix that runs. Dropping it ends it.
pub struct Postfix {
    /// Its version.
    pub version: String,
    server: Child,
    queue: PathBuf,
}

impl Postfix {
    /// Starts it with everything below `folder`, which is made; none if it is not installed.
    ///
    /// # Errors
    ///
    /// If Postfix or a file of it cannot be used.
    pub fn start(folder: &Path, made: &Made, password: &str) -> Result<Option<Self>> {
        if !Path::new(POSTFIX).exists() || !Path::new(SASLPASSWD).exists() {
            return Ok(None);
        }
        for name in ["etc/sasl", "queue", "data"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let etc = folder.join("etc");
        fs::write(etc.join("chain.pem"), &made.chain)?;
        fs::write(etc.join("key.pem"), &made.key)?;
        let user = account(folder)?;
        chown(folder.join("data"), Some(user), None)?;
        keep_password(&etc, password)?;
        chown(etc.join("sasldb2"), Some(user), None)?;
        fs::write(etc.join("main.cf"), main_cf(folder))?;
        fs::write(etc.join("master.cf"), master_cf())?;
        let log = folder.join("log");
        let to_log = fs::File::create(&log)?;
        let mut command = Command::new(POSTFIX);
        command.arg("-c").arg(&etc).arg("start-fg").stdin(Stdio::null());
        command.stdout(to_log.try_clone()?).stderr(to_log);
        let server = command.spawn().context("Postfix cannot be started")?;
        let queue = folder.join("queue").canonicalize()?;
        let postfix = Self { version: version()?, server, queue };
        for address in [SECURED, CLEAR] {
            wait_for("Postfix to listen", || TcpStream::connect_timeout(&address, PATIENCE).ok())
                .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        }
        Ok(Some(postfix))
    }

    /// Returns the CPU time that all its processes have used.
    pub fn cpu(&self) -> Duration {
        // One may end between the list and the look; its parent has its time then.
        process::working_in(&self.queue).into_iter().flat_map(process::cpu).sum()
    }

    /// Returns the memory of all its processes, bytes.
    pub fn pss(&self) -> u64 {
        process::working_in(&self.queue).into_iter().flat_map(process::pss).sum()
    }

    /// Returns how many processes serve clients, and their memory, bytes.
    pub fn smtpd(&self) -> (usize, u64) {
        let all = process::working_in(&self.queue).into_iter();
        let smtpd = all.filter(|pid| process::name(*pid).as_deref() == Some("smtpd"));
        let each: Vec<u64> = smtpd.flat_map(process::pss).collect();
        (each.len(), each.iter().sum())
    }

    /// Tells whether nothing waits to be delivered.
    pub fn is_empty(&self) -> bool {
        ["maildrop", "incoming", "active", "deferred"]
            .into_iter()
            .all(|name| !holds_files(&self.queue.join(name)))
    }

    /// Throws away what is held.
    ///
    /// # Errors
    ///
    /// If Postfix or a file of it cannot be used.
    pub fn forget_held(&self) -> Result<()> {
        for file in fs::read_dir(self.queue.join("hold"))? {
            fs::remove_file(file?.path())?;
        }
        Ok(())
    }

    fn master(&self) -> Option<u32> {
        let text = fs::read_to_string(self.queue.join("pid/master.pid")).ok()?;
        let pid = text.trim().parse().ok()?;
        process::working_in(&self.queue).contains(&pid).then_some(pid)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The child is a shell, and Postfix's master its child: only the master ends all that belongs to it.
        let _ = signal(self.master().unwrap_or(self.server.id()), Signal::TERM);
        let _ = self.server.wait();
        let gone = || process::working_in(&self.queue).is_empty().then_some(());
        let _ = wait_for("Postfix to end", gone);
    }
}

fn holds_files(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        entry.file_type().is_ok_and(|kind| !kind.is_dir()) || holds_files(&entry.path())
    })
}

/// Returns the number of Postfix's user.
fn account(folder: &Path) -> Result<u32> {
    let id = Command::new("id").args(["-u", "postfix"]).output()?;
    ensure!(id.status.success(), "Postfix is installed, but there is no user \"postfix\"");
    let number = String::from_utf8(id.stdout)?;
    number.trim().parse().with_context(|| format!("{}: {number}", folder.display()))
}

fn version() -> Result<String> {
    let said = Command::new("/usr/sbin/postconf").args(["-d", "-h", "mail_version"]).output()?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Keeps the login in a file that Cyrus SASL reads in Postfix's own process: no daemon is asked, and nothing is
/// hashed.
fn keep_password(etc: &Path, password: &str) -> Result<()> {
    let database = etc.join("sasldb2");
    let text = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\nsasldb_path: {}\n",
        database.display()
    );
    fs::write(etc.join("sasl/smtpd.conf"), text)?;
    let mut command = Command::new(SASLPASSWD);
    command.args(["-c", "-p", "-u", NAME, "-f"]).arg(&database).arg(LOGIN);
    let mut keeping = command.stdin(Stdio::piped()).spawn()?;
    let mut stdin = keeping.stdin.take().context("saslpasswd2 has no input")?;
    stdin.write_all(password.as_bytes())?;
    drop(stdin);
    ensure!(keeping.wait()?.success(), "saslpasswd2 failed");
    Ok(())
}

fn main_cf(folder: &Path) -> String {
    let at = folder.display();
    format!(
        "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
         myhostname = {NAME}\nmydestination =\nmaillog_file = /dev/stdout\n\
         maillog_file_prefixes = /dev/stdout\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\nrelayhost = [{}]:{}\ndisable_dns_lookups = yes\n\
         smtpd_peername_lookup = no\nin_flow_delay = 0\nmessage_size_limit = 52428800\n\
         smtpd_client_connection_count_limit = 0\nsmtpd_tls_chain_files = {at}/etc/key.pem, \
         {at}/etc/chain.pem\nsmtpd_tls_auth_only = yes\nsmtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\n\
         cyrus_sasl_config_path = {at}/etc/sasl\nsmtpd_sasl_local_domain = {NAME}\n\
         smtpd_recipient_restrictions = check_recipient_access inline:{{ held.example=HOLD }}\n\
         notify_classes =\nalias_maps =\nalias_database =\nbiff = no\nlocal_recipient_maps =\n",
        SINK.ip(),
        SINK.port(),
    )
}

fn master_cf() -> String {
    format!(
        "{SECURED} inet n - n - - smtpd\n -o smtpd_tls_security_level=encrypt\n \
         -o smtpd_sasl_auth_enable=yes\n -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n\
         {CLEAR} inet n - n - - smtpd\n -o smtpd_relay_restrictions=permit_mynetworks,reject\n{SERVICES}{RELAYING}"
    )
}
