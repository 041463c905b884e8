//! A server of other people, and the product that serves it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls;
use relay::demo::client::Secured;
use relay::demo::stage::{CLIENT, HOP, NAME};
use relay::demo::steps::session;
use tests::hop::{self, Server, Software, Taken, eventually, unfold, value, word_after};
use tests::world::World;

/// Where the server listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(HOP.ip(), 2588);
/// Who sends, and gets the reports.
pub const SENDER: &str = "billing@example.net";
/// How many connections the route may have.
pub const CONNECTIONS: usize = 3;
/// Recipients of this domain go to the same server by a route that trusts another authority.
pub const DISTRUSTED: &str = "distrusted.example";

/// A server, and the product that serves it.
pub struct House {
    /// It ends before the world that it stands in.
    pub server: Server,
    pub world: World,
    client: Secured,
}

impl House {
    /// Starts the server, and the product with a route to it. None if the machine lacks the server.
    pub fn open(software: &'static Software) -> Result<Option<Self>> {
        let mut world = World::set()?;
        let at = world.folder.path().to_owned();
        let made = tls::make(&[ADDRESS.ip().to_string()])?;
        let host = world.stage.world.again()?;
        let Some(server) = Server::start(software, host, ADDRESS, &at.join("server"), &made)?
        else {
            return Ok(None);
        };
        fs::write(at.join("server-ca.pem"), &made.ca)?;
        fs::write(at.join("password"), hop::PASSWORD)?;
        let file = at.join("sallyport.toml");
        let text = fs::read_to_string(&file)?;
        let [ours, demo] = [ADDRESS, HOP].map(|address| format!("hosts = [\"{address}\"]"));
        let own = format!(
            "{ours}\nconnections = {CONNECTIONS}\nlogin = {{ user = \"{}\", password-file = \"{}\" }}",
            hop::USER,
            at.join("password").display(),
        );
        let text = text.replace(&demo, &own).replace("/hop-ca.pem", "/server-ca.pem");
        let more = format!(
            "[[route]]\nname = \"distrust\"\ndomains = [\"{DISTRUSTED}\"]\n{ours}\n\
             ca-file = \"{}\"\n[retry]\nafter = [\"1s\"]\n",
            at.join("hop-ca.pem").display()
        );
        fs::write(&file, text + &more)?;
        world.stage.start()?;
        let client = session(&world.stage, CLIENT)?;
        Ok(Some(Self { server, world, client }))
    }

    /// Submits a message and returns the id that the relay gave it.
    pub fn submit(&mut self, recipients: &[String], text: &str) -> Result<String> {
        self.submit_with(&format!("BODY=8BITMIME SIZE={}", text.len()), recipients, text)
    }

    /// Submits a message whose MAIL has these parameters.
    pub fn submit_with(
        &mut self,
        asked: &str,
        recipients: &[String],
        text: &str,
    ) -> Result<String> {
        self.begin(asked, recipients)?;
        self.client.say("DATA", 354)?;
        let stuffed: String = text
            .split_inclusive('\n')
            .flat_map(|line| [if line.starts_with('.') { "." } else { "" }, line])
            .collect();
        self.end(&format!("{stuffed}."))
    }

    /// Submits a message of any octets in one chunk. It must end in CRLF.
    pub fn submit_binary(&mut self, recipients: &[String], text: &str) -> Result<String> {
        self.begin("BODY=BINARYMIME", recipients)?;
        let rest = text.strip_suffix("\r\n").context("the end")?;
        self.end(&format!("BDAT {} LAST\r\n{rest}", text.len()))
    }

    fn begin(&mut self, asked: &str, recipients: &[String]) -> Result<()> {
        self.client.say(&format!("MAIL FROM:<{SENDER}> {asked}"), 250)?;
        for recipient in recipients {
            self.client.say(&format!("RCPT TO:<{recipient}>"), 250)?;
        }
        Ok(())
    }

    fn end(&mut self, last: &str) -> Result<String> {
        let answer = self.client.say(last, 250)?;
        let id = answer.lines.first().and_then(|line| line.rsplit_once(" queued as "));
        Ok(id.with_context(|| format!("no id in {answer:?}"))?.1.to_owned())
    }

    /// Waits until every recipient has a copy, and returns what arrived until then.
    pub fn arrive(&self, recipients: &[String]) -> Result<Vec<Taken>> {
        let mut open: BTreeSet<_> = recipients.iter().cloned().collect();
        let mut arrived = Vec::new();
        let all = eventually("every copy to arrive", || {
            for taken in self.server.take()? {
                let how = word_after(&taken.trace, "with").unwrap_or_default();
                // UTF8SMTPSA for mail with such addresses (RFC 6531, section 3.7.3).
                let is_safe = how.to_ascii_uppercase().ends_with("SMTPSA");
                ensure!(is_safe, "no TLS or login: {}", taken.trace);
                open.remove(&taken.recipient);
                arrived.push(taken);
            }
            Ok(open.is_empty().then_some(()))
        });
        all.with_context(|| format!("missing: {open:?}")).with_context(|| self.logs())?;
        Ok(arrived)
    }

    /// Waits until the relay has nothing left to do.
    pub fn rest(&self) -> Result<()> {
        let nothing = || Ok((self.queue()?.is_empty()).then_some(()));
        eventually("the spool to be empty", nothing).with_context(|| self.logs())
    }

    pub fn queue(&self) -> Result<Vec<serde_json::Value>> {
        let list = self.world.stage.listing(&["queue", "list"])?;
        Ok(list.as_array().context("no list")?.clone())
    }

    /// Waits until a message has had at least `tries` attempts, and returns what is said of it.
    pub fn waiting(&self, id: &str, tries: u64) -> Result<String> {
        eventually("an attempt in vain", || {
            let queue = self.queue()?;
            let tried = queue.iter().any(|one| {
                one["id"] == id && one["attempts"].as_u64().is_some_and(|made| made >= tries)
            });
            let show = || self.world.stage.command(&["queue", "show", id]);
            tried.then(show).transpose()
        })
        .with_context(|| self.logs())
    }

    /// Returns how a message ended, and after how many attempts: what every line of the journal says that is
    /// about its end.
    pub fn ends(&self, id: &str) -> Vec<(String, u32)> {
        let about = format!(" settled id={id} ");
        let log = self.world.stage.log();
        let end = |line: &str| {
            let value = |key| line.split(' ').find_map(|word| word.strip_prefix(key));
            Some((value("end=")?.to_owned(), value("attempts=")?.parse().ok()?))
        };
        log.lines().filter(|line| line.contains(&about)).filter_map(end).collect()
    }

    pub fn logs(&self) -> String {
        let last = |text: String| {
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        let (server, relay) = (last(self.server.log()), last(self.world.stage.log()));
        format!("{}:\n{server}\nproduct:\n{relay}", self.server.software.name)
    }
}

pub fn at_example(name: &str) -> String {
    format!("{name}@example.com")
}

pub fn message(subject: &str, body: &str) -> String {
    format!(
        "From: {SENDER}\r\nTo: customer@example.com\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@example.net>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}"
    )
}

/// About as many octets, in lines of 80.
pub fn long(octets: usize) -> String {
    "A line of a message that is long, and of which the relay must not lose an octet.\r\n"
        .repeat(octets / 82 + 1)
}

/// Shows that a copy is `text` behind trace header fields, the last of them the relay's.
pub fn is_whole(taken: &Taken, text: &str) -> Result<()> {
    let before = taken.text.strip_suffix(text);
    let before = before.with_context(|| format!("other octets arrived:\n{:.2000}", taken.text))?;
    let last = unfold(before).last().and_then(|field| value(&field, "Received"));
    let last = last.with_context(|| format!("no trace of the relay:\n{before}"))?;
    let [by, with] = ["by", "with"].map(|word| word_after(&last, word).unwrap_or_default());
    ensure!(by == NAME && with.ends_with("SMTPSA"), "not the relay's trace: {last}");
    Ok(())
}
