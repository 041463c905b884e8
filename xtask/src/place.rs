//! Where the kernel toolchain lives and which versions it is made of.
//!
//! `cargo xtask setup` fills the place and `relay/build.rs` reads it: both compile this one
//! file, so it uses nothing but std, and each uses all of it.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

const PINS: &str = include_str!("../../rust-toolchain.toml");
const WORKSPACE: &str = include_str!("../../Cargo.toml");

/// Returns the pinned compiler's version, as `rust-toolchain.toml` has it.
pub fn pinned_rust() -> &'static str {
    value(PINS, "channel").expect("rust-toolchain.toml pins a channel")
}

/// Returns the version of a program that the workspace builds for its own use.
pub fn pinned(tool: &str) -> &'static str {
    value(WORKSPACE, tool).expect("the workspace's tools name it")
}

/// Returns the text between the quotes of the line `key = "value"`.
fn value(text: &'static str, key: &str) -> Option<&'static str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .and_then(|(_, rest)| rest.split('"').nth(1))
}

/// One folder of the user's cache, named after the compiler and the linker in it.
pub struct Place {
    /// The folder: `$XDG_CACHE_HOME/sallyport/<key>`, or below `~/.cache`.
    pub root: PathBuf,
}

impl Place {
    /// Returns the place that belongs to the compiler `rustc`.
    ///
    /// # Errors
    ///
    /// A sentence, if the compiler cannot be asked, is not the pinned one, or there is no home.
    pub fn of(rustc: &OsStr) -> Result<Self, String> {
        let about = Command::new(rustc)
            .arg("-vV")
            .output()
            .map_err(|error| format!("{} does not run: {error}", rustc.display()))?;
        if !about.status.success() {
            let said = String::from_utf8_lossy(&about.stderr);
            return Err(format!("{} -vV: {}", rustc.display(), said.trim_end()));
        }
        let about = String::from_utf8_lossy(&about.stdout);
        let fact = |name: &str| {
            about
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .ok_or_else(|| format!("{} -vV names no {name}", rustc.display()))
        };
        let (release, wanted) = (fact("release")?, pinned_rust());
        if release != wanted {
            return Err(format!(
                "the compiler is {release}, and rust-toolchain.toml pins {wanted}: \
                 run `rustup toolchain install {wanted}` and call cargo through rustup"
            ));
        }
        let commit: String = fact("commit-hash")?.chars().take(9).collect();
        let host = fact("host")?;
        let key = format!("rust-{release}-{commit}-{host}-linker-{}", pinned("bpf-linker"));
        Ok(Self { root: cache()?.join("sallyport").join(key) })
    }

    /// The file that is written last: where it is, the toolchain is whole. It names the sysroot
    /// of the compiler that the toolchain was made for.
    pub fn stamp(&self) -> PathBuf {
        self.root.join("ready")
    }

    /// The pinned compiler as one that also has the source of `core`.
    pub fn rustc(&self) -> PathBuf {
        self.root.join("rustc")
    }

    /// The folder that holds bpf-linker.
    pub fn programs(&self) -> PathBuf {
        self.root.join("bin")
    }
}

fn cache() -> Result<PathBuf, String> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is an absolute path".to_owned())
}
