//! Clients: some are good, some vanish, some do not hear the answer and submit again.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::time::sleep;

use super::World;
use super::letter::Letter;
use super::wire::Wire;
use crate::mail::message::MessageId;

/// How often a letter is submitted before its client gives up.
const TRIES: usize = 12;

/// How a client submits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One command, one reply.
    Steady,
    /// MAIL, RCPT and DATA in one go.
    Grouped,
    /// MAIL, RCPT and the whole message by BDAT in one go.
    Chunks,
}

/// What a client makes of a submission.
enum Outcome {
    /// It was told 250, or that it will never be taken.
    Done,
    /// To be tried again.
    Again,
}

/// Submits letters, one after another.
pub(super) async fn live(world: Rc<World>, number: usize) {
    for place in 0..=world.below(3) {
        sleep(world.pause(3_000_000)).await;
        let letter = Letter::write(&world, number * 10 + place);
        let manner = [Manner::Steady, Manner::Grouped, Manner::Chunks][world.below(3)];
        for _ in 0..TRIES {
            // A client that vanished or was not answered submits the same again, some at once.
            match submit(&world, &letter, manner).await {
                Ok(Outcome::Done) => break,
                Ok(Outcome::Again) | Err(_) => {
                    let most_ms = if world.one_in(3) { 50 } else { 1_200_000 };
                    sleep(world.pause(most_ms)).await;
                }
            }
        }
    }
}

async fn submit(world: &World, letter: &Letter, manner: Manner) -> io::Result<Outcome> {
    let cut = (!world.is_fair() && world.one_in(3)).then(|| world.below(letter.size() + 600));
    let Some(stream) = world.reach() else { return Ok(Outcome::Again) };
    let mut wire = Wire::new(stream, cut);
    wire.reply().await?;
    for command in ["EHLO client.example", "STARTTLS", "EHLO client.example"] {
        if ask(world, &mut wire, command).await?.0 >= 400 {
            return Ok(Outcome::Again);
        }
    }
    let proof = BASE64_STANDARD.encode(format!("\0{}\0secret", letter.login));
    if ask(world, &mut wire, &format!("AUTH PLAIN {proof}")).await?.0 != 235 {
        return Ok(Outcome::Again);
    }
    let number = world.ledger().begins(letter);
    let text = letter.text(number);
    let mut submission = Submission { world, wire: &mut wire, letter, number };
    let outcome = submission.run(manner, &text).await?;
    wire.send(world, b"QUIT\r\n").await?;
    Ok(outcome)
}

async fn ask(world: &World, wire: &mut Wire, command: &str) -> io::Result<(u16, String)> {
    wire.send(world, format!("{command}\r\n").as_bytes()).await?;
    wire.reply().await
}

struct Submission<'a> {
    world: &'a World,
    wire: &'a mut Wire,
    letter: &'a Letter,
    number: usize,
}

impl Submission<'_> {
    async fn run(&mut self, manner: Manner, text: &[u8]) -> io::Result<Outcome> {
        let commands = self.letter.commands();
        match manner {
            Manner::Steady => {
                for (place, command) in commands.iter().enumerate() {
                    self.wire.send(self.world, command.as_bytes()).await?;
                    if let Some(outcome) = self.envelope_reply(place).await? {
                        return Ok(outcome);
                    }
                }
                self.data(text).await
            }
            Manner::Grouped => {
                let group = commands.concat() + "DATA\r\n";
                self.wire.send(self.world, group.as_bytes()).await?;
                let mut early = None;
                for place in 0..commands.len() {
                    early = early.or(self.envelope_reply(place).await?);
                }
                self.after_data(text, early).await
            }
            Manner::Chunks => {
                let (first, last) = text.split_at(self.world.below(text.len()));
                let mut group = commands.concat().into_bytes();
                group.extend_from_slice(format!("BDAT {}\r\n", first.len()).as_bytes());
                group.extend_from_slice(first);
                group.extend_from_slice(format!("BDAT {} LAST\r\n", last.len()).as_bytes());
                group.extend_from_slice(last);
                if self.wire.reaches(group.len()) {
                    self.world.ledger().ends(self.number);
                }
                self.wire.send(self.world, &group).await?;
                let mut early = None;
                for place in 0..commands.len() {
                    early = early.or(self.envelope_reply(place).await?);
                }
                self.wire.reply().await?;
                self.answer(early).await
            }
        }
    }

    /// Reads the reply to MAIL (0) or to a RCPT. Returns the end if there is one.
    async fn envelope_reply(&mut self, place: usize) -> io::Result<Option<Outcome>> {
        let (code, text) = self.wire.reply().await?;
        if place == 0 {
            return Ok((code != 250).then_some(Outcome::Again));
        }
        let recipient = &self.letter.recipients[place - 1];
        match code {
            250 => self.world.ledger().accepts(self.number, recipient),
            550 if !recipient.is_allowed => {}
            // Behind a MAIL that was refused.
            503 | 554 | 450 | 451 | 452 => {}
            code => panic!("{} was answered {code} {text}", recipient.address),
        }
        Ok(None)
    }

    async fn data(&mut self, text: &[u8]) -> io::Result<Outcome> {
        self.wire.send(self.world, b"DATA\r\n").await?;
        self.after_data(text, None).await
    }

    async fn after_data(&mut self, text: &[u8], early: Option<Outcome>) -> io::Result<Outcome> {
        if self.wire.reply().await?.0 != 354 {
            self.world.ledger().refused(self.number);
            return Ok(early.unwrap_or(Outcome::Done));
        }
        self.wire.send(self.world, &stuffed(text)).await?;
        if self.wire.reaches(3) {
            self.world.ledger().ends(self.number);
        }
        self.wire.send(self.world, b".\r\n").await?;
        self.answer(early).await
    }

    /// Hears the answer to the whole message, or does not.
    async fn answer(&mut self, early: Option<Outcome>) -> io::Result<Outcome> {
        if !self.world.is_fair() && self.world.one_in(6) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let (code, text) = self.wire.reply().await?;
        if code == 250 {
            let id = text.rsplit(' ').next().unwrap();
            let id: MessageId = id.parse().unwrap_or_else(|_| panic!("{text}"));
            self.world.ledger().told(self.number, id);
            // It may look at its mail before it leaves.
            sleep(Duration::from_millis(self.world.roll(5000))).await;
            return Ok(Outcome::Done);
        }
        self.world.ledger().refused(self.number);
        Ok(early.unwrap_or(if code < 500 { Outcome::Again } else { Outcome::Done }))
    }
}

/// Puts a dot in front of every line that begins with one (RFC 5321, section 4.5.2).
fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if line[0] == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}
