//! The part of an attempt in which we log in.

use std::time::Instant;

use super::stage::{Channel, Stage};
use super::{Action, Asked, Attempt, End, Meaning, Outgoing, meaning};
use crate::config::RouteTls;
use crate::delivery::login::{Exchange, Fresh, Salted, Secret, Turn};
use crate::delivery::ruling::LoggedIn;
use crate::smtp::answer::{Answer, Class};

impl Attempt {
    /// Learns what the handshake that has just succeeded gives a login; before
    /// [`Attempt::secured`].
    pub fn arm(&mut self, fresh: Fresh) {
        self.fresh = Some(fresh);
    }

    /// Goes on after [`Action::Derive`].
    pub fn derived(&mut self, salted: &Salted, now: Instant) {
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Auth(exchange) => self.login_turn(exchange.derived(salted), now),
            stage => self.stage = stage,
        }
    }

    /// Logs in if there is something to log in with; else the first message can begin.
    pub(super) fn log_in(&mut self, channel: Channel, now: Instant) {
        let Some(credentials) = self.credentials.take() else { return self.ready(now) };
        match (self.tls, channel) {
            (RouteTls::Required | RouteTls::Implicit, Channel::Tls) => {}
            (
                RouteTls::Required | RouteTls::Implicit | RouteTls::Opportunistic | RouteTls::None,
                Channel::Clear,
            ) => {
                return self.unfit("a password is not sent in the clear, and the route has no TLS");
            }
            (RouteTls::Opportunistic | RouteTls::None, Channel::Tls) => {
                return self.unfit("a login is not shown to a next hop that is not proved");
            }
        }
        match Exchange::begin(credentials, self.offer.auth, self.fresh.take()) {
            Ok((exchange, secret)) => self.send_secret(exchange, secret, now),
            Err(words) => self.unfit(&words),
        }
    }

    /// Takes an answer to AUTH or to a step of it.
    pub(super) fn login_answered(&mut self, exchange: Exchange, answer: &Answer, now: Instant) {
        if answer.class() == Class::Continue {
            let challenge = answer.lines()[0].trim();
            return self.login_turn(exchange.challenged(challenge), now);
        }
        match (meaning(Asked::Auth, answer, self.logged_in), exchange.reason()) {
            (Meaning::LoginRefused, Some(reason)) => {
                let words = format!("{} ({reason})", answer.summary());
                self.close(End::LoginRefused(words));
            }
            (Meaning::LoginRefused, None) => self.close(End::LoginRefused(answer.summary())),
            (Meaning::Granted, _) => match exchange.granted() {
                Ok(()) => {
                    self.logged_in = LoggedIn::Yes;
                    self.ready(now);
                }
                Err(words) => self.close(End::Unproved(words)),
            },
            (Meaning::NotHere | Meaning::NotNow | Meaning::Never, _) => {
                self.unfit(&format!("AUTH was answered {}", answer.summary()));
            }
        }
    }

    fn login_turn(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Say(exchange, secret) => self.send_secret(exchange, secret, now),
            Turn::Derive(exchange, derivation) => {
                self.actions.push_back(Action::Derive(derivation));
                self.wait(Stage::Auth(exchange), now);
            }
            Turn::Broken(words) => self.unfit(&format!("the login came to nothing: {words}")),
            Turn::Unproved(words) => self.close(End::Unproved(words)),
        }
    }

    fn send_secret(&mut self, exchange: Exchange, secret: Secret, now: Instant) {
        self.actions.push_back(Action::SendSecret(secret));
        self.outgoing = Outgoing::Pending;
        self.wait(Stage::Auth(exchange), now);
    }
}
