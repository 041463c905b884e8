//! A disk that fails as disks do, from a seed: what was not flushed is lost in part and in any
//! order, sector by sector; operations fail half done; a failed flush forgets what it should have
//! written and does not fail again; space runs out.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::spool::disk::{Disk, File, Space};

/// What a disk writes whole or not at all, octets.
const SECTOR: usize = 512;

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Returns a number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// One operation in this many fails.
    Failing(u64),
    /// No more than this many octets are to be had.
    Full(usize),
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What a flush reached.
    durable: Vec<u8>,
    /// Where `seen` was written since.
    dirty: Vec<(usize, Vec<u8>)>,
}

impl Content {
    /// Writes into `durable` what a power loss leaves of the rest.
    fn lose(&mut self, dice: &mut Dice) {
        for (offset, bytes) in std::mem::take(&mut self.dirty) {
            let mut at = 0;
            while at < bytes.len() {
                let length = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
                if dice.roll(2) == 0 {
                    put(&mut self.durable, offset + at, &bytes[at..at + length]);
                }
                at += length;
            }
        }
    }
}

fn put(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[offset..end].copy_from_slice(bytes);
}

#[derive(Debug)]
enum Renaming {
    Made(String, u64),
    Removed(String),
    Renamed(String, String),
}

#[derive(Debug)]
struct World {
    dice: Dice,
    weather: Weather,
    /// Power fails before the operation that comes after this many.
    power_fails_in: Option<u64>,
    contents: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending: Vec<Renaming>,
    next: u64,
    /// Octets of files that cannot be read.
    unreadable: BTreeMap<u64, Range<u64>>,
}

impl World {
    /// Counts an operation; fails it if the power or luck runs out.
    fn begin(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.power_fails_in {
            if *left == 0 {
                return Err(io::Error::other("no power"));
            }
            *left -= 1;
        }
        match self.weather {
            Weather::Failing(sides) if self.dice.roll(sides) == 0 => Err(io::Error::other("i/o")),
            Weather::Fair | Weather::Failing(_) | Weather::Full(_) => Ok(()),
        }
    }

    fn has_power(&self) -> bool {
        self.power_fails_in != Some(0)
    }

    fn used(&self) -> usize {
        self.names.values().map(|content| self.contents[content].seen.len()).sum()
    }
}

/// A simulated disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
}

impl Simulated {
    /// Makes an empty disk.
    pub fn new(seed: u64) -> Self {
        let world = World {
            dice: Dice(seed),
            weather: Weather::Fair,
            power_fails_in: None,
            contents: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            next: 0,
            unreadable: BTreeMap::new(),
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes what goes wrong from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.world().weather = weather;
    }

    /// Tells whether the power is on.
    pub fn has_power(&self) -> bool {
        self.world().has_power()
    }

    /// Lets the power fail after `operations` more.
    pub fn fail_power_in(&self, operations: u64) {
        self.world().power_fails_in = Some(operations);
    }

    /// Takes the power away, now at the latest, and gives back the disk as it is found then.
    pub fn restart(&self) -> Self {
        let mut world = self.world();
        let mut dice = world.dice.clone();
        let (mut names, pending) =
            (world.durable_names.clone(), std::mem::take(&mut world.pending));
        for renaming in pending {
            if dice.roll(2) == 0 {
                continue;
            }
            match renaming {
                Renaming::Made(name, content) => drop(names.insert(name, content)),
                Renaming::Removed(name) => drop(names.remove(&name)),
                Renaming::Renamed(from, to) => {
                    let content = names.remove(&from);
                    names.extend(content.map(|content| (to, content)));
                }
            }
        }
        let next = Self::new(dice.roll(u64::MAX));
        {
            let mut after = next.world();
            for (name, number) in names {
                let mut content = world.contents[&number].clone();
                content.lose(&mut dice);
                content.seen.clone_from(&content.durable);
                after.contents.insert(number, content);
                after.names.insert(name, number);
            }
            after.durable_names = after.names.clone();
            after.next = world.next;
        }
        next
    }

    /// Ends a process, now at the latest, that [`Self::fail_power_in`] was to end: what it wrote and
    /// did not flush is seen by the next one, and still lost if the power fails.
    pub fn kill(&self) {
        self.world().power_fails_in = None;
    }

    /// Returns the octets of the file `name` as a reader sees them.
    pub fn seen(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.contents[&world.names[name]].seen.clone()
    }

    /// Puts other octets into the file `name`, durably: somebody else's hand.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let number = world.names[name];
        let content = Content { seen: bytes.to_vec(), durable: bytes.to_vec(), dirty: Vec::new() };
        world.contents.insert(number, content);
    }

    /// Has the reading of `octets` of the file `name` fail from now on.
    pub fn wear_out(&self, name: &str, octets: Range<u64>) {
        let mut world = self.world();
        let number = world.names[name];
        world.unreadable.insert(number, octets);
    }

    /// Returns a disk with the same files, apart from this one.
    pub fn copy(&self) -> Self {
        let world = self.world();
        let copy = Self::new(world.dice.0);
        {
            let mut other = copy.world();
            other.contents = world.contents.clone();
            other.names = world.names.clone();
            other.durable_names = world.durable_names.clone();
            other.next = world.next;
        }
        copy
    }
}

impl Disk for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.begin()?;
        Ok(world.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        world.begin()?;
        assert!(!world.names.contains_key(name), "{name} is made twice");
        let number = world.next;
        world.next += 1;
        world.contents.insert(number, Content::default());
        world.names.insert(name.to_owned(), number);
        world.pending.push(Renaming::Made(name.to_owned(), number));
        Ok(Arc::new(Opened { disk: self.clone(), number }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        world.begin()?;
        let number = *world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Opened { disk: self.clone(), number }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        world.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        world.pending.push(Renaming::Removed(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        let number = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), number);
        world.pending.push(Renaming::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn flush_folder(&self) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        world.durable_names = world.names.clone();
        world.pending.clear();
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space { free_bytes: 1 << 40, total_bytes: 1 << 40 })
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct Opened {
    disk: Simulated,
    number: u64,
}

impl File for Opened {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let luck = world.begin();
        let room = match world.weather {
            Weather::Full(limit) => limit.saturating_sub(world.used()),
            Weather::Fair | Weather::Failing(_) => usize::MAX,
        };
        let written = match (&luck, world.has_power()) {
            (Ok(()), _) => bytes.len().min(room),
            // An operation that fails may have been done in part.
            (Err(_), true) => world.dice.roll(bytes.len() as u64 + 1) as usize,
            (Err(_), false) => 0,
        };
        let offset = offset as usize;
        let content = world.contents.get_mut(&self.number).unwrap();
        put(&mut content.seen, offset, &bytes[..written]);
        content.dirty.push((offset, bytes[..written].to_vec()));
        luck?;
        if written < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let world = self.disk.world();
        let bad = world.unreadable.get(&self.number);
        if bad.is_some_and(|bad| offset < bad.end && bad.start < offset + bytes.len() as u64) {
            return Err(rustix::io::Errno::IO.into());
        }
        let seen = &world.contents[&self.number].seen;
        let found = seen.get(offset as usize..offset as usize + bytes.len());
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_from_memory(&self, bytes: &mut [u8], offset: u64) -> bool {
        self.read_at(bytes, offset).is_ok()
    }

    fn flush(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        let luck = world.begin();
        if luck.is_err() && !world.has_power() {
            return luck;
        }
        let mut dice = world.dice.clone();
        let content = world.contents.get_mut(&self.number).unwrap();
        if luck.is_err() {
            // The kernel calls the pages clean: a second flush would say that all is well.
            content.lose(&mut dice);
        } else {
            content.durable.clone_from(&content.seen);
            content.dirty.clear();
        }
        world.dice = dice;
        luck
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.world().contents[&self.number].seen.len() as u64)
    }
}
