//! `sallyport config check`.

use std::path::Path;

use super::print;
use crate::appliance::load::load;

/// `sallyport config check FILE`: names every problem of a file.
///
/// # Errors
///
/// As [`load`].
pub fn check(file: &Path) -> anyhow::Result<()> {
    load(file)?;
    print::say(format!("{}: good", file.display()));
    Ok(())
}
