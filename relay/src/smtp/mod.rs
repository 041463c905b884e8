//! The language of SMTP (RFC 5321): what lines, commands, replies and addresses look like.
//!
//! Not here: what is allowed when (`session`) and to whom (`policy`).

pub mod address;
pub mod reply;
