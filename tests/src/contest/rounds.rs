//! Rounds of loads, in which the servers take turns.

use anyhow::Result;
use serde::Serialize;

use super::figures::Round;
use super::rows::Row;
use super::servers::{Servers, Who};

/// How often every load runs for every server.
const ROUNDS: usize = 3;

/// One load of one server.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Which.
    pub row: &'static str,
    /// Whose.
    pub server: &'static str,
    /// Each figure's median over the rounds.
    pub median: Round,
    /// The rounds.
    pub rounds: Vec<Round>,
}

/// Runs every load of `rows` for every server once in every round.
///
/// # Errors
///
/// What the first load failed with.
pub fn run<'a>(
    servers: &mut Servers,
    rows: impl IntoIterator<Item = &'a Row> + Clone,
) -> Result<Vec<Load>> {
    let mut loads: Vec<Load> = Vec::new();
    for number in 1..=ROUNDS {
        for row in rows.clone() {
            eprintln!("bench: round {number} of {ROUNDS}: {}", row.name);
            for who in Who::ALL {
                let Some(round) = servers.measure(who, row)? else { continue };
                let same = |load: &&mut Load| load.row == row.name && load.server == who.name();
                match loads.iter_mut().find(same) {
                    Some(load) => load.rounds.push(round),
                    None => loads.push(Load {
                        row: row.name,
                        server: who.name(),
                        median: Round::default(),
                        rounds: vec![round],
                    }),
                }
            }
        }
    }
    for load in &mut loads {
        load.median = Round::median_of(&load.rounds);
    }
    Ok(loads)
}
