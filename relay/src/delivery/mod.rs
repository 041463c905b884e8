//! Sending mail, without sockets: we are the client of a next hop (RFC 5321).
//!
//! [`attempt::Attempt`] is one connection that carries one message after another. It has the
//! grammar of `session`: octets and `now` in, actions and one deadline out. Around it stand the
//! decisions of the loop in `net::outbound`: which recipients go which way ([`sorting`]), whether
//! a route can be used now ([`health`]), and what becomes of each recipient ([`settlement`]).
//!
//! Not here: sockets, TLS and the spool (`net`), and how long deferred mail waits
//! (`policy::retry`).

use crate::smtp::extension::Extensions;

/// The extensions that are kept on the way out, so that clients may be offered them: all that we
/// know.
pub const KEPT: Extensions = Extensions::ALL;

pub mod action;
pub mod addresses;
pub mod attempt;
pub mod carriage;
pub mod chunk;
mod commands;
pub mod flow;
pub mod health;
pub mod labels;
pub mod login;
pub mod offer;
pub mod pace;
pub mod parcel;
pub mod pool;
pub mod ruling;
pub mod settlement;
pub mod sorting;
pub mod stuffing;
pub mod terms;
pub mod throttle;
pub mod traffic;
pub mod transaction;
pub mod trip;
