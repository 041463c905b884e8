//! Modules of a kernel: what each says of itself.

/// How a module names those that it needs, in its section `.modinfo`: behind a zero, or the section's beginning,
/// and with commas between them.
const KEY: &[u8] = b"depends=";

/// Returns the modules that one needs, by the names that it has for them.
pub fn depends(module: &[u8]) -> Vec<String> {
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let names = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(names);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_those_that_it_needs() {
        let of = |text: &[u8]| depends(&[b"\x7fELF\0license=GPL\0", text].concat());
        assert_eq!(of(b"depends=mbcache,jbd2,crc16\0retpoline=Y\0"), ["mbcache", "jbd2", "crc16"]);
        assert!(of(b"depends=\0retpoline=Y\0").is_empty());
        assert!(of(b"retpoline=Y\0").is_empty());
    }
}
