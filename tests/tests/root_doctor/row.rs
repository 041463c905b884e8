//! Faults, each with how it is injected and what must be found.

use anyhow::Result;

use super::scene::Scene;

/// One fault: how it is injected, and what must be found.
pub struct Row {
    pub name: &'static str,
    /// The finding that must stand on top; empty: there must be no fault.
    pub wanted: &'static str,
    /// Faults that it brings about; they may stand below it.
    pub also: &'static [&'static str],
    /// More words for the verb.
    pub words: &'static [&'static str],
    /// Whether the command that is told mends it.
    pub pasted: bool,
    pub inject: fn(&mut Scene) -> Result<()>,
    pub undo: fn(&mut Scene) -> Result<()>,
}

pub const fn row(
    name: &'static str,
    wanted: &'static str,
    inject: fn(&mut Scene) -> Result<()>,
) -> Row {
    Row { name, wanted, also: &[], words: &[], pasted: false, inject, undo: |_| Ok(()) }
}

/// A host that is unusual, and well.
pub const fn well(name: &'static str, inject: fn(&mut Scene) -> Result<()>) -> Row {
    row(name, "", inject)
}

impl Row {
    pub const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    pub const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    pub const fn pasted(self) -> Self {
        Self { pasted: true, ..self }
    }

    pub const fn undo(self, undo: fn(&mut Scene) -> Result<()>) -> Self {
        Self { undo, ..self }
    }
}
