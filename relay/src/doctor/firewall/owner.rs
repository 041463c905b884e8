//! Whose a packet is, and what rules ask of that: the user and the group of whoever made the socket that sends it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use nix::unistd::{Group, User};
use rustix::process::{getegid, geteuid};

use super::packet::Part;
use super::truth::{Sense, Truth};
use crate::appliance::privilege::Identity;

/// Whose a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Owner {
    /// That of a process of this user, which is in this group first.
    Of(Identity),
    /// Nobody's: it comes in to connect, so no socket has it yet.
    Nobody,
    /// It cannot be told. An answer to a client is the listening socket's, which the gate makes and hands on, and with
    /// SYN cookies no socket's (`tcp_make_synack` of the kernel); one to us may be found to be ours as it comes in.
    Unknown,
}

/// Which number of an owner is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    User,
    Group,
}

thread_local! {
    /// The names that rules named so far. Each may be asked of a server (nsswitch.conf), and stands in thousands of rules.
    static NAMES: RefCell<HashMap<(Number, String), Option<u32>>> = RefCell::default();
}

impl Owner {
    /// Returns that of the relay, by the user that the configuration names.
    pub(in crate::doctor) fn relay(user: &str) -> Self {
        Identity::of(user).map_or(Self::Unknown, Self::Of)
    }

    /// Returns that of this process.
    pub(in crate::doctor) fn this_process() -> Self {
        Self::Of(Identity { uid: geteuid().as_raw(), gid: getegid().as_raw() })
    }

    /// Returns whose a packet is as it comes in, whoever sent it: loopback takes it from its socket, too.
    pub(super) const fn of_incoming(part: Part) -> Self {
        match part {
            Part::Attempt => Self::Nobody,
            Part::Answer => Self::Unknown,
        }
    }

    /// Tells whether the owner's number is one of these, or none of them. Of what is nobody's nothing is asked: the rule
    /// ends there (`nft_meta_get_eval_skugid` of the kernel).
    pub(super) fn is(self, number: Number, of: &[RangeInclusive<u32>], sense: Sense) -> Truth {
        match self {
            Self::Of(Identity { uid, gid }) => {
                let own = match number {
                    Number::User => uid,
                    Number::Group => gid,
                };
                sense.of(Truth::from(of.iter().any(|some| some.contains(&own))))
            }
            Self::Nobody => Truth::No,
            Self::Unknown => Truth::Perhaps,
        }
    }
}

impl Number {
    /// Reads a user or group that a rule names, by its number or its name.
    pub(super) fn read(self, written: &str) -> Option<u32> {
        written.parse().ok().or_else(|| {
            NAMES.with_borrow_mut(|names| {
                *names.entry((self, written.to_owned())).or_insert_with(|| self.look_up(written))
            })
        })
    }

    fn look_up(self, name: &str) -> Option<u32> {
        match self {
            Self::User => Some(User::from_name(name).ok()??.uid.as_raw()),
            Self::Group => Some(Group::from_name(name).ok()??.gid.as_raw()),
        }
    }

    /// Reads one, or all from one to another.
    pub(super) fn range(self, written: &str) -> Option<RangeInclusive<u32>> {
        if let Some(one) = self.read(written) {
            return Some(one..=one);
        }
        let (first, last) = written.split_once('-')?;
        Some(self.read(first)?..=self.read(last)?)
    }
}
