//! The interfaces and the links that hold the gate's program on them.
//!
//! A link is kept by its pin, so that it outlives this process, and by a descriptor, so that it outlives its
//! pin: whoever takes pins away opens nothing, and the next look puts them back.

use std::fs;
use std::os::fd::OwnedFd;

use super::attach::{self, Program};
use super::kernel_said;
use super::pins::Pins;
use crate::gate::approach::{self, Approaches};
use crate::gate::netlink::{self, Interface};
use crate::gate::sys;
use crate::gate::{GateError, Health, InterfaceState, XdpMode};

/// Every interface that is guarded.
pub struct Links {
    pins: Pins,
    /// The ways to attach, the best first.
    ways: Vec<XdpMode>,
    guarded: Vec<Guarded>,
}

/// An interface of the configuration.
struct Guarded {
    /// The name that it had when it was attached.
    name: String,
    index: u32,
    link: OwnedFd,
    adopted: bool,
    /// Its queues when they were last looked at.
    channels: Option<[u32; 4]>,
}

impl Links {
    /// Returns no interface yet.
    pub const fn new(pins: Pins, ways: Vec<XdpMode>) -> Self {
        Self { pins, ways, guarded: Vec::new() }
    }

    /// Attaches `program` to the interface called `name`.
    ///
    /// # Errors
    ///
    /// See [`attach::attach`].
    pub fn add(&mut self, program: Program<'_>, name: &str) -> Result<(), GateError> {
        let made = attach::attach(program, &self.pins, name, &self.ways)?;
        let (index, link, adopted) = (made.index, made.link, made.adopted);
        let channels = sys::channels(name).ok().flatten();
        self.guarded.push(Guarded { name: name.to_owned(), index, link, adopted, channels });
        Ok(())
    }

    /// Returns how every interface stands.
    pub fn health(&self, programs: &[u32]) -> Vec<Health> {
        self.guarded.iter().map(|guarded| guarded.health(programs)).collect()
    }

    /// Returns whether clients can come by every interface, and at all.
    pub fn approaches(&self) -> Approaches {
        let seen: Vec<_> = self.guarded.iter().map(Guarded::look).collect();
        approach::look(&seen)
    }

    /// Attaches again where the program is missing, and returns how every interface stands then.
    pub fn repair(&mut self, program: Program<'_>) -> Vec<Health> {
        let Self { pins, ways, guarded } = self;
        guarded.iter_mut().map(|guarded| guarded.repair(program, pins, ways)).collect()
    }

    /// Returns the interfaces whose queues are others than at the last look. A driver may forget to run the
    /// program on a queue that is new: veth of Linux 6.18 does.
    pub fn rearranged(&mut self) -> Vec<String> {
        let mut rearranged = Vec::new();
        for guarded in &mut self.guarded {
            let name = guarded.look().ok().flatten().map(|found| found.name);
            let Some(channels) = name.and_then(|name| sys::channels(&name).ok()) else { continue };
            if channels != guarded.channels {
                guarded.channels = channels;
                rearranged.push(guarded.name.clone());
            }
        }
        rearranged
    }

    /// Exchanges the program on every interface for another, between two frames each.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn exchange(&self, program: Program<'_>) -> Result<(), GateError> {
        for guarded in &self.guarded {
            match sys::relink(&guarded.link, program.fd) {
                // Its interface is gone: nothing runs on it.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOLINK) => {}
                result => result.map_err(|error| {
                    kernel_said(format!("interface {}: exchange the program", guarded.name), error)
                })?,
            }
        }
        Ok(())
    }

    /// Pins again what is not pinned any more; returns how many links were.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn pin_again(&self) -> Result<usize, GateError> {
        let mut pinned = 0;
        for guarded in &self.guarded {
            let path = self.pins.link(guarded.index);
            if !path.exists() {
                pin(&guarded.link, &self.pins, guarded.index)?;
                pinned += 1;
            }
        }
        Ok(pinned)
    }

    /// Returns the numbers that the interfaces have now; 0 for one that is not there.
    pub fn numbers(&self) -> Vec<u32> {
        let number = |guarded: &Guarded| {
            let found = guarded.look();
            found.ok().flatten().map_or(0, |interface| interface.index)
        };
        self.guarded.iter().map(number).collect()
    }

    /// Takes the program from every interface, and every link's pin away.
    ///
    /// # Errors
    ///
    /// See [`attach::detach`].
    pub fn detach(&mut self) -> Result<(), GateError> {
        attach::detach(&self.pins)?;
        // A link whose pin was gone is detached as well.
        for guarded in self.guarded.drain(..) {
            let _ = sys::unlink(&guarded.link);
        }
        Ok(())
    }
}

impl Guarded {
    /// Returns the interface: by its name, or, if nobody has that name any more, the one that had it.
    fn look(&self) -> std::io::Result<Option<Interface>> {
        match netlink::interface(&self.name)? {
            Some(interface) => Ok(Some(interface)),
            None => netlink::by_index(self.index),
        }
    }

    fn health(&self, programs: &[u32]) -> Health {
        attach::state(&self.name, self.look(), programs, self.adopted)
    }

    fn repair(&mut self, program: Program<'_>, pins: &Pins, ways: &[XdpMode]) -> Health {
        let seen = self.health(&[program.id]);
        if seen.state != InterfaceState::Missing {
            return seen;
        }
        // It went and came back, or somebody detached the link, which holds nothing then.
        let found = self.look().ok().flatten();
        let name = found.map_or_else(|| self.name.clone(), |found| found.name);
        match attach::attach(program, pins, &name, ways) {
            Ok(made) => {
                (self.index, self.link, self.adopted) = (made.index, made.link, made.adopted);
                self.health(&[program.id])
            }
            Err(error) => {
                Health { state: InterfaceState::Unknown { problem: error.to_string() }, ..seen }
            }
        }
    }
}

/// Pins a link under the number of its interface.
pub fn pin(link: &OwnedFd, pins: &Pins, index: u32) -> Result<(), GateError> {
    let path = pins.link(index);
    sys::pin(link, &path).map_err(|error| kernel_said(format!("{}: pin", path.display()), error))
}

/// Takes the pin of a link away that holds nothing any more.
pub fn unpin(pins: &Pins, index: u32) -> Result<(), GateError> {
    let path = pins.link(index);
    fs::remove_file(&path)
        .map_err(|error| kernel_said(format!("{}: remove", path.display()), error))
}
