//! Where maps and links are pinned, and who may read them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use relay_common::table::{self, DOORS, LAYOUT, Table};

use super::kernel_said;
use crate::gate::sys;
use crate::gate::{GateError, Place};

/// The type that `statfs` tells of a BPF file system (`BPF_FS_MAGIC`).
const BPF_FS: rustix::fs::FsWord = 0xcafe_4a11;
/// The name of an interface's link: this and the interface's index. Names of interfaces may have dots, names
/// on a BPF file system may not.
const LINK: &str = "link_";
/// The folder of links, beside those of the layouts: a link outlives the layout that it was made under.
const LINKS: &str = "links";
/// Folder and pins: all for the owner, reading for the group, nothing for others. What is pinned in a folder
/// gets the folder's group, also when the process may not give things away any more.
const FOLDER_MODE: u32 = 0o2750;
const PIN_MODE: u32 = 0o640;

/// The folder of this layout's pins, in the gate's folder.
#[derive(Clone, Debug)]
pub struct Pins {
    top: PathBuf,
    folder: PathBuf,
    group: Option<u32>,
}

impl Pins {
    /// Returns the pins below `pins`, which need not exist.
    pub fn below(pins: &Path) -> Self {
        let folder = pins.join(format!("v{LAYOUT}"));
        Self { top: pins.to_owned(), folder, group: None }
    }

    /// Makes the folders, if they do not exist yet, and takes the links of earlier layouts over.
    pub fn prepare(place: &Place) -> Result<Self, GateError> {
        let pins = Self { group: place.group, ..Self::below(&place.pins) };
        pins.check_file_system()?;
        let what = || format!("{}: make the folder", pins.top.display());
        fs::create_dir_all(&pins.top).map_err(|error| kernel_said(what(), error))?;
        pins.make_folders()?;
        pins.take_links_over()?;
        Ok(pins)
    }

    /// Makes the folders that are not there, and sees to group and mode of all. A process that may not give things away
    /// any more can make one as long as the folder above is there with its group and its set-group-ID bit.
    ///
    /// # Errors
    ///
    /// [`GateError::NotGiven`] if a folder has not its group and mode and cannot be given them; what the kernel said.
    pub fn make_folders(&self) -> Result<(), GateError> {
        for folder in self.folders() {
            let what = || format!("{}: make the folder", folder.display());
            match DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(kernel_said(what(), error));
                }
                Ok(()) | Err(_) => {}
            }
            let made = fs::metadata(&folder).map_err(|error| kernel_said(what(), error))?;
            let is_given = self.group.is_none_or(|group| group == made.gid());
            if !is_given || made.mode() & 0o7777 != FOLDER_MODE {
                self.permit(&folder, FOLDER_MODE)?;
            }
        }
        Ok(())
    }

    /// Returns what brings pins back that the gate cannot make again: it pins within a second of having the folder.
    pub fn remedy(&self) -> String {
        let top = self.top.display();
        let group = self.group.map_or_else(String::new, |group| format!(" -g {group}"));
        format!(
            "As root: install -d -m {FOLDER_MODE:o}{group} {top}, or restart the gate, which has the second door judge \
             alone meanwhile"
        )
    }

    fn folders(&self) -> [PathBuf; 3] {
        [self.top.clone(), self.folder.clone(), self.top.join(LINKS)]
    }

    /// Returns the gate's folder.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Returns the folders of other layouts.
    fn others(&self) -> io::Result<Vec<PathBuf>> {
        let is_layout = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = name.strip_prefix('v').map(str::parse::<u32>);
            matches!(number, Some(Ok(number)) if number != LAYOUT)
        };
        let folders = fs::read_dir(&self.top)?.map(|entry| Ok(entry?.path()));
        let folders: Vec<PathBuf> = folders.collect::<io::Result<_>>()?;
        Ok(folders.into_iter().filter(is_layout).collect())
    }

    /// Layout 1 kept its links among its tables.
    fn take_links_over(&self) -> Result<(), GateError> {
        let take = || -> io::Result<()> {
            for folder in self.others()? {
                for pin in fs::read_dir(folder)? {
                    let pin = pin?;
                    if pin.file_name().to_str().is_some_and(|name| name.starts_with(LINK)) {
                        fs::rename(pin.path(), self.top.join(LINKS).join(pin.file_name()))?;
                    }
                }
            }
            Ok(())
        };
        take().map_err(|error| {
            kernel_said(format!("{}: take earlier links over", self.top.display()), error)
        })
    }

    /// Takes the tables of other layouts away: no program of ours uses them any more.
    pub fn remove_others(&self) -> Result<(), GateError> {
        let remove = || self.others()?.iter().try_for_each(fs::remove_dir_all);
        remove().map_err(|error| {
            kernel_said(format!("{}: remove earlier tables", self.top.display()), error)
        })
    }

    fn check_file_system(&self) -> Result<(), GateError> {
        let existing = self.folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let what = || format!("{}: look at the file system", existing.display());
        let status =
            rustix::fs::statfs(existing).map_err(|error| kernel_said(what(), error.into()))?;
        if status.f_type == BPF_FS {
            return Ok(());
        }
        Err(GateError::NoBpffs { path: self.top.clone() })
    }

    fn permit(&self, path: &Path, mode: u32) -> Result<(), GateError> {
        let set = || -> io::Result<u32> {
            chown(path, None, self.group)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
        };
        match set() {
            Ok(now) if now == mode => Ok(()),
            // The kernel takes the group's bit away from who may not set it, and calls that no error.
            Ok(_) => Err(GateError::NotGiven { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(GateError::NotGiven { path: path.to_owned() })
            }
            Err(error) => {
                Err(kernel_said(format!("{}: set group and mode", path.display()), error))
            }
        }
    }

    /// Returns the pin of a table.
    pub fn table(&self, table: &Table) -> PathBuf {
        if *table == DOORS { self.top.join(table.name) } else { self.path(table.name) }
    }

    /// Returns the pin of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the pin of the link of the interface with this index.
    pub fn link(&self, index: u32) -> PathBuf {
        self.top.join(LINKS).join(format!("{LINK}{index}"))
    }

    /// Returns the pin of every link.
    pub fn links(&self) -> Result<Vec<PathBuf>, GateError> {
        let folder = self.top.join(LINKS);
        let read = || -> io::Result<Vec<PathBuf>> {
            match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                entries => entries?.map(|entry| Ok(entry?.path())).collect(),
            }
        };
        read().map_err(|error| kernel_said(format!("{}: list the links", folder.display()), error))
    }

    /// Returns the numbers of the interfaces that have a link.
    pub fn linked(&self) -> Vec<u32> {
        let links = self.links().unwrap_or_default();
        let name = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(LINK)?.parse().ok();
        links.iter().filter_map(name).collect()
    }

    /// Pins a table under a name that nothing is pinned under.
    pub fn pin(&self, table: impl AsFd, name: &str) -> Result<(), GateError> {
        pin_at(table, &self.path(name))
    }

    /// Pins a table in place of what is pinned under the name: there is no moment without.
    pub fn pin_over(&self, table: impl AsFd, name: &str) -> Result<(), GateError> {
        let beside = format!("{name}_new");
        self.unpin(&beside);
        self.pin(table, &beside)?;
        let path = self.path(name);
        fs::rename(self.path(&beside), &path)
            .map_err(|error| kernel_said(format!("{}: pin", path.display()), error))
    }

    /// Takes a pin away; that there is none is no error.
    pub fn unpin(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// Checks that what is pinned under the name of a table has its shape. A missing pin is none of another.
    ///
    /// The pins are looked at before the loader reuses them, since it compares nothing, and once more
    /// after it made what was missing: so the kernel object is compared with the list of tables, too.
    pub fn check_shapes(&self) -> Result<(), GateError> {
        for table in table::ALL.iter().chain([&DOORS]) {
            let path = self.table(table);
            if !path.exists() {
                continue;
            }
            let what = || format!("{}: ask for its shape", path.display());
            let info =
                MapInfo::from_pin(&path).map_err(|error| super::errors::refused(what(), error))?;
            let kind = info.map_type().map_or(0, |kind| kind as u32);
            let found =
                [kind, info.key_size(), info.value_size(), info.max_entries(), info.map_flags()];
            let expected = [
                table.kind as u32,
                table.key_bytes,
                table.value_bytes,
                table.capacity,
                table.flags,
            ];
            if found != expected {
                let shape = |[kind, key, value, capacity, flags]: [u32; 5]| {
                    format!(
                        "type {kind}, keys of {key} and values of {value} bytes, {capacity} entries, \
                         flags {flags:#x}"
                    )
                };
                let [found, expected] = [found, expected].map(shape);
                return Err(GateError::Layout { path, found, expected });
            }
        }
        Ok(())
    }

    /// Gives every table's pin to the group.
    pub fn permit_tables(&self) -> Result<(), GateError> {
        let tables = table::ALL.iter().chain([&DOORS]);
        tables.map(|table| self.table(table)).try_for_each(|path| self.permit(&path, PIN_MODE))
    }

    /// Takes every table's pin away, but for the second door's: sockets that listen go on calling it, and
    /// without a pin it would let nobody in.
    pub fn remove_tables(&self) -> Result<(), GateError> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(kernel_said(format!("{}: remove pins", self.folder.display()), error))
            }
            // There were none any more.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Returns whether tables are pinned.
    pub fn exist(&self) -> bool {
        self.folder.exists()
    }
}

/// Pins a table and lets the group read the pin; its folder gave the pin its group.
fn pin_at(table: impl AsFd, path: &Path) -> Result<(), GateError> {
    let what = |doing: &str| format!("{}: {doing}", path.display());
    sys::pin(table, path).map_err(|error| kernel_said(what("pin"), error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(PIN_MODE))
        .map_err(|error| kernel_said(what("set its mode"), error))
}

/// Pins a table again if somebody took its pin away; returns whether somebody did.
///
/// # Errors
///
/// What the kernel said.
pub fn pin_if_missing(table: impl AsFd, path: &Path) -> Result<bool, GateError> {
    if path.exists() {
        return Ok(false);
    }
    pin_at(table, path)?;
    Ok(true)
}
