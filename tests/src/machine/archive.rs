//! The first file system of a kernel that boots: an archive in the form "newc" of cpio(5), as
//! `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux describes it.

/// An archive in the making. Everything in it belongs to root.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

/// The types of files, the upper bits of a mode (inode(7)).
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// The name of the last entry.
const END: &str = "TRAILER!!!";

impl Archive {
    /// Adds a folder with the mode 0755. What is put into it comes later.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER | 0o755, &[]);
    }

    /// Adds a file with the mode 0755.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, FILE | 0o755, content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) {
        self.entry(name, LINK | 0o777, target.as_bytes());
    }

    /// Returns the archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(END, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inodes += 1;
        let content_bytes = u32::try_from(content.len()).expect("the files of a test are small");
        let name_bytes = u32::try_from(name.len() + 1).expect("names are short");
        // Inode, mode, owner, group, links, time, size; device and special device; name; checksum.
        let fields = [self.inodes, mode, 0, 0, 1, 0, content_bytes, 0, 0, 0, 0, name_bytes, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    /// Names and contents end at a multiple of four bytes.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_the_kernel_reads() {
        let mut archive = Archive::default();
        archive.file("init", b"#!/bin/sh\n");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with("07070100000001000081ed"), "{text}");
        // 110 bytes of header and the name with its zero, then the content, both filled up to four.
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..128], b"#!/bin/sh\n\0\0");
        assert_eq!(&bytes[128..134], b"070701");
        assert!(text.trim_end_matches('\0').ends_with(END));
        assert_eq!(bytes.len() % 4, 0);
    }
}
