//! Certificates by ACME of a real authority: the first one, its renewal, and what a failure leaves.

#![forbid(unsafe_code)]

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{HOP, NAME, RELAY};
use tests::need;
use tests::pebble::Pebble;
use tests::setup::{all, bare, done, init, password, refused, whole};
use tests::systemd::Systemd;
use tests::terminal::Terminal;
use tests::world::{World, program};

/// The unit that renews.
const UNIT: &str = "sallyport-certificate.service";
const DAY: Duration = Duration::from_secs(86_400);

/// A world in which nothing is set up, and an authority in it; none if its program is not there.
struct Town {
    pebble: Pebble,
    world: World,
}

impl Town {
    fn new() -> Result<Option<Self>> {
        let Some(program) = need::root().then(|| need::tool("pebble")).flatten() else {
            return Ok(None);
        };
        let world = bare()?;
        let folder = world.folder.path().join("pebble");
        let pebble = Pebble::start(&program, &world.stage.world, &folder)?;
        Ok(Some(Self { pebble, world }))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.at(name)).with_context(|| name.to_owned())
    }

    /// Returns the flags of a whole set-up by this authority, and more.
    fn flags(&self, more: &[&str]) -> Vec<String> {
        let more = ["--interface", "guard0"].into_iter().chain(more.iter().copied());
        [whole(&self.world), self.pebble.flags(), more.map(str::to_owned).collect()].concat()
    }

    /// Runs a verb that must refuse, and returns why.
    fn refused(&self, words: &[&str]) -> Result<String> {
        refused(&self.world, self.world.stage.program(words))
    }

    /// Sets up, and starts the product.
    fn serve(&mut self) -> Result<()> {
        let said = done(&self.world, &self.flags(&["--acme-agree-terms"]));
        let said = said.with_context(|| self.pebble.log())?;
        self.world.stage.password = password(&said)?;
        self.world.stage.start()
    }

    /// Returns what stands in the way of a mail of a client that trusts the authority's root and no other.
    fn mail(&self, curl: &Path) -> Result<()> {
        // Where the world's client looks for whom to trust.
        fs::write(self.at("tls/ca.pem"), self.pebble.root()?)?;
        let message = self.at("message");
        fs::write(&message, "From: app@example.net\r\nTo: customer@example.com\r\n\r\nx\r\n")?;
        self.world.run(&mut self.world.curl(curl, &message)).map(drop)
    }

    /// Returns how many orders and accounts the authority was asked for.
    fn asked(&self) -> usize {
        let log = self.pebble.log();
        ["order-plz", "sign-me-up"].iter().map(|path| log.matches(path).count()).sum()
    }

    /// Puts a certificate for the key that is there in place, of which a day of 90 is left.
    fn age(&self) -> Result<()> {
        let key = KeyPair::from_pem(&self.read("tls/key.pem")?)?;
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        let now = SystemTime::now();
        params.not_before = (now - 89 * DAY).into();
        params.not_after = (now + DAY).into();
        let new = self.at("tls/new.pem");
        fs::write(&new, params.self_signed(&key)?.pem())?;
        Ok(fs::rename(new, self.at("tls/fullchain.pem"))?)
    }
}

#[test]
fn a_set_up_by_acme_serves_the_authoritys_chain_to_clients_that_verify() -> Result<()> {
    let Some(curl) = need::root().then(|| need::tool("curl")).flatten() else { return Ok(()) };
    let Some(mut town) = Town::new()? else { return Ok(()) };
    town.serve()?;
    for (name, mode, group) in [
        ("acme", 0o700, 0),
        ("acme/account.json", 0o600, 0),
        ("tls/key.pem", 0o640, 65534),
        ("tls/fullchain.pem", 0o644, 0),
    ] {
        let about = fs::metadata(town.at(name))?;
        let found = (about.permissions().mode() & 0o7777, about.uid(), about.gid());
        ensure!(found == (mode, 0, group), "{name}: {found:?}");
    }
    ensure!(town.read("tls/fullchain.pem")?.matches("BEGIN CERTIFICATE").count() == 2);
    town.mail(&curl).with_context(|| town.pebble.log())?;
    let arrived = town.world.stage.hop.next_message()?;
    ensure!(arrived.ends_with(b"\r\n\r\nx\r\n"), "{}", String::from_utf8_lossy(&arrived));
    let port = SocketAddr::new(RELAY, 80);
    let open = town.world.stage.world.within(|| TcpStream::connect(port))?;
    ensure!(open.is_err(), "port 80 is still listened on");
    Ok(())
}

#[test]
fn a_certificate_is_renewed_when_it_is_due_and_not_before() -> Result<()> {
    let Some(curl) = need::root().then(|| need::tool("curl")).flatten() else { return Ok(()) };
    let Some(mut town) = Town::new()? else { return Ok(()) };
    town.serve()?;
    let before = all(town.world.folder.path())?;
    let said = town.world.stage.command(&["tls", "renew"])?;
    ensure!(said.contains("fullchain.pem is good until") && said.contains("from"), "{said}");
    let tls = |found: &[tests::setup::Found]| {
        let ours =
            |path: &Path| path.starts_with(town.at("tls")) || path.starts_with(town.at("acme"));
        found.iter().filter(|(path, ..)| ours(path)).cloned().collect::<Vec<_>>()
    };
    ensure!(tls(&before) == tls(&all(town.world.folder.path())?), "something was changed");

    let key = town.read("tls/key.pem")?;
    for round in ["the first time", "the second time"] {
        town.age()?;
        let old = town.read("tls/fullchain.pem")?;
        let said = town.world.stage.command(&["tls", "renew"]);
        let said = said.with_context(|| town.pebble.log())?;
        ensure!(said.contains("is renewed: it ends at"), "{round}: {said}");
        ensure!(town.read("tls/fullchain.pem.before")? == old, "{round}: the old one is not kept");
        ensure!(town.read("tls/key.pem")? == key, "{round}: the key is another");
        // The relay looks at its files once in a second.
        wait_for("the relay to show the new one", || town.mail(&curl).ok())?;
    }

    let said = town.world.stage.command(&["tls", "obtain", "--new-key"])?;
    ensure!(said.contains(&format!("for {NAME}, good until")), "{said}");
    ensure!(town.read("tls/key.pem")? != key, "the key is the same");
    wait_for("the relay to show the new key", || town.mail(&curl).ok())?;
    let kept = all(town.world.folder.path())?;
    let is_kept = |path: &Path| path.display().to_string().contains("tls/key.pem.20");
    let kept = kept.iter().find(|(path, ..)| is_kept(path)).context("the old key is gone")?;
    ensure!(kept.3 == key && kept.1 & 0o7777 == 0o640, "{kept:?}");
    Ok(())
}

#[test]
fn an_order_that_fails_leaves_what_was_there_and_says_why() -> Result<()> {
    let Some(mut town) = Town::new()? else { return Ok(()) };
    let folder = town.world.folder.path().to_owned();
    // The authority's own log grows, and is no matter of ours.
    let ours = |folder: &Path| -> Result<Vec<_>> {
        let found = all(folder)?;
        let is_ours = |path: &Path| !path.starts_with(folder.join("pebble"));
        Ok(found.into_iter().filter(|(path, ..)| is_ours(path)).collect())
    };
    let before = ours(&folder)?;
    let elsewhere = Some(HOP.ip());
    town.pebble.lead(NAME, elsewhere)?;
    let (unsaid, agreed) = (town.flags(&[]), town.flags(&["--acme-agree-terms"]));
    let nowhere: IpAddr = "192.0.2.77".parse()?;
    let bad = [agreed.clone(), vec!["--acme-address".into(), format!("{nowhere}:80")]].concat();
    for (what, flags, wanted) in [
        ("no agreement", &unsaid, "--acme-agree-terms is needed"),
        ("another host", &agreed, "(connection); let port 80 of the name lead to this host"),
        ("no address of ours", &bad, "192.0.2.77:80: cannot listen"),
    ] {
        let said = refused(&town.world, init(&town.world.stage, flags))?;
        ensure!(said.contains(wanted), "{what}: {said}");
        ensure!(ours(&folder)? == before, "{what}: something was left");
    }
    town.pebble.lead(NAME, None)?;
    town.serve()?;

    town.age()?;
    let files = |town: &Town| -> Result<Vec<_>> {
        let found = all(&town.at("tls"))?;
        Ok([found, all(&town.at("acme"))?].concat())
    };
    let before = files(&town)?;
    let check = |what: &str, wanted: &[&str]| -> Result<()> {
        for words in [&["tls", "renew"][..], &["tls", "obtain", "--new-key"]] {
            let said = town.refused(words)?;
            for wanted in wanted {
                ensure!(said.contains(wanted), "{what}: {words:?}: {said}");
            }
            ensure!(files(&town)? == before, "{what}: {words:?}: something was changed");
        }
        Ok(())
    };
    town.pebble.lead(NAME, elsewhere)?;
    check("another host", &[NAME, "the certificate and its key are as they were", "(connection)"])?;
    town.pebble.lead(NAME, None)?;
    let taken = town.world.stage.relay.within(|| TcpListener::bind((RELAY, 80)))??;
    let pid = format!("(pid {})", std::process::id());
    check("a taken port", &["cannot listen", &pid, "tls.acme.address"])?;
    drop(taken);
    let advice = town.world.stage.program(&["doctor", "--json"]);
    let advice = doctored(&town.world, advice)?;
    ensure!(advice.contains("sudo sallyport tls renew"), "{advice}");
    town.world.stage.command(&["tls", "renew"])?;
    Ok(())
}

#[test]
fn a_set_up_that_ends_while_the_authority_is_asked_has_made_no_password() -> Result<()> {
    let Some(town) = Town::new()? else { return Ok(()) };
    // Nobody is there, so the proof takes the authority its time.
    town.pebble.lead(NAME, Some("192.0.2.77".parse()?))?;
    let flags = town.flags(&["--acme-agree-terms"]);
    let stage = &town.world.stage;
    let mut setting_up = stage.relay.spawn(init(stage, &flags).stdout(Stdio::null()))?;
    let port = SocketAddr::new(RELAY, 80);
    let asked = wait_for("the proofs to be answered", || {
        stage.relay.within(|| TcpStream::connect(port)).ok()?.ok()
    });
    // As a loss of power ends it.
    setting_up.kill()?;
    setting_up.wait()?;
    asked?;
    ensure!(!town.at("users.toml").exists() && !town.at("sallyport.toml").exists());
    town.pebble.lead(NAME, None)?;
    password(&done(&town.world, &flags)?)?;
    Ok(())
}

#[test]
fn nothing_is_ordered_that_could_not_be_written() -> Result<()> {
    let Some(mut town) = Town::new()? else { return Ok(()) };
    let flags = town.flags(&["--acme-agree-terms"]);
    // Of what is not the certificate's one thing cannot be made: the folder of messages is a file.
    let spool = town.at("state/spool");
    fs::create_dir(town.at("state"))?;
    fs::write(&spool, "")?;
    let said = refused(&town.world, init(&town.world.stage, &flags))?;
    ensure!(said.contains("spool") && town.asked() == 0, "{said}\n{}", town.pebble.log());
    fs::remove_file(&spool)?;
    town.serve()?;
    let asked = town.asked();
    ensure!(asked > 0, "{}", town.pebble.log());

    town.age()?;
    let before = town.at("tls/fullchain.pem.before");
    fs::create_dir(&before)?;
    let said = town.refused(&["tls", "renew"])?;
    ensure!(said.contains("nothing was ordered: ") && said.contains("is a folder"), "{said}");
    ensure!(town.asked() == asked, "{said}\n{}", town.pebble.log());
    fs::remove_dir(&before)?;
    town.world.stage.command(&["tls", "renew"])?;
    ensure!(town.asked() > asked, "{}", town.pebble.log());
    Ok(())
}

#[test]
fn the_timer_waits_after_a_failure_and_whoever_renews_by_hand_does_not() -> Result<()> {
    let Some(mut town) = Town::new()? else { return Ok(()) };
    town.serve()?;
    town.age()?;
    town.pebble.lead(NAME, Some(HOP.ip()))?;
    let by_timer = ["tls", "renew", "--by-timer"];
    let said = town.refused(&by_timer)?;
    ensure!(said.contains("(connection)"), "{said}");
    let noted = fs::metadata(town.at("tls/fullchain.pem.failed"))?;
    ensure!(noted.permissions().mode() & 0o7777 == 0o644, "the relay cannot read why");
    let advice = doctored(&town.world, town.world.stage.program(&["doctor", "--json"]))?;
    ensure!(advice.contains("renewal-fails") && advice.contains("(connection)"), "{advice}");
    let asked = town.asked();
    let said = town.refused(&by_timer)?;
    ensure!(said.contains("the timer waits until") && said.contains("(connection)"), "{said}");
    ensure!(town.asked() == asked, "{said}\n{}", town.pebble.log());
    town.refused(&["tls", "renew"])?;
    ensure!(town.asked() > asked, "{}", town.pebble.log());
    town.pebble.lead(NAME, None)?;
    town.world.stage.command(&["tls", "renew"])?;
    // What is over is forgotten.
    town.age()?;
    town.world.stage.command(&by_timer)?;
    Ok(())
}

#[test]
fn proofs_are_answered_over_ipv4_where_ipv6_sockets_take_ipv6_only() -> Result<()> {
    let Some(mut town) = Town::new()? else { return Ok(()) };
    let only = || fs::write("/proc/sys/net/ipv6/bindv6only", "1");
    town.world.stage.relay.within(only)??;
    town.serve()
}

/// Returns what doctor prints, whatever it finds.
fn doctored(world: &World, mut command: Command) -> Result<String> {
    let output = world.stage.relay.within(|| command.output())??;
    Ok(String::from_utf8(output.stdout)?)
}

/// The renewal's unit as it is shipped, with the folder of the world in place of the usual ones. A new key is ordered,
/// too, since that is what takes most rights.
fn unit(at: &Path) -> Result<(&'static str, String, String)> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(UNIT);
    let text = fs::read_to_string(&shipped).with_context(|| shipped.display().to_string())?;
    let at = at.display();
    let more = format!(
        "[Unit]\nConditionPathExists=\n\
         [Service]\nExecStart=\nExecStart={at}/sallyport tls renew --new-key --config {at}/sallyport.toml\n\
         BindPaths={at}\nReadWritePaths=\nReadWritePaths={at}\nStandardOutput=append:{at}/renewal.log\n\
         StandardError=append:{at}/renewal.log\n"
    );
    Ok((UNIT, text, more))
}

#[test]
fn the_shipped_unit_renews_with_the_few_rights_that_it_has() -> Result<()> {
    let Some(town) = Town::new()? else { return Ok(()) };
    done(&town.world, &town.flags(&["--acme-agree-terms"]))?;
    let folder = town.world.folder.path();
    fs::copy(program()?, folder.join("sallyport"))?;
    let units = [unit(folder)?];
    let Some(systemd) = Systemd::start(&town.world.stage.relay, folder, &units)? else {
        return Ok(());
    };
    let log = || fs::read_to_string(folder.join("renewal.log")).unwrap_or_default();
    systemd.control(&["start", UNIT]).with_context(log)?;
    ensure!(log().contains("fullchain.pem is good until"), "{}", log());
    town.age()?;
    let key = town.read("tls/key.pem")?;
    systemd.control(&["start", UNIT]).with_context(log)?;
    ensure!(log().contains("is renewed: it ends at"), "{}", log());
    ensure!(town.read("tls/fullchain.pem")?.matches("BEGIN CERTIFICATE").count() == 2);
    ensure!(town.read("tls/key.pem")? != key, "the key is the same");
    let about = fs::metadata(town.at("tls/key.pem"))?;
    ensure!((about.permissions().mode() & 0o7777, about.gid()) == (0o640, 65534));

    // All of it the relay's and nobody else's, as others set it up.
    town.age()?;
    let key = town.read("tls/key.pem")?;
    for (name, mode) in [("tls/key.pem", 0o600), ("tls/fullchain.pem", 0o600), ("tls", 0o700)] {
        chown(town.at(name), Some(65534), Some(65534))?;
        fs::set_permissions(town.at(name), fs::Permissions::from_mode(mode))?;
    }
    systemd.control(&["start", UNIT]).with_context(log)?;
    ensure!(town.read("tls/key.pem")? != key, "{}", log());
    Ok(())
}

#[test]
fn an_operator_reads_where_the_terms_stand_and_nothing_is_made_without_a_yes() -> Result<()> {
    let Some(town) = Town::new()? else { return Ok(()) };
    let mut flags = town.flags(&["--login", "app"]);
    flags.retain(|flag| flag != "--yes");
    let spawn = |command: &mut Command| Ok(town.world.stage.relay.spawn(command)?);
    let mut terminal = Terminal::run((200, 300), init(&town.world.stage, &flags), spawn)?;
    for (question, answer) in [
        ("nobody else [postmaster@example.net]: ", "\r"),
        ("may write to, or none [none]: ", "nobody\r"),
        ("may write to, or none [none]: ", "ops@example.net\r"),
        ("Agree to the terms at data:text/plain,Do%20what%20thou%20wilt? [y/N]: ", "\r"),
    ] {
        terminal.until(question, |text| text.contains(question))?;
        terminal.press(answer)?;
    }
    let (code, shown) = terminal.end()?;
    ensure!(code == 1 && shown.contains("it signs nothing: nothing was written"), "{shown}");
    ensure!(!town.at("sallyport.toml").exists() && !town.at("acme").exists());
    Ok(())
}
