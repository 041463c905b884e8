//! Where maps and links are pinned, and who may read them.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use relay_common::table::{self, LAYOUT, Table};

use super::kernel_said;
use crate::gate::{GateError, Place};

/// The type that `statfs` tells of a BPF file system (`BPF_FS_MAGIC`).
const BPF_FS: rustix::fs::FsWord = 0xcafe_4a11;
/// The name of an interface's link: this and the interface's index. Names of interfaces may have dots, names
/// on a BPF file system may not.
const LINK: &str = "link_";
/// Folder and pins: all for the owner, reading for the group, nothing for others.
const FOLDER_MODE: u32 = 0o750;
const PIN_MODE: u32 = 0o640;

/// The folder of this layout's pins.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
    group: Option<u32>,
}

impl Pins {
    /// Returns the pins below `pins`, which need not exist.
    pub fn below(pins: &Path) -> Self {
        Self { folder: pins.join(format!("v{LAYOUT}")), group: None }
    }

    /// Makes the folder, if it does not exist yet.
    pub fn prepare(place: &Place) -> Result<Self, GateError> {
        let pins = Self { group: place.group, ..Self::below(&place.pins) };
        pins.check_file_system()?;
        let what = || format!("{}: make the folder", pins.folder.display());
        fs::create_dir_all(&pins.folder).map_err(|error| kernel_said(what(), error))?;
        for folder in [&place.pins, &pins.folder] {
            pins.permit(folder, FOLDER_MODE)?;
        }
        Ok(pins)
    }

    fn check_file_system(&self) -> Result<(), GateError> {
        let existing = self.folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let what = || format!("{}: look at the file system", existing.display());
        let status =
            rustix::fs::statfs(existing).map_err(|error| kernel_said(what(), error.into()))?;
        if status.f_type == BPF_FS {
            return Ok(());
        }
        let path = self.folder.parent().unwrap_or(&self.folder).to_owned();
        Err(GateError::NoBpffs { path })
    }

    fn permit(&self, path: &Path, mode: u32) -> Result<(), GateError> {
        let set = || {
            chown(path, None, self.group)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        };
        set().map_err(|error| kernel_said(format!("{}: set group and mode", path.display()), error))
    }

    /// Returns the pin of a table.
    pub fn table(&self, table: &Table) -> PathBuf {
        self.folder.join(table.name)
    }

    /// Returns the pin of the link of the interface with this index.
    pub fn link(&self, index: u32) -> PathBuf {
        self.folder.join(format!("{LINK}{index}"))
    }

    /// Checks that what is pinned under the name of a table has its shape. A missing pin is none of another.
    ///
    /// The pins are looked at before the loader reuses them, since it compares nothing, and once more
    /// after it made what was missing: so the kernel object is compared with the list of tables, too.
    pub fn check_shapes(&self) -> Result<(), GateError> {
        for table in &table::ALL {
            let path = self.table(table);
            if !path.exists() {
                continue;
            }
            let what = || format!("{}: ask for its shape", path.display());
            let info =
                MapInfo::from_pin(&path).map_err(|error| super::tables::refused(what(), error))?;
            let kind = info.map_type().map_or(0, |kind| kind as u32);
            let found = (kind, info.key_size(), info.value_size(), info.max_entries());
            let expected = (table.kind as u32, table.key_bytes, table.value_bytes, table.capacity);
            if found != expected {
                let [found, expected] = [found, expected].map(|(kind, key, value, capacity)| {
                    format!(
                        "type {kind}, keys of {key} and values of {value} bytes, {capacity} entries"
                    )
                });
                return Err(GateError::Layout { path, found, expected });
            }
        }
        Ok(())
    }

    /// Gives every table's pin to the group.
    pub fn permit_tables(&self) -> Result<(), GateError> {
        table::ALL.iter().try_for_each(|table| self.permit(&self.table(table), PIN_MODE))
    }

    /// Takes every link's pin away: where no process holds the link, this detaches.
    pub fn remove_links(&self) -> Result<(), GateError> {
        self.remove(|name| name.starts_with(LINK))
    }

    /// Takes every pin and the folder away.
    pub fn remove_all(&self) -> Result<(), GateError> {
        self.remove(|_| true)?;
        let what = || format!("{}: remove the folder", self.folder.display());
        fs::remove_dir(&self.folder).map_err(|error| kernel_said(what(), error))
    }

    fn remove(&self, wanted: impl Fn(&str) -> bool) -> Result<(), GateError> {
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(&wanted) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        remove()
            .map_err(|error| kernel_said(format!("{}: remove pins", self.folder.display()), error))
    }
}
