//! The rules of the house that a machine can keep, as a test.

#![forbid(unsafe_code)]

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{File, Rooms};

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests lie in the workspace").to_owned()
}

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 2] = [".git", "target"];

/// Reads every text file below `folder`.
fn read(folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the checkout can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if FOREIGN.contains(&name) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            read(&path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let from_top = path.strip_prefix(top()).expect("the walk began at the top");
            files.push(File { path: from_top.display().to_string(), text });
        }
    }
}

/// The folders of this machine: this checkout, this user's home, and all homes.
fn own_places() -> Vec<String> {
    let mut own = vec!["/home/".to_owned(), concat!("/ro", "ot/").to_owned()];
    own.push(top().display().to_string());
    own.extend(std::env::var("HOME").ok().filter(|home| home.len() > 5));
    own
}

#[test]
fn the_house_is_tidy() {
    let mut files = Vec::new();
    read(&top(), &mut files);
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    let lib = files.iter().find(|file| file.path == "relay/src/lib.rs").expect("the map is there");
    let rooms = Rooms::read(&lib.text).unwrap();
    let own = own_places();

    let mut found = Vec::new();
    for file in &files {
        found.extend(rooms.order(file));
        found.extend(rooms.purity(file));
        found.extend(rules::unsafety(file));
        found.extend(rules::size(file));
        found.extend(rules::manifest(file));
        if file.path != "Cargo.lock" && file.path != "tests/tests/tidy.rs" {
            found.extend(rules::completeness(file));
            found.extend(rules::places(file, &own));
        }
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

const LIB: &str = "pub mod smtp;\npub mod mail;\n\
                   // --- rooms below may touch the world ---\npub mod net;";

/// Tells whether exactly one thing is found, and that it has `what` in it.
fn one(found: &[String], what: &str) -> bool {
    found.len() == 1 && found[0].contains(what)
}

#[test]
fn a_map_without_a_world_line_is_found() {
    assert!(Rooms::read("pub mod smtp;\npub mod net;").is_err());
    assert!(Rooms::read(LIB).is_ok());
}

#[test]
fn a_use_of_a_later_room_is_found() {
    let rooms = Rooms::read(LIB).unwrap();
    let order = |path, text| rooms.order(&File::new(path, text));
    assert!(one(&order("relay/src/smtp/a.rs", "use crate::mail::Id;"), "later room mail"));
    assert!(one(&order("relay/src/smtp.rs", "use crate::{smtp::A, net};"), "later room net"));
    assert!(one(&order("relay/src/smtp/a.rs", "use super::super::net;"), "by super"));
    assert!(one(&order("relay/src/smtp/mod.rs", "use super::net;"), "by super"));
    assert!(one(&order("relay/src/net/a.rs", "use crate::utils::x;"), "no room"));
    assert!(order("relay/src/mail/mod.rs", "use crate::smtp;\n// crate::net").is_empty());
    assert!(
        order("relay/src/mail/a.rs", "use super::B;\n#[cfg(test)]\nuse super::super::C;")
            .is_empty()
    );
    assert!(order("relay/src/main.rs", "use crate::net;").is_empty());
}

#[test]
fn a_pure_room_that_touches_the_world_is_found() {
    let rooms = Rooms::read(LIB).unwrap();
    let purity = |path, text| rooms.purity(&File::new(path, text));
    for touch in ["std::fs::read(p)", "Instant::now()", "tokio::spawn(f)", "aws_lc_rs::rand::f()"] {
        assert_eq!(purity("relay/src/mail/a.rs", touch).len(), 1, "{touch}");
        assert!(purity("relay/src/net/a.rs", touch).is_empty(), "{touch}");
    }
    let tested = "fn f(now: Instant) {}\n#[cfg(test)]\nmod tests { Instant::now() }";
    assert!(purity("relay/src/mail/a.rs", tested).is_empty());
}

#[test]
fn unsafe_outside_the_listed_files_is_found() {
    let text = "// unsafe\nlet a = \"unsafe\";\nunsafe { f() }";
    assert!(one(&rules::unsafety(&File::new("relay/src/net/a.rs", text)), "line 3"));
    assert!(rules::unsafety(&File::new("relay-common/src/pod.rs", text)).is_empty());
}

#[test]
fn a_file_of_401_lines_is_found() {
    assert!(rules::size(&File::new("a.rs", &"x\n".repeat(400))).is_empty());
    assert!(one(&rules::size(&File::new("a.rs", &"x\n".repeat(401))), "401 lines"));
    assert!(rules::size(&File::new("frames.txt", &"x\n".repeat(401))).is_empty());
}

#[test]
fn a_thing_left_for_later_is_found() {
    for word in ["// TODO: b", "FIXME", "(XXX)", "todo!()", "unimplemented!()"] {
        assert_eq!(rules::completeness(&File::new("a.rs", word)).len(), 1, "{word}");
    }
    assert!(rules::completeness(&File::new("a.sh", "mktemp a.XXXXXX")).is_empty());
}

#[test]
fn a_version_outside_the_root_is_found() {
    let manifest = |text: &str| rules::manifest(&File::new("a/Cargo.toml", text));
    let lints = "[lints]\nworkspace = true\n";
    assert!(manifest(&format!("[dependencies]\nb.workspace = true\n{lints}")).is_empty());
    let text = format!("[dev-dependencies]\nb = \"1\"\n{lints}");
    assert!(one(&manifest(&text), "`b = \"1\"`"));
    assert!(one(&manifest(&format!("[package]\nversion = \"1.0.0\"\n{lints}")), "version"));
    assert!(one(&manifest("[package]\nname = \"a\""), "lints"));
}

#[test]
fn a_folder_of_this_machine_is_found() {
    let file = File::new("a.md", "cd /home/someone/x\ncd x");
    assert!(one(&rules::places(&file, &["/home/".to_owned()]), "line 1 names /home/"));
}
