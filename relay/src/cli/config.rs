//! `sallyport config check`.

use std::path::Path;

use anyhow::bail;

use super::print;
use crate::appliance::load::load;
use crate::net::signing::Keys;

/// `sallyport config check FILE`: names every problem of a file.
///
/// # Errors
///
/// As [`load`], or with every key for DKIM that cannot be used.
pub fn check(file: &Path) -> anyhow::Result<()> {
    let config = load(file)?;
    let keys = Keys::load(&config);
    let problems: Vec<&str> = keys.problems().collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    print::say(format!("{}: good", file.display()));
    Ok(())
}
