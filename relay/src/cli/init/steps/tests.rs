//! What is not kept is as it was before, whatever was in the way.

use super::*;

/// Returns every path below a folder with its text, in order.
fn all(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        found.push((path.display().to_string(), text));
        if path.is_dir() {
            found.extend(all(&path));
        }
    }
    found.sort();
    found
}

fn do_all(steps: &mut Steps, folder: &Path) -> Zeroizing<String> {
    steps.foresee(&folder.join("spool/never"));
    steps.folder(&folder.join("a/b"), Readers::All).unwrap();
    steps.file(&folder.join("a/b/new"), "x", Readers::All, Existing::Refuse).unwrap();
    let replaced = folder.join("there");
    steps.file(&replaced, "new", Readers::All, Existing::Keep(".old")).unwrap();
    steps.login(&folder.join("users"), "second", Readers::All).unwrap()
}

#[test]
fn what_is_not_kept_is_undone_to_the_last_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there"), "old").unwrap();
    users::add(&folder.path().join("users"), "first", Password::Made).unwrap();
    let logins = || {
        let store = users::Store::load(&folder.path().join("users")).unwrap();
        store.logins().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = all(folder.path());
    let mut steps = Steps::default();
    do_all(&mut steps, folder.path());
    assert_eq!(logins(), ["first", "second"]);
    assert_eq!(fs::read_to_string(folder.path().join("there.old")).unwrap(), "old");
    let refused =
        steps.file(&folder.path().join("there"), "y", Readers::All, Existing::Refuse).unwrap_err();
    assert!(format!("{refused:#}").contains("there cannot be written"), "{refused:#}");
    drop(steps);
    assert_eq!(all(folder.path()), before);

    let mut steps = Steps::default();
    let password = do_all(&mut steps, folder.path());
    steps.keep();
    assert_eq!(fs::read_to_string(folder.path().join("there")).unwrap(), "new");
    let store = users::Store::load(&folder.path().join("users")).unwrap();
    assert_eq!(store.check("second", password.as_bytes()), users::Check::Right);
}

#[test]
fn a_rehearsal_fails_where_the_writing_would_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("there"), "old").unwrap();
    for name in ["kept", "kept.before"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("put"), "old").unwrap();
    fs::create_dir(at("put.before")).unwrap();
    let before = all(folder.path());
    for (name, is_good) in [
        ("there", true),
        ("new", true),
        ("folder/that/is/missing", true),
        ("there/below/a/file", false),
        ("kept", false),
        ("put", false),
    ] {
        let tried = rehearse(&at(name), Readers::Root, Existing::Keep(".before"));
        assert_eq!(tried.is_ok(), is_good, "{name}: {tried:?}");
        assert_eq!(all(folder.path()), before, "{name}");
    }
}

#[test]
fn a_folder_with_something_that_was_kept_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/kept");
    let mut steps = Steps::default();
    steps.folder(&folder.path().join("new"), Readers::All).unwrap();
    let mut kept = Steps::default();
    kept.file(&file, "x", Readers::Root, Existing::Refuse).unwrap();
    kept.keep();
    drop(steps);
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

#[test]
fn a_folder_that_was_taken_is_given_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
    mode(0o755);
    let mut steps = Steps::default();
    steps.foresee(folder.path());
    mode(0o700);
    drop(steps);
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn a_file_for_the_relay_is_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Readers::Relay(Identity { uid: 0, gid: 0 });
    let mut steps = Steps::default();
    steps.folder(&folder.path().join("secrets"), relay).unwrap();
    let secret = folder.path().join("secrets/smarthost");
    steps.file(&secret, "x", relay, Existing::Refuse).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&secret), mode(&folder.path().join("secrets"))), (0o640, 0o750));
    steps.keep();
}

#[test]
fn a_login_that_is_there_gets_another_password_until_that_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    let before = users::add(&file, "app", Password::Made).unwrap().unwrap();
    let is_right = |password: &str| {
        users::Store::load(&file).unwrap().check("app", password.as_bytes()) == users::Check::Right
    };
    let mut steps = Steps::default();
    let given = steps.login(&file, "app", Readers::All).unwrap();
    assert!(is_right(&given) && !is_right(&before));
    drop(steps);
    assert!(is_right(&before) && !is_right(&given));
    assert_eq!(all(folder.path()).len(), 1, "something was left");
}
