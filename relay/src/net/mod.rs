//! Sockets: each file is one loop.

mod capture;
mod certified;
pub mod conduct;
mod connection;
mod conversation;
mod fault;
mod lane;
mod memory;
pub mod outbound;
pub mod probe;
pub mod recall;
pub mod register;
mod reporting;
mod route_login;
pub mod routes;
pub mod settled;
mod stamp;
pub mod tls_client;
pub mod way;
#[cfg(test)]
mod world;
pub mod inbound;
pub mod login;
pub mod sessions;
pub mod signing;
pub mod tally;
pub mod tls;
