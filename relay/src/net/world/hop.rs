//! Next hops: they take mail, refuse it at any step, say goodbye, fall silent and vanish, each
//! connection by a script from the seed.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::World;
use super::lane::FINAL_DOT;
use super::ledger::Parcel;
use super::wire::Wire;

/// What is wrong with a next hop for the length of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ill {
    Well,
    /// It answers this verb so; now and then only, if it is RCPT.
    Answers(&'static str, u16),
    /// It never answers this verb.
    IsSilentAt(&'static str),
    /// It ends the connection when the message is whole, and has not taken it.
    DropsAtTheEnd,
    /// It has taken the message and ends the connection without a word.
    TakesAndDrops,
    /// It has taken the message and answers when nobody listens any more.
    TakesAndIsSlow,
}

/// The end of a message, for [`Ill::Answers`].
const END: &str = "the end";

impl Ill {
    fn draw(world: &World) -> Self {
        if world.is_fair() || world.one_in(2) {
            return Self::Well;
        }
        let verb = ["220", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", END][world.below(7)];
        match world.roll(8) {
            0 => Self::IsSilentAt(verb),
            1 => Self::DropsAtTheEnd,
            2 => Self::TakesAndDrops,
            3 => Self::TakesAndIsSlow,
            _ => Self::Answers(verb, [421, 451, 452, 550, 554][world.below(5)]),
        }
    }
}

struct Hop {
    world: Rc<World>,
    wire: Wire,
    ill: Ill,
    offers: Vec<&'static str>,
    sender: Option<String>,
    recipients: Vec<String>,
    body: Vec<u8>,
}

/// Serves one connection of the relay.
pub(super) async fn serve(world: Rc<World>, wire: Wire) {
    let ill = Ill::draw(&world);
    let all = ["PIPELINING", "CHUNKING", "DSN", "8BITMIME", "SIZE 100000", "LIMITS RCPTMAX=1"];
    let offers = all.into_iter().filter(|_| world.one_in(2)).collect();
    let (sender, recipients, body) = (None, Vec::new(), Vec::new());
    // However it ends: the relay has to cope.
    let _ = Hop { world, wire, ill, offers, sender, recipients, body }.run().await;
}

impl Hop {
    async fn run(&mut self) -> io::Result<()> {
        if self.is_ill_at("220", "").await? {
            return Ok(());
        }
        self.say("220 hop.example").await?;
        loop {
            let line = self.wire.line().await?;
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            if verb != "BDAT" && self.is_ill_at(&verb, &line).await? {
                continue;
            }
            match verb.as_str() {
                "EHLO" => {
                    let lines = self.offers.iter().map(|offer| format!("250-{offer}\r\n"));
                    let text = format!("250-hop.example\r\n{}250 HELP", lines.collect::<String>());
                    self.say(&text).await?;
                }
                "MAIL" => {
                    (self.sender, self.recipients) = (Some(path(&line)), Vec::new());
                    self.say("250 ok").await?;
                }
                "RCPT" => {
                    if line.contains("NOTIFY=") && !self.offers.contains(&"DSN") {
                        self.world.ledger().fault(format!("NOTIFY without DSN: {line}"));
                    }
                    self.recipients.push(path(&line));
                    self.say("250 ok").await?;
                }
                "DATA" if self.recipients.is_empty() => self.say("554 nobody").await?,
                "DATA" => {
                    self.say("354 go on").await?;
                    self.read_dotted().await?;
                    self.finish().await?;
                }
                "BDAT" => self.chunk(&line).await?,
                "RSET" => {
                    self.forget();
                    self.say("250 ok").await?;
                }
                "QUIT" => return self.say("221 bye").await,
                _ => self.world.ledger().fault(format!("a next hop heard {line}")),
            }
        }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.wire.send(&self.world, format!("{line}\r\n").as_bytes()).await
    }

    /// Does what is wrong with the hop at this verb; returns whether that was the answer.
    async fn is_ill_at(&mut self, at: &str, line: &str) -> io::Result<bool> {
        match self.ill {
            Ill::IsSilentAt(verb) if verb == at => {
                sleep(Duration::from_secs(7200)).await;
                Err(io::ErrorKind::TimedOut.into())
            }
            Ill::Answers(verb, code) if verb == at && (at != "RCPT" || self.world.one_in(2)) => {
                self.note_refusal(at, line);
                self.say(&format!("{code} no")).await?;
                if code == 421 { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(true) }
            }
            Ill::IsSilentAt(_)
            | Ill::Answers(..)
            | Ill::Well
            | Ill::DropsAtTheEnd
            | Ill::TakesAndDrops
            | Ill::TakesAndIsSlow => Ok(false),
        }
    }

    /// Remembers who was refused for good: a failure needs a reason.
    fn note_refusal(&self, verb: &str, line: &str) {
        let Ill::Answers(_, 500..) = self.ill else { return };
        let mut ledger = self.world.ledger();
        match verb {
            "MAIL" => ledger.refuses_sender(path(line)),
            "RCPT" => ledger.refuses(&[path(line)]),
            _ => ledger.refuses(&self.recipients),
        }
    }

    async fn chunk(&mut self, line: &str) -> io::Result<()> {
        if !self.offers.contains(&"CHUNKING") {
            self.world.ledger().fault("BDAT without CHUNKING".to_owned());
        }
        let mut words = line.split(' ').skip(1);
        let count = words.next().unwrap().parse().unwrap();
        let octets = self.wire.octets(count).await?;
        self.body.extend_from_slice(&octets);
        if self.recipients.is_empty() {
            return self.say("503 nobody").await;
        }
        if self.is_ill_at("BDAT", line).await? {
            self.forget();
            return Ok(());
        }
        match words.next() {
            Some("LAST") => self.finish().await,
            _ => self.say("250 ok").await,
        }
    }

    /// Reads to the final dot, and takes the dots off that were put in front (RFC 5321, section 4.5.2).
    async fn read_dotted(&mut self) -> io::Result<()> {
        loop {
            let line = self.wire.line().await?;
            if line == "." {
                return Ok(());
            }
            let line = line.strip_prefix('.').unwrap_or(&line);
            self.body.extend_from_slice(line.as_bytes());
            self.body.extend_from_slice(b"\r\n");
        }
    }

    /// Takes the message that is whole now, or not.
    async fn finish(&mut self) -> io::Result<()> {
        if self.is_ill_at(END, "").await? {
            self.forget();
            return Ok(());
        }
        if self.ill == Ill::DropsAtTheEnd {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let copies = self.world.ledger().takes(Parcel {
            sender: self.sender.as_deref().unwrap_or_default(),
            recipients: &self.recipients,
            octets: &self.body,
            keeps_dsn: self.offers.contains(&"DSN"),
        });
        self.forget();
        let answered = match self.ill {
            Ill::TakesAndDrops => Err(io::ErrorKind::ConnectionAborted.into()),
            Ill::TakesAndIsSlow => {
                self.world.ledger().uncertain(&copies);
                sleep(FINAL_DOT + Duration::from_secs(60)).await;
                self.say("250 taken").await
            }
            Ill::Well | Ill::Answers(..) | Ill::IsSilentAt(_) | Ill::DropsAtTheEnd => {
                self.say("250 taken").await
            }
        };
        if answered.is_err() {
            self.world.ledger().uncertain(&copies);
        }
        answered
    }

    fn forget(&mut self) {
        (self.sender, self.recipients, self.body) = (None, Vec::new(), Vec::new());
    }
}

/// Returns what stands between the brackets.
fn path(line: &str) -> String {
    let from = line.find('<').expect("a path");
    let to = line.find('>').expect("a path");
    line[from + 1..to].to_owned()
}
