//! From what aya and the kernel say to what an operator can use.

use std::error::Error;
use std::io;

use aya::maps::MapError;
use relay_common::table::Table;

use super::kernel_said;
use crate::gate::GateError;

/// Returns the number of the system's error inside `error`.
pub fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        None => error.source().and_then(errno),
        number => number,
    }
}

/// Returns the gate's error for one of aya's.
pub fn refused(what: String, error: impl Error + Send + Sync + 'static) -> GateError {
    let source =
        errno(&error).map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
    kernel_said(what, source)
}

/// Takes "there was none" for done.
pub fn gone(result: Result<(), MapError>, table: &Table) -> Result<(), GateError> {
    match result {
        Err(error) if errno(&error) == Some(nix::libc::ENOENT) => Ok(()),
        result => result.map_err(|error| refused(format!("table {}: remove", table.name), error)),
    }
}

/// Returns the gate's error for an element that was not written.
pub fn not_written(table: &Table, error: impl Error + Send + Sync + 'static) -> GateError {
    match errno(&error) {
        // A hash is full with E2BIG.
        Some(nix::libc::ENOSPC | nix::libc::E2BIG) => {
            GateError::Full { table: table.name, capacity: table.capacity }
        }
        _ => refused(format!("table {}: write", table.name), error),
    }
}
