//! The relay before mail servers of other people: what each of them is given, and what it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::slice::from_ref;

use anyhow::{Context as _, Result, ensure};
use relay::cli::tls;
use relay::demo::client::Secured;
use relay::demo::stage::{CLIENT, HOP, NAME, RELAY};
use relay::demo::steps::session;
use tests::hop::{
    self, AIOSMTPD, EXIM, POSTFIX, PUT_OFF, REFUSED, SIZE_MAX_BYTES, Server, Software, Taken,
    eventually, unfold, value, word_after,
};
use tests::need;
use tests::world::World;

/// Where the server listens.
const ADDRESS: SocketAddr = SocketAddr::new(HOP.ip(), 2588);
/// Who sends, and gets the reports.
const SENDER: &str = "billing@example.net";
/// How many connections the route may have.
const CONNECTIONS: usize = 3;
/// Recipients of this domain go to the same server by a route that trusts another authority.
const DISTRUSTED: &str = "distrusted.example";

/// Shows that a claim is true.
type Show = fn(&mut House) -> Result<()>;

/// What must be true of every server, in this order.
const CLAIMS: [(&str, Show); 7] = [
    ("a hundred messages arrive once, octet for octet, over few connections", many),
    ("what a server offers is used", offers),
    ("a refused recipient is reported in the server's words, and the others arrive", refused),
    ("who is put off is tried again, and the others are not sent again", put_off),
    ("a message that is too large is returned, not tried again", too_large),
    ("mail waits for a server whose authority is not trusted", distrusted),
    ("what was on its way when the server ended arrives, and nothing acknowledged twice", cut_off),
];

#[test]
fn postfix_is_served_well() -> Result<()> {
    served_well(&POSTFIX)
}

#[test]
fn exim_is_served_well() -> Result<()> {
    served_well(&EXIM)
}

#[test]
fn aiosmtpd_is_served_well() -> Result<()> {
    served_well(&AIOSMTPD)
}

fn served_well(software: &'static Software) -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(mut house) = House::open(software)? else { return Ok(()) };
    for (claim, show) in CLAIMS {
        show(&mut house).with_context(|| format!("{}: {claim}", software.name))?;
    }
    let rest = house.server.take()?;
    ensure!(rest.is_empty(), "{}: nobody waited for {rest:?}", software.name);
    Ok(())
}

/// A server, and the product that serves it.
struct House {
    /// It ends before the world that it stands in.
    server: Server,
    world: World,
    client: Secured,
}

impl House {
    /// Starts the server, and the product with a route to it. None if the machine lacks the server.
    fn open(software: &'static Software) -> Result<Option<Self>> {
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
    fn submit(&mut self, recipients: &[String], text: &str) -> Result<String> {
        let size = text.len();
        self.client.say(&format!("MAIL FROM:<{SENDER}> BODY=8BITMIME SIZE={size}"), 250)?;
        for recipient in recipients {
            self.client.say(&format!("RCPT TO:<{recipient}>"), 250)?;
        }
        self.client.say("DATA", 354)?;
        let stuffed: String = text
            .split_inclusive('\n')
            .flat_map(|line| [if line.starts_with('.') { "." } else { "" }, line])
            .collect();
        let answer = self.client.say(&format!("{stuffed}."), 250)?;
        let id = answer.lines.first().and_then(|line| line.rsplit_once(" queued as "));
        Ok(id.with_context(|| format!("no id in {answer:?}"))?.1.to_owned())
    }

    /// Waits until every recipient has a copy, and returns what arrived until then.
    fn arrive(&self, recipients: &[String]) -> Result<Vec<Taken>> {
        let mut open: BTreeSet<_> = recipients.iter().cloned().collect();
        let mut arrived = Vec::new();
        let all = eventually("every copy to arrive", || {
            for taken in self.server.take()? {
                let how = word_after(&taken.trace, "with").unwrap_or_default();
                ensure!(how.eq_ignore_ascii_case("ESMTPSA"), "no TLS or login: {}", taken.trace);
                open.remove(&taken.recipient);
                arrived.push(taken);
            }
            Ok(open.is_empty().then_some(()))
        });
        all.with_context(|| format!("missing: {open:?}")).with_context(|| self.logs())?;
        Ok(arrived)
    }

    /// Waits until the relay has nothing left to do.
    fn rest(&self) -> Result<()> {
        let nothing = || Ok((self.queue()?.is_empty()).then_some(()));
        eventually("the spool to be empty", nothing).with_context(|| self.logs())
    }

    fn queue(&self) -> Result<Vec<serde_json::Value>> {
        let list = self.world.stage.listing(&["queue", "list"])?;
        Ok(list.as_array().context("no list")?.clone())
    }

    /// Waits until a message has had at least `tries` attempts, and returns what is said of it.
    fn waiting(&self, id: &str, tries: u64) -> Result<String> {
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

    /// Returns the lines of the relay's journal about `event` of a message.
    fn told(&self, event: &str, id: &str) -> usize {
        self.world.stage.log().matches(&format!(" {event} id={id} ")).count()
    }

    fn logs(&self) -> String {
        let last = |text: String| {
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        let (server, relay) = (last(self.server.log()), last(self.world.stage.log()));
        format!("{}:\n{server}\nproduct:\n{relay}", self.server.software.name)
    }
}

fn at_example(name: &str) -> String {
    format!("{name}@example.com")
}

fn message(subject: &str, body: &str) -> String {
    format!(
        "From: {SENDER}\r\nTo: customer@example.com\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@example.net>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}"
    )
}

/// About as many octets, in lines of 80.
fn long(octets: usize) -> String {
    "A line of a message that is long, and of which the relay must not lose an octet.\r\n"
        .repeat(octets / 82 + 1)
}

/// Shows that a copy is `text` behind trace header fields, the last of them the relay's.
fn is_whole(taken: &Taken, text: &str) -> Result<()> {
    let before = taken.text.strip_suffix(text);
    let before = before.with_context(|| format!("other octets arrived:\n{:.2000}", taken.text))?;
    let last = unfold(before).last().and_then(|field| value(&field, "Received"));
    let last = last.with_context(|| format!("no trace of the relay:\n{before}"))?;
    let said = ["by", "with"].map(|word| word_after(&last, word).unwrap_or_default());
    ensure!(said == [NAME, "ESMTPSA"], "not the relay's trace: {last}");
    Ok(())
}

fn many(house: &mut House) -> Result<()> {
    let edge = format!("{}\r\n.{}\r\n", "x".repeat(998), "y".repeat(997));
    let (small, large) = (long(100 << 10), long(5 << 20));
    let shapes: [(&str, &str); 8] = [
        ("no body", ""),
        ("one octet", "x\r\n"),
        ("an empty line", "\r\n"),
        ("dots", ".\r\n..\r\n...\r\n.a\r\nb.\r\n. \r\n.\r\n"),
        ("blanks and empty lines at the end", "a \r\n\t\r\nFrom here\r\n>From there\r\n\r\n\r\n"),
        ("octets above 127", "Grüße, 你好\r\n"),
        ("the longest lines", &edge),
        ("100 KiB", &small),
    ];
    let mut sent = BTreeMap::new();
    for number in 0..100 {
        let (shape, body) =
            if number % 50 == 49 { ("5 MiB", &*large) } else { shapes[number % shapes.len()] };
        let recipients: Vec<_> =
            (0..=number % 3).map(|guest| at_example(&format!("many-{number}-{guest}"))).collect();
        let text = message(&format!("many-{number}"), body);
        house.submit(&recipients, &text).with_context(|| shape.to_owned())?;
        sent.extend(recipients.into_iter().map(|recipient| (recipient, (shape, text.clone()))));
    }
    let arrived = house.arrive(&sent.keys().cloned().collect::<Vec<_>>())?;
    house.rest()?;
    for taken in arrived {
        let one = sent.remove(&taken.recipient);
        let (shape, text) = one.with_context(|| format!("{} had it already", taken.recipient))?;
        is_whole(&taken, &text).with_context(|| shape.to_owned())?;
    }
    let connections = house.server.connections(RELAY);
    // One that was idle for too long is made anew.
    ensure!(
        (1..=3 * CONNECTIONS).contains(&connections),
        "{connections} connections: {}",
        house.logs()
    );
    Ok(())
}

fn offers(house: &mut House) -> Result<()> {
    for mark in house.server.software.marks {
        // Some write the line when the connection ends.
        let seen = || Ok(house.server.log().contains(mark).then_some(()));
        eventually(mark, seen).with_context(|| house.logs())?;
    }
    Ok(())
}

fn refused(house: &mut House) -> Result<()> {
    let [first, nobody, last] = ["refused-0", "nobody", "refused-1"].map(at_example);
    let text = message("refused", "x\r\n");
    house.submit(&[first.clone(), nobody.clone(), last.clone()], &text)?;
    let arrived = house.arrive(&[first.clone(), last.clone(), SENDER.to_owned()])?;
    house.rest()?;
    assert_eq!(arrived.len(), 3, "{arrived:?}");
    for taken in arrived {
        if taken.recipient != SENDER {
            is_whole(&taken, &text)?;
            continue;
        }
        let report = taken.text.replace("\r\n ", " ").replace("\r\n\t", " ");
        let [code, words] = REFUSED;
        for told in [&*format!("Final-Recipient: rfc822; {nobody}\r\n"), code, words] {
            ensure!(report.contains(told), "{told:?} is not in the report:\n{report}");
        }
        assert_eq!(report.matches("Final-Recipient:").count(), 1, "{report}");
    }
    Ok(())
}

fn put_off(house: &mut House) -> Result<()> {
    let [now, later] = ["now", "later"].map(at_example);
    let text = message("put-off", "x\r\n");
    let id = house.submit(&[now.clone(), later.clone()], &text)?;
    let said = house.waiting(&id, 2)?;
    ensure!(PUT_OFF.iter().all(|words| said.contains(words)), "not the server's words:\n{said}");
    house.server.open_the_door()?;
    let arrived = house.arrive(&[now, later])?;
    house.rest()?;
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    arrived.iter().try_for_each(|taken| is_whole(taken, &text))
}

fn too_large(house: &mut House) -> Result<()> {
    let guest = at_example("too-large");
    let id = house.submit(from_ref(&guest), &message("too-large", &long(SIZE_MAX_BYTES)))?;
    let arrived = house.arrive(&[SENDER.to_owned()])?;
    house.rest()?;
    let [report] = &*arrived else { anyhow::bail!("not one report: {arrived:?}") };
    for words in [&*guest, "Status: 5.3.4"] {
        ensure!(report.text.contains(words), "{words:?} is not in:\n{}", report.text);
    }
    ensure!(report.text.len() < 64 << 10, "the report holds the message");
    assert_eq!((house.told("failed", &id), house.told("deferred", &id)), (1, 0));
    Ok(())
}

/// The server would take it in the clear.
fn distrusted(house: &mut House) -> Result<()> {
    let guest = format!("guest@{DISTRUSTED}");
    let id = house.submit(&[guest], &message("distrusted", "x\r\n"))?;
    let said = house.waiting(&id, 2)?;
    ensure!(said.contains("certificate"), "the certificate is not blamed:\n{said}");
    let arrived = house.server.take()?;
    ensure!(arrived.is_empty(), "it was handed over: {arrived:?}");
    ensure!(!house.server.log().contains(DISTRUSTED), "it was named:\n{}", house.logs());
    house.world.stage.command(&["queue", "drop", &id])?;
    house.rest()
}

fn cut_off(house: &mut House) -> Result<()> {
    let large = long(5 << 20);
    let mut sent = BTreeMap::new();
    for number in 0..40 {
        let recipient = at_example(&format!("cut-off-{number}"));
        let is_large = (17..20).contains(&number);
        let text = message(&format!("cut-off-{number}"), if is_large { &large } else { "x\r\n" });
        let id = house.submit(from_ref(&recipient), &text)?;
        sent.insert(recipient, (id, text));
        if number == 19 {
            house.server.stop()?;
        }
    }
    house.server.start_again()?;
    house.rest()?;
    let arrived = house.arrive(&sent.keys().cloned().collect::<Vec<_>>())?;
    let mut numbers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for taken in &arrived {
        is_whole(taken, &sent[&taken.recipient].1)?;
        numbers.entry(&taken.recipient).or_default().insert(&taken.number);
    }
    let (mut again, mut interrupted) = (0, 0);
    for (recipient, numbers) in numbers {
        let id = &sent[recipient].0;
        assert_eq!(house.told("delivered", id), 1, "{recipient}");
        // What was delivered at the first attempt was acknowledged: there is no second copy.
        let is_first = house.told("deferred", id) == 0;
        ensure!(numbers.len() == 1 || !is_first, "{recipient}: {numbers:?}\n{}", house.logs());
        again += numbers.len() - 1;
        interrupted += usize::from(!is_first);
    }
    ensure!(interrupted > 0, "nobody noticed the server's end: {}", house.logs());
    ensure!(again <= CONNECTIONS, "{again} copies too many: {}", house.logs());
    Ok(())
}
