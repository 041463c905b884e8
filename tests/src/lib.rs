//! What the tests of the whole share: no test is in here.

#![forbid(unsafe_code)]

pub mod browser;
pub mod collector;
pub mod contest;
pub mod forger;
pub mod frames;
pub mod hop;
pub mod house;
pub mod lists;
pub mod load;
pub mod machine;
pub mod manager;
pub mod measure;
pub mod misconduct;
pub mod mutate;
pub mod named;
pub mod need;
pub mod pebble;
pub mod peer;
pub mod scrape;
pub mod sender;
pub mod setup;
pub mod state;
pub mod stranger;
pub mod svg;
pub mod systemd;
pub mod terminal;
pub mod world;
