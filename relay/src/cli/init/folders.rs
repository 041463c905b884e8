//! Folders that the processes would take for themselves: none that belongs to somebody else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::draft::Draft;
use crate::appliance::privilege::Identity;
use crate::config::Config;

/// Tells whether a folder belongs to who is to have it.
type IsOurs<'a> = &'a dyn Fn(&fs::Metadata) -> bool;

/// Returns why folders cannot be had that are there already: a sentence each. Owner and mode of these folders
/// become the processes' own, so what others have in them would be lost to them.
#[must_use]
pub fn refusals(draft: &Draft, meant: &Config) -> Vec<String> {
    let relay = Identity::of(&draft.user).ok();
    let of_relay = relay.map(|relay| relay.uid);
    let wanted: [(&str, &Path, IsOurs<'_>); 4] = [
        ("--spool", &meant.spool.path, &|now| Some(now.uid()) == of_relay),
        ("--state", &meant.history.path, &|now| Some(now.uid()) == of_relay),
        ("--state", &meant.gate.state, &|now| now.uid() == 0 && mode(now) == 0o700),
        ("--sockets", &draft.places.sockets, &|now| {
            now.uid() == 0 && Some(now.gid()) == relay.map(|relay| relay.gid)
        }),
    ];
    let refusal = |(flag, folder, is_ours): (&str, &Path, IsOurs<'_>)| {
        let now = fs::metadata(folder).ok()?;
        let is_empty = fs::read_dir(folder).is_ok_and(|mut files| files.next().is_none());
        let why = if !now.is_dir() {
            "is no folder".to_owned()
        } else if is_ours(&now) || is_empty {
            return None;
        } else {
            let (uid, gid) = (now.uid(), now.gid());
            format!(
                "is there, has files and belongs to others (uid {uid}, gid {gid}, mode {:o}): gate or relay would \
                 take it from them",
                mode(&now)
            )
        };
        Some(format!("{flag}: {} {why}; name a folder of its own", folder.display()))
    };
    wanted.into_iter().filter_map(refusal).collect()
}

fn mode(of: &fs::Metadata) -> u32 {
    of.mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::init::draft::tests::usual;

    #[test]
    fn a_folder_of_others_is_refused_and_an_empty_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let own = fs::metadata(folder.path()).unwrap().uid();
        let mut draft = usual();
        // Nobody who runs this has this number.
        draft.user = "3999999999".into();
        draft.places.spool = folder.path().join("spool");
        draft.places.state = folder.path().join("state");
        draft.places.sockets = folder.path().join("sockets");
        let refused = |draft: &Draft| refusals(draft, &draft.config().unwrap().1);
        assert!(refused(&draft).is_empty(), "nothing is there");
        for name in ["spool", "state/history", "state/gate", "sockets"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        assert!(refused(&draft).is_empty(), "nothing is in them");
        for name in ["spool", "state/history", "state/gate", "sockets"] {
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o755))
                .unwrap();
            fs::write(folder.path().join(name).join("a"), "").unwrap();
        }
        let said = refused(&draft);
        assert_eq!(said.len(), 4, "{said:?}");
        for (said, flag) in said.iter().zip(["--spool", "--state", "--state", "--sockets"]) {
            assert!(said.starts_with(flag) && said.contains(&format!("(uid {own}, ")), "{said}");
        }
        let (_, meant) = draft.config().unwrap();
        draft.user = own.to_string();
        let said = refusals(&draft, &meant);
        assert!(said.iter().all(|said| !said.starts_with("--spool")), "{said:?}");
        draft.user = "3999999999".into();
        draft.places.spool = folder.path().join("spool/a");
        assert!(refused(&draft)[0].contains("is no folder"));
    }
}
