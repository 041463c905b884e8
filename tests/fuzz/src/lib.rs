//! Claims about every input of the rooms that strangers reach.
//!
//! A target takes octets and panics if they break a claim. libFuzzer looks for such octets
//! (`cargo xtask fuzz`); `tests/replay.rs` runs every input of the committed corpus in
//! `corpus/TARGET`, without libFuzzer, with every other test.
//!
//! ```text
//! session     the session as a whole: however input is cut, it says and stores the same
//! sasl        the responses of AUTH, mechanism by mechanism
//! line        command lines
//! address     mailboxes and paths
//! parameters  what MAIL and RCPT say behind the path
//! body        the end of a message, and the octets before it
//! header      header sections, as they come and as they travel on
//! convert     8-bit and binary messages, made 7-bit
//! ```
//!
//! Not here: what one known input must do, which is for dialogues and tables.

#![forbid(unsafe_code)]

mod address;
mod convert;
mod cut;
#[path = "../../../relay/tests/session/desk.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the desk of the session's own tests")]
mod desk;
#[path = "../../../relay/src/mail/convert/leaves.rs"]
mod leaves;
mod message;
mod parameters;
mod sasl;
mod session;

/// The environment variable that names the target to libFuzzer's program.
pub const VARIABLE: &str = "SALLYPORT_FUZZ_TARGET";

/// A claim about every input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    claim: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "session", claim: session::goes_alike_however_it_is_cut },
    Target { name: "sasl", claim: sasl::ends_in_step },
    Target { name: "line", claim: cut::lines_are_those_of_the_slow_reading },
    Target { name: "address", claim: address::is_written_back_as_it_was_read },
    Target { name: "parameters", claim: parameters::mean_the_same_in_any_order },
    Target { name: "body", claim: cut::a_body_is_that_of_the_slow_reading },
    Target { name: "header", claim: message::a_section_travels_on_whole },
    Target { name: "convert", claim: convert::is_seven_bit_and_reads_the_same },
];

impl Target {
    /// Returns the target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Runs one input.
    ///
    /// # Panics
    ///
    /// If the input breaks the claim.
    pub fn run(self, input: &[u8]) {
        (self.claim)(input);
    }
}
