//! The language of SMTP (RFC 5321): what lines, commands, replies, addresses and the end of a
//! message look like.
//!
//! Not here: what is allowed when (`session`) and to whom (`policy`).

pub mod address;
pub mod answer;
pub mod body;
pub mod chunk;
pub mod command;
pub mod extension;
pub mod line;
pub mod parameter;
pub mod proxy;
pub mod reply;
pub mod xclient;
pub mod xtext;
