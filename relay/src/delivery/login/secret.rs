//! What must be neither kept in memory nor shown.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::Zeroizing;

/// Octets that are wiped from memory when dropped, and that no `Debug` shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes octets over. Where they grow later, they must have the room for it: a buffer that moves
    /// leaves a copy behind.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl Deref for Secret {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Secret {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl fmt::Debug for Secret {
    /// Shows that there is one; neither its octets nor how many they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
