//! `sallyport init` on a host that has nothing: what it leaves serves, and what it refuses leaves nothing.

#![forbid(unsafe_code)]

#[path = "root_init/home.rs"]
mod home;
#[path = "root_init/samples.rs"]
mod samples;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, LOGIN, NAME, OTHER, STRANGER};
use tests::need;
use tests::setup::{Found, all, bare, done, init, password, places, refused, whole};
use tests::terminal::Terminal;

#[test]
fn a_set_up_by_flags_delivers_its_first_mail_and_is_not_made_twice() -> Result<()> {
    let Some(curl) = need::root().then(|| need::tool("curl")).flatten() else { return Ok(()) };
    let mut world = bare()?;
    let folder = world.folder.path().to_owned();
    let file = folder.join("sallyport.toml");
    let flags = [whole(&world), vec!["--interface".into(), "guard0".into()]].concat();

    let before = all(&folder)?;
    let shown = done(&world, &[flags.as_slice(), &["--dry-run".into()]].concat())?;
    ensure!(shown.contains("add the login app to") && shown.contains("[[gate.allow]]"), "{shown}");
    ensure!(all(&folder)? == before, "a dry run changed something");

    let begun = Instant::now();
    let said = done(&world, &flags)?;
    world.stage.password = password(&said)?;
    ensure!(
        said.contains("port 2525") && said.contains("smtp.starttls(context=context)"),
        "{said}"
    );
    for (name, mode) in [
        ("sallyport.toml", 0o644),
        ("users.toml", 0o640),
        ("tls/key.pem", 0o640),
        ("tls/fullchain.pem", 0o644),
        ("tls/ca.pem", 0o644),
    ] {
        let about = fs::metadata(folder.join(name))?;
        ensure!(
            about.permissions().mode() & 0o7777 == mode,
            "{name}: {:o}",
            about.permissions().mode()
        );
        let group = if mode == 0o640 { 65534 } else { 0 };
        ensure!(
            (about.uid(), about.gid()) == (0, group),
            "{name}: {}, {}",
            about.uid(),
            about.gid()
        );
    }
    world.stage.command(&["config", "check", &file.display().to_string()])?;
    world.stage.start()?;
    let message = folder.join("message");
    fs::write(
        &message,
        "From: app@example.net\r\nTo: customer@example.com\r\nSubject: the first\r\n\r\nx\r\n",
    )?;
    world.run(&mut world.curl(&curl, &message))?;
    let arrived = String::from_utf8(world.stage.hop.next_message()?)?;
    ensure!(arrived.contains("Subject: the first\r\n"), "{arrived}");
    println!("from `init` to the first delivered mail: {} ms", begun.elapsed().as_millis());
    let told = world.stage.command(&["explain", &STRANGER.to_string()])?;
    ensure!(told.contains("unlisted"), "{told}");

    let before = all(&folder)?;
    let said = refused(&world, init(&world.stage, &flags))?;
    ensure!(said.contains("is there already: --force replaces it"), "{said}");
    let changed =
        [flags.as_slice(), &["--force".into(), "--postmaster".into(), "ops@example.org".into()]]
            .concat();
    let said = done(&world, &changed)?;
    ensure!(said.contains("the login app keeps its password"), "{said}");
    let after = all(&folder)?;
    let old = before.iter().find(|(path, ..)| *path == file).context("the old one")?;
    let is_backup = |path: &Path| path.display().to_string().contains("sallyport.toml.20");
    let backup = after.iter().find(|(path, ..)| is_backup(path)).context("no backup")?;
    ensure!(backup.3 == old.3, "the backup is another file");
    let others = |all: &[Found]| {
        let one_of =
            |path: &Path| path.starts_with(folder.join("tls")) || path.ends_with("users.toml");
        all.iter().filter(|(path, ..)| one_of(path)).cloned().collect::<Vec<_>>()
    };
    ensure!(others(&before) == others(&after), "a certificate or a login was changed");
    ensure!(fs::read_to_string(&file)?.contains("ops@example.org"));
    world.stage.command(&["reload"])?;
    Ok(())
}

#[test]
fn mail_is_taken_under_a_certificate_that_was_given() -> Result<()> {
    let Some(curl) = need::root().then(|| need::tool("curl")).flatten() else { return Ok(()) };
    let mut world = bare()?;
    let folder = world.folder.path().to_owned();
    let made = relay::cli::tls::make(&[NAME.to_owned()])?;
    fs::create_dir(folder.join("given"))?;
    let [chain, key] = ["given/chain.pem", "given/key.pem"].map(|name| folder.join(name));
    fs::write(&chain, &made.chain)?;
    fs::write(&key, &made.key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640))?;
    std::os::unix::fs::chown(&key, None, Some(65534))?;
    // What curl trusts, and nobody else: a certificate that `init` made would be by another authority.
    fs::create_dir(folder.join("tls"))?;
    fs::write(folder.join("tls/ca.pem"), &made.ca)?;
    let before = all(&folder.join("given"))?;
    let given = [chain.display().to_string(), key.display().to_string()];
    let more = ["--interface", "guard0", "--certificate", &given[0], "--key", &given[1]];
    let flags = [whole(&world), more.map(str::to_owned).to_vec()].concat();
    let said = done(&world, &flags)?;
    ensure!(said.contains(&format!("show clients {}, which stays as it is", given[0])), "{said}");
    ensure!(all(&folder.join("given"))? == before, "what was given was changed");
    ensure!(!folder.join("tls/fullchain.pem").exists(), "another one was made");
    world.stage.password = password(&said)?;
    world.stage.start()?;
    let message = folder.join("message");
    let text = "From: app@example.net\r\nTo: customer@example.com\r\nSubject: given\r\n\r\nx\r\n";
    fs::write(&message, text)?;
    world.run(&mut world.curl(&curl, &message))?;
    let arrived = String::from_utf8(world.stage.hop.next_message()?)?;
    ensure!(arrived.contains("Subject: given\r\n"), "{arrived}");
    Ok(())
}

#[test]
fn what_would_cut_somebody_off_or_cannot_work_is_refused_and_leaves_nothing() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let before = all(world.folder.path())?;
    let session = |port: u16| format!("{CLIENT} 40000 192.0.2.1 {port}");
    let without = |name: &str| {
        let mut flags = whole(&world);
        let at = flags.iter().position(|flag| flag == name).expect("the flag is there");
        flags.drain(at..at + 2);
        flags
    };
    let and = |more: &[&str]| {
        [whole(&world), more.iter().map(|flag| (*flag).to_owned()).collect()].concat()
    };
    let other = [without("--listen"), vec!["--listen".into(), OTHER.to_string()]].concat();
    let given = ["--certificate", "/etc/passwd", "--key", "/etc/passwd"];
    for (what, flags, ssh, wanted) in [
        (
            "the own session",
            and(&[]),
            session(2525),
            "port 2525 is the one of your own session from 192.0.2.10",
        ),
        ("a service", other, session(22), "listens on 192.0.2.1:8080 already"),
        (
            "an interface",
            and(&["--interface", "nosuch0"]),
            session(22),
            "there is no interface nosuch0",
        ),
        (
            "no next hop",
            without("--smarthost"),
            session(22),
            "--smarthost (or --capture) is needed",
        ),
        ("a postmaster", and(&["--postmaster", "nobody"]), session(22), "--postmaster: "),
        ("no certificate", and(&given), session(22), "holds no certificate in PEM"),
        (
            "no systemd for it",
            and(&["--start"]),
            session(22),
            "--start: the units read /etc/sallyport",
        ),
    ] {
        let mut command = init(&world.stage, &flags);
        command.env("SSH_CONNECTION", ssh);
        let said = refused(&world, command)?;
        ensure!(said.contains(wanted), "{what}: {said}");
        ensure!(all(world.folder.path())? == before, "{what}: something was left");
    }
    let mut silent = whole(&world);
    silent.retain(|flag| flag != "--yes");
    let mut command = init(&world.stage, &silent);
    command.stdin(std::process::Stdio::null());
    let said = refused(&world, command)?;
    ensure!(said.contains("standard input is no terminal: give --yes"), "{said}");
    Ok(())
}

#[test]
fn an_operator_is_asked_and_what_he_types_is_what_stands_there() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let folder = world.folder.path().to_owned();
    let mut command = init(&world.stage, &places(&world));
    command.env("SSH_CONNECTION", format!("{CLIENT} 40000 192.0.2.1 22"));
    let spawn = |command: &mut Command| Ok(world.stage.relay.spawn(command)?);
    let mut terminal = Terminal::run((150, 300), command, spawn)?;
    let folder_of_messages = format!("Folder of messages [{}/state/spool]: ", folder.display());
    for (question, answer) in [
        ("as clients call it", "not a name\r"),
        ("expected", "relay.example.net\r"),
        ("nobody else [postmaster@example.net]: ", "\r"),
        ("Interfaces to guard [guard0]: ", "nosuch0\r"),
        ("there is no interface nosuch0", "\r"),
        ("listen on [", "192.0.2.1:8080\r"),
        ("listens on 192.0.2.1:8080 already", "192.0.2.1:2525\r"),
        ("or none [192.0.2.0/24]: ", "192.0.2.0/28 192.0.2.128/25\r"),
        ("private authority made here [own]: ", "\r"),
        ("First login [app]: ", "\r"),
        ("or @domains [@example.net]: ", "\r"),
        ("or keep to keep it here: ", "192.0.2.200:2587\r"),
        ("Our login there, or none [none]: ", "relay\r"),
        ("(not shown): ", "hidden wordx\u{7f}\r"),
        (folder_of_messages.as_str(), "\r"),
        ("Do it? [Y/n]: ", "y\r"),
    ] {
        terminal.until(question, |text| text.contains(question))?;
        terminal.press(answer)?;
    }
    let (code, shown) = terminal.end()?;
    ensure!(code == 0, "{shown}");
    ensure!(!shown.contains("hidden word"), "{shown}");
    ensure!(
        shown.contains("password: ") && shown.contains("start it:   sudo sallyport run --config"),
        "{shown}"
    );
    let text = fs::read_to_string(folder.join("sallyport.toml"))?;
    for wanted in [
        "cidr = \"192.0.2.0/28\"",
        "cidr = \"192.0.2.128/25\"",
        "interfaces = [\"guard0\"]",
        "address = \"192.0.2.1:2525\"",
        "user = \"relay\"",
    ] {
        ensure!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let secret = folder.join("secrets/smarthost");
    ensure!(fs::read_to_string(&secret)? == "hidden word\n");
    let about = fs::metadata(&secret)?;
    ensure!((about.permissions().mode() & 0o7777, about.gid()) == (0o640, 65534));
    Ok(())
}

#[test]
fn whoever_says_no_or_leaves_changes_nothing() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let before = all(world.folder.path())?;
    let mut flags = whole(&world);
    flags.retain(|flag| flag != "--yes");
    let flags =
        [flags, ["--interface", "guard0", "--login", LOGIN].map(str::to_owned).to_vec()].concat();
    let spawn = |command: &mut Command| Ok(world.stage.relay.spawn(command)?);
    for (answers, code) in [(&["\r", "\r", "\r", "\r", "\r", "n\r"][..], 1), (&["\u{4}"][..], 1)] {
        let mut terminal = Terminal::run((150, 300), init(&world.stage, &flags), spawn)?;
        for (asked, answer) in answers.iter().enumerate() {
            let colons = |text: &str| text.lines().last().is_some_and(|line| line.ends_with(':'));
            terminal.until("a question", |text| {
                colons(text.trim_end()) && text.matches("]:").count() > asked
            })?;
            terminal.press(answer)?;
        }
        let (ended, shown) = terminal.end()?;
        ensure!(ended == code && shown.contains("nothing was written"), "{shown}");
        ensure!(all(world.folder.path())? == before, "something was left");
    }
    Ok(())
}

#[test]
fn a_login_whose_password_nobody_saw_gets_another_one() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let flags = [whole(&world), vec!["--interface".into(), "guard0".into()]].concat();
    let users = world.folder.path().join("users.toml");
    relay::users::add(&users, LOGIN, relay::users::Password::Made)?;
    let before = fs::read(&users)?;
    // It may be another configuration's, in the same folder: it stays.
    let shown = done(&world, &flags)?;
    ensure!(shown.contains("`sallyport user passwd app` gives it another"), "{shown}");
    ensure!(fs::read(&users)? == before, "a login in use was changed");
    fs::remove_file(world.folder.path().join("sallyport.toml"))?;
    // As a loss of power before the configuration was written leaves it.
    let mark = relay::cli::init::unseen::mark(&users);
    fs::write(&mark, format!("{LOGIN}\n"))?;
    let shown = done(&world, &[flags.as_slice(), &["--dry-run".into()]].concat())?;
    ensure!(shown.contains("another password and show that once"), "{shown}");
    let password = password(&done(&world, &flags)?)?;
    let store = relay::users::Store::load(&users)?;
    ensure!(store.check(LOGIN, password.as_bytes()) == relay::users::Check::Right);
    ensure!(!mark.exists(), "it would get another one again");
    let about = fs::metadata(&users)?;
    ensure!((about.permissions().mode() & 0o7777, about.gid()) == (0o640, 65534));
    Ok(())
}
