//! A folder that is looked at and never changed, also while another process writes it.

use std::io;
use std::sync::Arc;

use crate::spool::disk::{Disk, File, Space};

/// A disk whose names and octets stay as they are: what would change them is not done.
#[derive(Debug)]
pub struct Looking(pub Arc<dyn Disk>);

impl Disk for Looking {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Seen(self.0.open(name)?)))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn flush_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

/// A file that is only read.
#[derive(Debug)]
struct Seen(Arc<dyn File>);

impl File for Seen {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(bytes, offset)
    }

    fn read_from_memory(&self, bytes: &mut [u8], offset: u64) -> bool {
        self.0.read_from_memory(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}
