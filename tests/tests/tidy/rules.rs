//! The rules of the house. Each takes text and returns what is wrong with it, so that each can
//! be shown to find what it is for.

use super::source::{code, crate_names, has_word, supers, without_tests};

/// A tracked file: its path from the top of the checkout, and its text.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, ending)| ending == "rs")
    }

    fn finds(&self, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.path)
    }
}

/// The rooms of the relay in the order of `lib.rs`, and how many stand above the world line.
pub struct Rooms {
    names: Vec<String>,
    pure: usize,
}

const WORLD_LINE: &str = "// --- rooms below may touch the world";

impl Rooms {
    /// Reads `relay/src/lib.rs`.
    pub fn read(lib: &str) -> Result<Self, String> {
        let (mut names, mut pure) = (Vec::new(), None);
        for line in lib.lines().map(str::trim) {
            if line.starts_with(WORLD_LINE) {
                pure = Some(names.len());
            }
            let module = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
            if let Some(name) = module.and_then(|rest| rest.strip_suffix(';')) {
                names.push(name.to_owned());
            }
        }
        match pure {
            Some(pure) if pure > 0 && pure < names.len() => Ok(Self { names, pure }),
            _ => Err(format!("relay/src/lib.rs: no line \"{WORLD_LINE}…\" between rooms")),
        }
    }

    /// The room that a file belongs to, by its place in the order, and how deep in it the file's
    /// module lies. `lib.rs`, `main.rs` and other crates belong to none.
    fn of(&self, file: &File) -> Option<(usize, usize)> {
        let path = file.path.strip_prefix("relay/src/")?.strip_suffix(".rs")?;
        let parts: Vec<&str> = path.split('/').filter(|part| *part != "mod").collect();
        let place = self.names.iter().position(|name| name == parts[0])?;
        Some((place, parts.len() - 1))
    }

    /// A room imports only rooms that are listed before it.
    pub fn order(&self, file: &File) -> Vec<String> {
        let Some((place, depth)) = self.of(file) else { return Vec::new() };
        let code = code(&file.text);
        let mut found = Vec::new();
        for name in crate_names(&code) {
            match self.names.iter().position(|room| room == name) {
                Some(other) if other <= place => {}
                Some(_) => found.push(file.finds(format_args!("uses the later room {name}"))),
                None => found.push(file.finds(format_args!("{name} is no room of lib.rs"))),
            }
        }
        // A way around by the crate's root. A test module is one level deeper.
        let tests = &code[without_tests(&code).len()..];
        if supers(without_tests(&code)) > depth || supers(tests) > depth + 1 {
            found.push(file.finds("leaves its room by super"));
        }
        found
    }

    /// A room above the world line gets clocks, files, sockets and chance as arguments.
    pub fn purity(&self, file: &File) -> Vec<String> {
        let is_pure = self.of(file).is_some_and(|(place, _)| place < self.pure);
        if !is_pure || file.path.ends_with("/tests.rs") {
            return Vec::new();
        }
        let code = code(&file.text);
        let code = without_tests(&code);
        WORLD
            .iter()
            .filter(|word| has_word(code, word))
            .map(|word| file.finds(format_args!("a pure room touches {word}")))
            .collect()
    }
}

const WORLD: [&str; 15] = [
    "tokio",
    "std::fs",
    "aya",
    "aya_log",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "rand",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "rustix",
    "nix",
];

/// The only files that may hold `unsafe`.
const UNSAFE: [&str; 15] = [
    "relay-ebpf/src/main.rs",
    // A kernel program too; no part of the product.
    "relay-ebpf/src/measure.rs",
    // These two export functions by name, which the language calls unsafe, and hold nothing else of it.
    "relay-ebpf/src/list.rs",
    "relay-ebpf/src/rules.rs",
    "relay-ebpf/src/packet.rs",
    "relay-ebpf/src/tables.rs",
    "relay-ebpf/src/clock.rs",
    "relay-common/src/pod.rs",
    "relay/src/gate/sys/mod.rs",
    "relay/src/gate/sys/option.rs",
    "relay/src/gate/sys/channels.rs",
    "relay/src/gate/sys/clock.rs",
    "relay/src/gate/sys/filter.rs",
    "relay/src/gate/sys/memory.rs",
    "relay/src/appliance/inherited.rs",
];

/// `unsafe` stands only in the listed files.
pub fn unsafety(file: &File) -> Vec<String> {
    if !file.is_rust() || UNSAFE.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let code = code(&file.text);
    let lines = code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe"));
    lines.map(|(at, _)| file.finds(format_args!("line {} is unsafe", at + 1))).collect()
}

const MAX_LINES: usize = 400;

/// A source file has one idea.
pub fn size(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if file.is_rust() && lines > MAX_LINES {
        return vec![file.finds(format_args!("{lines} lines, and {MAX_LINES} are the limit"))];
    }
    Vec::new()
}

/// In pieces, so that this file keeps its own rule.
const LATER: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
];

/// Nothing is left for later in the source: what is missing is an issue.
pub fn completeness(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let words = LATER.iter().filter(|word| has_word(line, word));
        found.extend(words.map(|word| file.finds(format_args!("line {} has {word}", at + 1))));
    }
    found
}

/// Every crate takes its versions and its lints from the root.
pub fn manifest(file: &File) -> Vec<String> {
    if !file.path.ends_with("/Cargo.toml") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let (mut section, mut lints) = ("", false);
    for line in file.text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let is_entry = line.contains('=') && !line.starts_with('#');
        let inherits = line.replace(' ', "").contains("workspace=true");
        lints |=
            section == "[lints]" && inherits || line.replace(' ', "") == "lints.workspace=true";
        let has_version = section == "[package]" && line.starts_with("version =");
        let depends = section.ends_with("dependencies]");
        if is_entry && !inherits && (depends || has_version) {
            found.push(file.finds(format_args!("`{line}` is not taken from the root")));
        }
    }
    if !lints {
        found.push(file.finds("the lints are not those of the root"));
    }
    found
}

/// No file names a folder of the machine where it was written.
pub fn places(file: &File, own: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for place in own {
            if line.contains(place.as_str()) {
                found.push(file.finds(format_args!("line {} names {place}", at + 1)));
            }
        }
    }
    found
}
