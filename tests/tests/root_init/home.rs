//! `init` where it belongs, `/etc/sallyport`: accounts, owners, systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::NAME;
use tests::need;
use tests::setup::{bare, run};
use tests::world::World;

/// Runs `init` where it belongs, in mounts of its own: a copy of `/etc` with what `given` has, an empty `/var/lib`,
/// `/var/log` and `/run`, and a systemd that only writes down what it is told.
fn at_home(world: &World, flags: &[&str], then: &str) -> Result<Output> {
    let copy = world.folder.path().join("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&copy).status()?;
    ensure!(copied.success(), "/etc could not be copied");
    for name in ["passwd", "group", "shadow", "gshadow"] {
        // The host may have our accounts already.
        let text = fs::read_to_string(copy.join(name)).unwrap_or_default();
        let others: String = text
            .lines()
            .filter(|line| !line.starts_with("sallyport"))
            .flat_map(|line| [line, "\n"])
            .collect();
        fs::write(copy.join(name), others)?;
    }
    let _ = fs::remove_dir_all(copy.join("sallyport"));
    for unit in ["gate", "relay"] {
        let folder = format!("systemd/system/sallyport-{unit}.service.d");
        let _ = fs::remove_dir_all(copy.join(folder));
    }
    fs::create_dir_all(copy.join("systemd/system"))?;
    for file in fs::read_dir(world.folder.path().join("given")).into_iter().flatten().flatten() {
        // With its mode.
        fs::copy(file.path(), copy.join(file.file_name()))?;
    }
    let systemctl = world.folder.path().join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho systemctl \"$@\"\n")?;
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755))?;
    let script = format!(
        "mount --bind \"$0\" /etc && mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log &&\n\
         mkdir -p /run/systemd/system && PATH=${{0%/etc}}:$PATH && \"$@\"\n{then}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", &script]).arg(&copy);
    command.arg(tests::world::program()?).arg("init").args(flags);
    command
        .args(["--yes", "--hostname", NAME, "--interface", "guard0", "--capture"])
        .env("SSH_CONNECTION", "");
    run(world, command)
}

#[test]
fn accounts_are_made_where_they_are_missing_and_systemd_starts_what_is_whole() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let then = "getent passwd sallyport; getent group sallyport-admin\nstat -c '%n %a %U %G' /etc/sallyport/* \
                /etc/sallyport/tls/* /var/lib/sallyport/* /run/sallyport";
    let output = at_home(&world, &["--start"], then)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    for wanted in [
        "useradd --system",
        "groupadd --system sallyport-admin",
        "systemctl daemon-reload\nsystemctl enable sallyport-gate sallyport-relay\nsystemctl start sallyport-gate \
         sallyport-relay\n",
        "\nsallyport:x:",
        "\nsallyport-admin:x:",
        "/etc/sallyport/sallyport.toml 644 root root",
        "/etc/sallyport/users.toml 640 root sallyport",
        "/etc/sallyport/tls/key.pem 640 root sallyport",
        "/var/lib/sallyport/spool 700 sallyport sallyport",
        "/var/lib/sallyport/gate 700 root root",
        "/run/sallyport 1775 root sallyport",
    ] {
        ensure!(said.contains(wanted), "{wanted} is not in\n{said}\n{problem}");
    }
    Ok(())
}

#[test]
fn a_set_up_that_fails_takes_its_accounts_with_it() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let made = relay::cli::tls::make(&[NAME.to_owned()])?;
    let given = world.folder.path().join("given");
    fs::create_dir(&given)?;
    let [chain, key] = ["given.pem", "given.key"].map(|name| given.join(name));
    fs::write(&chain, &made.chain)?;
    fs::write(&key, &made.key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let then = "getent passwd sallyport; getent group sallyport sallyport-admin; ls -d /etc/sallyport /var/lib/* \
                /run/sallyport; true";
    let flags = ["--certificate", "/etc/given.pem", "--key", "/etc/given.key"];
    let output = at_home(&world, &flags, then)?;
    let (said, problem) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(problem.contains("cannot be read by user sallyport (mode 600"), "{problem}");
    ensure!(problem.contains("nothing was written"), "{problem}");
    let (_, left) =
        said.rsplit_once("write /etc/sallyport/sallyport.toml\n").context(said.clone())?;
    let left: Vec<_> = left.lines().filter(|line| !line.starts_with("note: ")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn what_is_not_as_the_units_say_is_told_to_systemd_and_what_runs_is_restarted() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let drop_ins = "cat /etc/systemd/system/sallyport-*.service.d/init.conf";
    let again = format!("\"$1\" init --yes --force --hostname {NAME} --interface guard0 --capture");
    let then = format!(
        "{drop_ins}; echo AGAIN; {again} --spool /var/log/mail/spool --start; echo USUAL; {again}; {drop_ins}"
    );
    let output = at_home(&world, &["--spool", "/var/log/mail/spool"], &then)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    let (first, rest) = said.split_once("AGAIN\n").context(said.clone())?;
    let (again, usual) = rest.split_once("USUAL\n").context(said.clone())?;
    let told = "[Unit]\nRequiresMountsFor=\"/var/log/mail/spool\"\n[Service]\n\
                ReadWritePaths=\"-/var/log/mail/spool\"\n";
    ensure!(first.contains("systemctl daemon-reload"), "{said}\n{problem}");
    ensure!(first.matches(told).count() == 2, "{said}\n{problem}");
    let restart = "systemctl daemon-reload\nsystemctl enable sallyport-gate sallyport-relay\n\
                   systemctl restart sallyport-gate sallyport-relay\n";
    ensure!(again.contains(restart), "{said}\n{problem}");
    ensure!(!again.contains("password: ") && !again.contains("password:   "), "{said}");
    // What was told before is taken back.
    ensure!(!usual.contains("ReadWritePaths"), "{said}\n{problem}");
    Ok(())
}

#[test]
fn what_would_be_lost_or_is_anothers_is_refused_before_anything_is_written() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = bare()?;
    let then = "ls -d /etc/sallyport /var/lib/*; getent passwd sallyport; true";
    for (flags, wanted) in [
        (
            &["--sender", "o'brien@example.net"][..],
            "--sender: \"o'brien@example.net\" cannot stand",
        ),
        (&["--spool", "/etc/ssl"], "--spool: /etc/ssl is there, has files and belongs to others"),
        (&["--sockets", "/etc"], "--sockets: /etc is there, has files and belongs to others"),
        (
            &["--spool", "/run/user/a"],
            "--spool: /run/user/a is below /run/user, which the units hide",
        ),
    ] {
        let output = at_home(&world, flags, then)?;
        let (said, problem) =
            (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(problem.contains(wanted), "{flags:?}: {said}\n{problem}");
        ensure!(
            !said.contains("/etc/sallyport") && !said.contains("sallyport:x:"),
            "{flags:?}: {said}"
        );
        fs::remove_dir_all(world.folder.path().join("etc"))?;
    }
    Ok(())
}
