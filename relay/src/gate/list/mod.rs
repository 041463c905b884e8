//! One list as the memory that the kernel looks it up in: built whole, and changed an entry at a time while
//! it is being read.
//!
//! `Roll` is the list as a set of networks; `Image` is its memory, in the form that
//! `relay_common::lookup` reads. Nothing here knows where that memory lies: in the kernel's tables, or in a
//! test's. `fill` writes a roll into fresh memory, `add` and `remove` change both.
//!
//! What stands in memory is read at any moment, so the writes of one change have an order: what is to be found
//! is there before anything leads to it, and nothing leads to what goes before it goes. No state between
//! admits a stranger, and none shuts out anybody who was listed before and after.

mod bitmap;
mod image;
mod roll;

use relay_common::addr::{Family, Net};
use relay_common::table::EntryId;

pub use image::{HEAD_WORDS, Image, Load, Sizes};
pub use roll::Roll;

/// The memory has no room where an entry must stand: the list must be built anew, in more memory or under
/// another seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list's memory is full")]
pub struct Full;

/// Writes `roll` into memory that holds zeros, as generation `number`.
///
/// # Errors
///
/// [`Full`]; then the memory is to be thrown away.
pub fn fill(image: &Image<'_>, roll: &Roll, sizes: Sizes, number: u32) -> Result<(), Full> {
    image.begin(sizes, number);
    for (net, id) in roll.iter() {
        image.put(net, id)?;
        image.mark_nearby(&net);
    }
    for family in [Family::V4, Family::V6] {
        roll.lengths(family).for_each(|prefix| image.set_length(family, prefix));
    }
    bitmap::fill(image, roll);
    Ok(())
}

/// Adds an entry, or gives the one of its network another number.
///
/// # Errors
///
/// [`Full`]; then nothing was changed.
pub fn add(image: &Image<'_>, roll: &mut Roll, net: Net, id: EntryId) -> Result<(), Full> {
    image.put(net, id)?;
    let family = net.family();
    if roll.insert(net, id).is_some() {
        return Ok(());
    }
    image.mark_nearby(&net);
    image.set_length(family, net.prefix());
    if !roll.is_covered(&net) {
        bitmap::widen(image, roll, &net);
    }
    Ok(())
}

/// Takes the entry of exactly this network away; returns its number.
pub fn remove(image: &Image<'_>, roll: &mut Roll, net: &Net) -> Option<EntryId> {
    let id = roll.remove(net)?;
    let family = net.family();
    if !roll.is_covered(net) {
        bitmap::narrow(image, roll, net);
    }
    image.take(net);
    if !roll.lengths(family).any(|prefix| prefix == net.prefix()) {
        image.clear_length(family, net.prefix());
    }
    Some(id)
}

#[cfg(test)]
mod tests;
