//! What clients send: envelopes that ask for this and that, texts with all that is awkward in them.

use super::World;
use super::inbound::LOGINS;

/// A recipient, and what its sender asks for.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) address: String,
    /// The value of NOTIFY; empty: nothing is asked.
    pub(super) notify: &'static str,
    /// Whether the policy lets it in.
    pub(super) is_allowed: bool,
}

/// What a client wants to send; submitted again it is the same to the octet.
#[derive(Clone)]
pub(super) struct Letter {
    /// Whose it is.
    pub(super) login: &'static str,
    pub(super) sender: String,
    pub(super) recipients: Vec<Recipient>,
    /// For how long it is to be held, seconds; 0: not at all.
    pub(super) hold_s: u32,
    priority: i64,
    text: String,
}

impl Letter {
    pub(super) fn write(world: &World, number: usize) -> Self {
        let sender = format!("s{number}@senders.example");
        let recipients: Vec<_> = (0..=world.below(3))
            .map(|place| {
                let domains = [
                    "one.example",
                    "one.example",
                    "two.example",
                    "kept.example",
                    "strange.example",
                ];
                let domain = domains[world.below(domains.len())];
                let notify = ["", "", "NEVER", "FAILURE", "SUCCESS,FAILURE,DELAY"][world.below(5)];
                let address = format!("r{number}.{place}@{domain}");
                Recipient { address, notify, is_allowed: domain != "strange.example" }
            })
            .collect();
        let hold_s = if world.one_in(6) { 60 + world.roll(7200) as u32 } else { 0 };
        let priority = if world.one_in(2) { i64::from(world.roll(19) as u8) - 9 } else { 0 };
        let mut text = String::new();
        for _ in 0..world.below(12) {
            let lines =
                ["", ".", "..", ".one dot", "MAIL FROM:<x@y.example>", "QUIT", "plain", "=3D"];
            text.push_str(lines[world.below(lines.len())]);
            text.push_str(&"x".repeat(world.below(120)));
            text.push_str("\r\n");
        }
        // Ten letters a client at most.
        let login = LOGINS[number / 10 % LOGINS.len()];
        Self { login, sender, recipients, hold_s, priority, text }
    }

    /// Returns the octets of a submission.
    pub(super) fn text(&self, number: usize) -> Vec<u8> {
        let head = format!(
            "From: <{}>\r\nTo: somebody@one.example\r\nDate: Mon, 01 Oct 2096 00:00:00 +0000\r\n\
             Message-ID: <{number}@world.example>\r\nX-World: {number}\r\n\r\n",
            self.sender
        );
        (head + &self.text).into_bytes()
    }

    /// Returns how long a submission is, about.
    pub(super) fn size(&self) -> usize {
        self.text.len() + 400
    }

    /// Returns MAIL, and RCPT for every recipient.
    pub(super) fn commands(&self) -> Vec<String> {
        let hold =
            if self.hold_s > 0 { format!(" HOLDFOR={}", self.hold_s) } else { String::new() };
        let mail = format!("MAIL FROM:<{}> MT-PRIORITY={}{hold}\r\n", self.sender, self.priority);
        let rcpt = |to: &Recipient| {
            let notify = if to.notify.is_empty() { "" } else { " NOTIFY=" };
            format!("RCPT TO:<{}>{notify}{}\r\n", to.address, to.notify)
        };
        std::iter::once(mail).chain(self.recipients.iter().map(rcpt)).collect()
    }
}
