//! Whether the disks of a machine forget what was not flushed: otherwise pulling its plug shows nothing.

use anyhow::{Result, ensure};
use tests::machine::Machine;

use crate::guest::PATIENCE;

/// Writes two blocks of the second disk, and flushes the first.
pub fn write_on_the_second_disk(machine: &mut Machine) -> Result<()> {
    machine.must("dd if=/dev/urandom of=/tmp/block bs=4k count=1", PATIENCE)?;
    machine.must("dd if=/tmp/block of=/dev/vdb bs=4k count=1 conv=fsync", PATIENCE)?;
    // The last close writes it to the disk, and does not flush.
    machine.must("dd if=/tmp/block of=/dev/vdb bs=4k count=1 seek=16", PATIENCE)?;
    Ok(())
}

/// Returns what became of the two blocks.
///
/// # Errors
///
/// Unless the flushed one is there and the other is not.
pub fn read_from_the_second_disk(machine: &mut Machine) -> Result<()> {
    let mut is_empty = |block: u32| -> Result<bool> {
        let read = format!("dd if=/dev/vdb bs=4k count=1 skip={block} 2>/dev/null");
        let compare = format!("{read} >/tmp/block && cmp -n 4096 /tmp/block /dev/zero");
        Ok(machine.run(&compare, PATIENCE)?.code == 0)
    };
    ensure!(!is_empty(0)?, "the disk forgot a block that was flushed");
    ensure!(
        is_empty(16)?,
        "the disk kept a block that was not flushed: pulling the plug shows nothing"
    );
    Ok(())
}
