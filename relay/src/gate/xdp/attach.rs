//! Attaching to one interface: adopt the link that is pinned, or make one and pin it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::programs::links::{FdLink, PinnedLink};

use super::kernel_said;
use super::netlink::{self, Interface};
use super::pins::Pins;
use super::tables::refused;
use crate::gate::sys::{self, XdpFlags};
use crate::gate::{GateError, Health, InterfaceState, Mode};

/// A program that is loaded and announced.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its descriptor.
    pub fd: BorrowedFd<'a>,
    /// Its number.
    pub id: u32,
}

/// Attaches `program` to the interface called `name`.
///
/// Where our link holds the interface already, its program is exchanged between two frames, so that there
/// is no gap. A program that is not ours is left alone.
///
/// # Errors
///
/// [`GateError::UnknownInterface`], [`GateError::Foreign`], [`GateError::NoLink`], [`GateError::Attach`],
/// [`GateError::NotPermitted`].
pub fn attach(program: Program<'_>, pins: &Pins, name: &str) -> Result<InterfaceState, GateError> {
    let interface =
        look(name)?.ok_or_else(|| GateError::UnknownInterface { name: name.to_owned() })?;
    let path = pins.link(interface.index);
    if path.exists() {
        let what = || format!("{}: open", path.display());
        let link = PinnedLink::from_pin(&path).map_err(|error| refused(what(), error))?;
        let held = FdLink::from(link);
        let holds = held.info().map_err(|error| refused(what(), error))?.program_id();
        if let Some((id, Some(mode))) = interface.program
            && id == holds
        {
            drop(held);
            relink(program, &path)?;
            return Ok(InterfaceState::Guarded { mode, adopted: true });
        }
        // The interface of that index is gone, and so is what the link held: its number was used again.
        fs::remove_file(&path)
            .map_err(|error| kernel_said(format!("{}: remove", path.display()), error))?;
    }
    if let Some((program_id, _)) = interface.program {
        return Err(GateError::Foreign { name: name.to_owned(), program_id });
    }
    let (link, mode) = make_link(program, interface, name)?;
    sys::pin(&link, &path)
        .map_err(|error| kernel_said(format!("{}: pin", path.display()), error))?;
    Ok(InterfaceState::Guarded { mode, adopted: false })
}

fn relink(program: Program<'_>, path: &std::path::Path) -> Result<(), GateError> {
    let exchange = || {
        let link = sys::open_pin(path, sys::Access::ReadWrite)?;
        sys::relink(link, program.fd)
    };
    exchange()
        .map_err(|error| kernel_said(format!("{}: exchange the program", path.display()), error))
}

/// Makes a link in the driver, or else in the stack.
fn make_link(
    program: Program<'_>,
    interface: Interface,
    name: &str,
) -> Result<(std::os::fd::OwnedFd, Mode), GateError> {
    let link = |flags| sys::link_xdp(program.fd, interface.index, flags);
    let native = match link(XdpFlags::Native) {
        Ok(link) => return Ok((link, Mode::Native)),
        Err(error) => error,
    };
    let generic = match link(XdpFlags::Generic) {
        Ok(link) => return Ok((link, Mode::Generic)),
        Err(error) => error,
    };
    Err(not_attached(name, &native, &generic))
}

/// Finds the reason why neither way works.
fn not_attached(name: &str, native: &io::Error, generic: &io::Error) -> GateError {
    let name = name.to_owned();
    match generic.raw_os_error() {
        Some(nix::libc::EPERM) => {
            GateError::NotPermitted { what: format!("interface {name}: attach") }
        }
        Some(nix::libc::EINVAL) if native.raw_os_error() == generic.raw_os_error() => {
            GateError::NoLink { name }
        }
        _ => match look(&name) {
            Ok(Some(Interface { program: Some((program_id, _)), .. })) => {
                GateError::Foreign { name, program_id }
            }
            Ok(_) | Err(_) => {
                GateError::Attach { name, native: native.to_string(), generic: generic.to_string() }
            }
        },
    }
}

fn look(name: &str) -> Result<Option<Interface>, GateError> {
    netlink::interface(name)
        .map_err(|error| kernel_said(format!("interface {name}: ask the kernel"), error))
}

/// Returns how the interface called `name` stands, if the gate's programs have these numbers.
pub fn health(name: &str, programs: &[u32], adopted: bool) -> Health {
    let state = match netlink::interface(name) {
        Ok(None) => InterfaceState::NoInterface,
        Ok(Some(Interface { program: None, .. })) => InterfaceState::Missing,
        Ok(Some(Interface { program: Some((id, Some(mode))), .. })) if programs.contains(&id) => {
            InterfaceState::Guarded { mode, adopted }
        }
        Ok(Some(Interface { program: Some((program_id, _)), .. })) => {
            InterfaceState::Foreign { program_id }
        }
        Err(error) => InterfaceState::Unknown { problem: error.to_string() },
    };
    Health { interface: name.to_owned(), state }
}

/// Returns a program's descriptor and number.
pub fn of(program: &aya::programs::Xdp) -> Result<Program<'_>, GateError> {
    let what = || "program gate: ask for its number".to_owned();
    let id = program.info().map_err(|error| refused(what(), error))?.id();
    let fd = program.fd().map_err(|error| refused(what(), error))?.as_fd();
    Ok(Program { fd, id })
}
