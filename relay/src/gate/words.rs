//! Numbers that share a word of a table, in the order in which a C struct has them.

/// Returns two halves as a word.
pub const fn pair(first: u32, second: u32) -> u64 {
    let (first, second) = (first as u64, second as u64);
    if cfg!(target_endian = "little") { first | second << 32 } else { first << 32 | second }
}

/// Returns a word's halves.
pub const fn halves(word: u64) -> (u32, u32) {
    let (low, high) = (word as u32, (word >> 32) as u32);
    if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lie_in_memory_as_in_a_struct() {
        let word = pair(0x0102_0304, 0x0506_0708);
        let bytes = word.to_ne_bytes();
        assert_eq!(bytes[..4], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(bytes[4..], 0x0506_0708_u32.to_ne_bytes());
        assert_eq!(halves(word), (0x0102_0304, 0x0506_0708));
    }
}
