//! What the gate is told of clients: who completed a handshake, and whose login failed.
//!
//! The kernel sees connection attempts, which anybody can forge in the name of a listed client; only who accepts
//! knows that a handshake was completed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The addresses that are told by name in one tally, of each kind; what others did is added up.
pub const NAMED_MAX: usize = 256;

/// What was counted since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Accepted connections, by the other end.
    pub completed: Named,
    /// Failed logins, by the client, and those that were put off: whoever guesses goes on while they are.
    pub failed: Named,
    /// The same, by their cause.
    #[serde(default)]
    pub causes: Causes,
    /// The last of them, in words: address, login, cause. A name that no login can have is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Why a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no such login.
    UnknownLogin,
    /// The password is wrong, or what was made of it (SCRAM).
    WrongPassword,
    /// What was shown is right, and of another login than the wanted one.
    OtherLogin,
    /// The token is not signed by who it should be, or is over, or not for this host.
    WrongToken,
    /// It was not looked at: the login has to wait since it failed too often from this address.
    PutOff,
}

/// Numbers by [`Cause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Causes {
    /// Of [`Cause::UnknownLogin`].
    pub unknown_login: u64,
    /// Of [`Cause::WrongPassword`].
    pub wrong_password: u64,
    /// Of [`Cause::OtherLogin`].
    pub other_login: u64,
    /// Of [`Cause::WrongToken`].
    pub wrong_token: u64,
    /// Of [`Cause::PutOff`].
    pub put_off: u64,
}

impl Cause {
    /// Returns the name that alerts carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownLogin => "unknown_login",
            Self::WrongPassword => "wrong_password",
            Self::OtherLogin => "other_login",
            Self::WrongToken => "wrong_token",
            Self::PutOff => "put_off",
        }
    }
}

impl Causes {
    /// Returns each number with the name of its cause.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            (Cause::UnknownLogin.name(), self.unknown_login),
            (Cause::WrongPassword.name(), self.wrong_password),
            (Cause::OtherLogin.name(), self.other_login),
            (Cause::WrongToken.name(), self.wrong_token),
            (Cause::PutOff.name(), self.put_off),
        ]
    }

    /// Adds those of another tally, which may claim anything.
    pub const fn add(&mut self, other: &Self) {
        self.unknown_login = self.unknown_login.saturating_add(other.unknown_login);
        self.wrong_password = self.wrong_password.saturating_add(other.wrong_password);
        self.other_login = self.other_login.saturating_add(other.other_login);
        self.wrong_token = self.wrong_token.saturating_add(other.wrong_token);
        self.put_off = self.put_off.saturating_add(other.put_off);
    }

    const fn count(&mut self, cause: Cause) {
        match cause {
            Cause::UnknownLogin => self.unknown_login += 1,
            Cause::WrongPassword => self.wrong_password += 1,
            Cause::OtherLogin => self.other_login += 1,
            Cause::WrongToken => self.wrong_token += 1,
            Cause::PutOff => self.put_off += 1,
        }
    }
}

/// Numbers by address, and one for all addresses beyond [`NAMED_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The numbers.
    pub by: BTreeMap<IpAddr, u64>,
    /// What the others come to.
    #[serde(default)]
    pub others: u64,
}

impl Named {
    fn add(&mut self, address: IpAddr) {
        if self.by.len() < NAMED_MAX || self.by.contains_key(&address) {
            *self.by.entry(address).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    /// Returns the sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.by.values().fold(self.others, |sum, count| sum.saturating_add(*count))
    }
}

/// Counts for the gate. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Mutex<Tally>>);

impl Tallies {
    /// Counts a connection that was accepted.
    pub fn completed(&self, peer: IpAddr) {
        self.held().completed.add(peer);
    }

    /// Counts a login that failed; its name, of at most 64 octets, is empty where no login can have it.
    pub fn failed(&self, client: IpAddr, login: &str, cause: Cause) {
        let mut tally = self.held();
        tally.failed.add(client);
        tally.causes.count(cause);
        let whom = if login.is_empty() { String::new() } else { format!(" as {login}") };
        tally.failure = Some(format!("{client}{whom}, {}", cause.name()));
    }

    /// Returns what was counted since the last call.
    #[must_use]
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.held())
    }

    fn held(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_names_so_many_and_adds_the_others_up() {
        let tallies = Tallies::default();
        for number in 0..1_000_u32 {
            tallies.completed(IpAddr::from(number.to_be_bytes()));
            tallies.completed(IpAddr::from([0, 0, 0, 7]));
        }
        tallies.failed(IpAddr::from([0, 0, 0, 7]), "app", Cause::WrongPassword);
        let tally = tallies.take();
        assert_eq!(tally.completed.by.len(), NAMED_MAX);
        assert_eq!(tally.completed.by[&IpAddr::from([0, 0, 0, 7])], 1_001);
        assert_eq!((tally.completed.sum(), tally.failed.sum()), (2_000, 1));
        assert_eq!(tally.causes, Causes { wrong_password: 1, ..Causes::default() });
        assert_eq!(tally.failure.as_deref(), Some("0.0.0.7 as app, wrong_password"));
        assert!(serde_json::to_vec(&tally).unwrap().len() < 32 << 10);
        assert_eq!(tallies.take(), Tally::default());
    }

    #[test]
    fn a_login_that_failed_is_counted_by_its_cause_and_the_last_one_is_told_in_words() {
        let tallies = Tallies::default();
        let causes = [
            Cause::UnknownLogin,
            Cause::WrongPassword,
            Cause::OtherLogin,
            Cause::WrongToken,
            Cause::PutOff,
        ];
        for (times, cause) in (1..).zip(causes) {
            (0..times).for_each(|_| tallies.failed(IpAddr::from([0, 0, 0, 7]), "", cause));
        }
        let Tally { causes: told, failure, .. } = tallies.take();
        assert_eq!(told.named().map(|(_, count)| count), [1, 2, 3, 4, 5]);
        assert_eq!(told.named().map(|(name, _)| name), causes.map(Cause::name));
        assert_eq!(failure.as_deref(), Some("0.0.0.7, put_off"));
    }

    #[test]
    fn a_tally_of_a_relay_that_knows_no_causes_is_understood() {
        let old = r#"{"completed":{"by":{"192.0.2.1":3}},"failed":{"by":{},"others":2}}"#;
        let tally: Tally = serde_json::from_str(old).unwrap();
        assert_eq!((tally.completed.sum(), tally.failed.sum()), (3, 2));
        assert_eq!((tally.causes, tally.failure), (Causes::default(), None));
    }
}
