//! Attaching to one interface: adopt the link that is pinned, or make one and pin it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};

use super::errors::refused;
use super::pins::Pins;
use super::{kernel_said, links};
use crate::gate::netlink::{self, Interface};
use crate::gate::sys::{self, XdpFlags};
use crate::gate::{GateError, Health, InterfaceState, XdpMode};

/// A program that is loaded and announced.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its descriptor.
    pub fd: BorrowedFd<'a>,
    /// Its number.
    pub id: u32,
}

/// An attachment that was made or adopted.
#[derive(Debug)]
pub struct Made {
    /// The number of the interface.
    pub index: u32,
    /// What holds the program.
    pub link: OwnedFd,
    /// Whether it stood there already.
    pub adopted: bool,
}

/// Returns the interface called `name`, if the program can stand on it.
fn suited(name: &str) -> Result<Interface, GateError> {
    let interface =
        look(name)?.ok_or_else(|| GateError::UnknownInterface { name: name.to_owned() })?;
    if interface.ethernet {
        Ok(interface)
    } else {
        Err(GateError::NoEthernet { name: name.to_owned() })
    }
}

/// Returns the program that a pinned link holds.
fn held(path: &Path) -> Result<u32, GateError> {
    let what = || format!("{}: open", path.display());
    let link = PinnedLink::from_pin(path).map_err(|error| refused(what(), error))?;
    Ok(FdLink::from(link).info().map_err(|error| refused(what(), error))?.program_id())
}

/// Looks whether the gate can stand on an interface, and changes nothing.
///
/// # Errors
///
/// [`GateError::UnknownInterface`], [`GateError::NoEthernet`], [`GateError::Foreign`].
pub fn examine(pins: &Pins, name: &str) -> Result<(), GateError> {
    let interface = suited(name)?;
    let path = pins.link(interface.index);
    match interface.program {
        Some((program_id, _)) if !path.exists() || held(&path)? != program_id => {
            Err(GateError::Foreign { name: name.to_owned(), program_id })
        }
        Some(_) | None => Ok(()),
    }
}

/// Attaches `program` to the interface called `name`.
///
/// Where our link holds the interface already, its program is exchanged between two frames, so that there
/// is no gap. A program that is not ours is left alone.
///
/// # Errors
///
/// [`GateError::UnknownInterface`], [`GateError::NoEthernet`], [`GateError::Foreign`], [`GateError::NoLink`],
/// [`GateError::Attach`], [`GateError::NotPermitted`].
pub fn attach(
    program: Program<'_>,
    pins: &Pins,
    name: &str,
    ways: &[XdpMode],
) -> Result<Made, GateError> {
    let interface = suited(name)?;
    let index = interface.index;
    let path = pins.link(index);
    if path.exists() {
        if let Some((id, Some(_))) = interface.program
            && id == held(&path)?
        {
            return Ok(Made { index, link: relink(program, &path)?, adopted: true });
        }
        // The interface of that index is gone, and so is what the link held: its number was used again.
        links::unpin(pins, index)?;
    }
    if let Some((program_id, _)) = interface.program {
        return Err(GateError::Foreign { name: name.to_owned(), program_id });
    }
    let link = make_link(program, &interface, name, ways)?;
    links::pin(&link, pins, index)?;
    Ok(Made { index, link, adopted: false })
}

/// Takes the gate's program from every interface that a link of ours holds.
///
/// # Errors
///
/// What the kernel refused; some may be detached then.
pub fn detach(pins: &Pins) -> Result<(), GateError> {
    for path in pins.links()? {
        let what = || format!("{}: detach", path.display());
        let detach = || {
            let link = sys::open_pin(&path, sys::Access::ReadWrite)?;
            // A link whose interface is gone is detached already.
            let _ = sys::unlink(&link);
            fs::remove_file(&path)
        };
        detach().map_err(|error| kernel_said(what(), error))?;
    }
    Ok(())
}

fn relink(program: Program<'_>, path: &Path) -> Result<OwnedFd, GateError> {
    let exchange = || {
        let link = sys::open_pin(path, sys::Access::ReadWrite)?;
        sys::relink(&link, program.fd)?;
        Ok(link)
    };
    exchange()
        .map_err(|error| kernel_said(format!("{}: exchange the program", path.display()), error))
}

/// Makes a link in the first of these ways that works.
fn make_link(
    program: Program<'_>,
    interface: &Interface,
    name: &str,
    ways: &[XdpMode],
) -> Result<OwnedFd, GateError> {
    let mut refusals = Vec::new();
    for way in ways {
        let flags = match way {
            XdpMode::Native => XdpFlags::Native,
            XdpMode::Generic => XdpFlags::Generic,
        };
        match sys::link_xdp(program.fd, interface.index, flags) {
            Ok(link) => return Ok(link),
            Err(error) => refusals.push((*way, error)),
        }
    }
    Err(not_attached(name, &refusals))
}

/// Finds the reason why no way works.
fn not_attached(name: &str, refusals: &[(XdpMode, io::Error)]) -> GateError {
    let name = name.to_owned();
    let all = |code| refusals.iter().all(|(_, error)| error.raw_os_error() == Some(code));
    if refusals.iter().any(|(_, error)| error.raw_os_error() == Some(nix::libc::EPERM)) {
        return GateError::NotPermitted { what: format!("interface {name}: attach") };
    }
    if all(nix::libc::EINVAL) {
        return GateError::NoLink { name };
    }
    if let Ok(Some(Interface { program: Some((program_id, _)), .. })) = look(&name) {
        return GateError::Foreign { name, program_id };
    }
    let said = refusals.iter().map(|(way, error)| format!("{}: {error}", way.name()));
    GateError::Attach { name, refusals: said.collect::<Vec<_>>().join("; ") }
}

fn look(name: &str) -> Result<Option<Interface>, GateError> {
    netlink::interface(name)
        .map_err(|error| kernel_said(format!("interface {name}: ask the kernel"), error))
}

/// Returns how the interface called `name` stands, if the gate's programs have these numbers. If nobody has
/// that name, one of the interfaces with a link of ours and another name stands for it, if there is one.
pub fn health(name: &str, others: &[String], programs: &[u32], pins: &Pins) -> Health {
    let seen = netlink::interface(name).map(|seen| seen.or_else(|| renamed(others, pins)));
    state(name, seen, programs, true)
}

/// Returns an interface that was attached and has none of these names now.
fn renamed(names: &[String], pins: &Pins) -> Option<Interface> {
    let mut linked = pins.linked().into_iter();
    linked.find_map(|index| {
        let found = netlink::by_index(index).ok().flatten()?;
        (!names.contains(&found.name) && found.program.is_some()).then_some(found)
    })
}

/// Returns how an interface stands, given what the kernel says of the one that has its name or had it.
pub fn state(
    name: &str,
    seen: io::Result<Option<Interface>>,
    programs: &[u32],
    adopted: bool,
) -> Health {
    let state = match seen {
        Ok(None) => InterfaceState::NoInterface,
        Ok(Some(Interface { program: None, .. })) => InterfaceState::Missing,
        Ok(Some(Interface { program: Some((id, Some(mode))), name: found, .. }))
            if programs.contains(&id) =>
        {
            let renamed = (found != name).then_some(found);
            InterfaceState::Guarded { mode, adopted, renamed }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(codes: [i32; 2]) -> GateError {
        let ways = [XdpMode::Native, XdpMode::Generic];
        let refusals = codes.map(io::Error::from_raw_os_error);
        let refusals: Vec<_> = ways.into_iter().zip(refusals).collect();
        not_attached("no-such-device", &refusals)
    }

    #[test]
    fn where_neither_way_makes_a_link_the_kernel_is_too_old() {
        use nix::libc::{EBUSY, EINVAL, EOPNOTSUPP, EPERM};
        let old = refused([EINVAL, EINVAL]);
        assert!(matches!(&old, GateError::NoLink { .. }), "{old}");
        assert!(matches!(refused([EPERM, EPERM]), GateError::NotPermitted { .. }));
        let both = refused([EOPNOTSUPP, EBUSY]).to_string();
        assert!(both.contains("native: ") && both.contains("generic: "), "{both}");
    }
}
