//! Mail from clients of others, through the whole product, to a next hop of others.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, GUARDED, LOGIN, NAME};
use tests::need;
use tests::world::World;

/// A message for a client that takes a file.
const MESSAGE: &str = "From: billing@example.net\r\nTo: customer@example.com\r\n\
    Subject: from a client of others\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n\
    Message-ID: <other-1@example.net>\r\n\r\n.a dot first\r\n..two\r\nthe last line\r\n";

/// Waits for the next message at the next hop, which must hold `text`.
fn arrives(world: &World, text: &str) -> Result<String> {
    let arrived = world.stage.hop.next_message().with_context(|| world.stage.log())?;
    let arrived = String::from_utf8(arrived)?;
    ensure!(arrived.contains(text), "{text:?} is not in:\n{arrived}");
    ensure!(arrived.contains("ESMTPSA"), "the trace names no authenticated TLS:\n{arrived}");
    Ok(arrived)
}

fn ca_file(world: &World) -> String {
    world.folder.path().join("tls/ca.pem").display().to_string()
}

#[test]
fn swaks_delivers_by_plain_and_by_login() -> Result<()> {
    let Some(swaks) = need::root().then(|| need::tool("swaks")).flatten() else { return Ok(()) };
    if need::tool("perl-tls").is_none() {
        return Ok(());
    }
    let world = World::serving()?;
    for mechanism in ["PLAIN", "LOGIN"] {
        let subject = format!("swaks by {mechanism}");
        let mut command = Command::new(&swaks);
        command.args(["--server", &GUARDED.to_string(), "--tls"]);
        command.args(["--local-interface", &CLIENT.to_string()]);
        command.args(["--auth", mechanism, "--auth-user", LOGIN]);
        command.args(["--auth-password", &world.stage.password]);
        command.args(["--from", "billing@example.net", "--to", "customer@example.com"]);
        command.args(["--helo", "client.example.net", "--header", &format!("Subject: {subject}")]);
        world.run(&mut command)?;
        arrives(&world, &format!("Subject: {subject}\r\n"))?;
    }
    Ok(())
}

#[test]
fn curl_delivers_to_postfix_with_a_verified_certificate() -> Result<()> {
    let Some(curl) = need::root().then(|| need::tool("curl")).flatten() else { return Ok(()) };
    if need::tool("postfix").is_none() {
        return Ok(());
    }
    let world = World::serving()?;
    assert_eq!(world.stage.hop.name(), "Postfix");
    let file = world.folder.path().join("message");
    std::fs::write(&file, MESSAGE)?;
    world.run(&mut world.curl(&curl, &file))?;
    let arrived = arrives(&world, "Subject: from a client of others\r\n")?;
    ensure!(arrived.ends_with(MESSAGE), "the octets differ:\n{arrived}");
    Ok(())
}

/// What Python's smtplib does in the test; arguments: address, port, CA, user, password, source.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
host, port, ca, user, password, source, name = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
client = smtplib.SMTP(source_address=(source, 0), local_hostname="client.example.net", timeout=20)
client._host = name
client.connect(host, int(port))
client.starttls(context=context)
client.login(user, password)
for n in range(3):
    text = f"From: billing@example.net\r\nTo: customer@example.com\r\nSubject: smtplib {n}\r\n\r\n.x\r\n"
    assert client.sendmail("billing@example.net", ["customer@example.com"], text) == {}
try:
    client.sendmail("someone@example.org", ["customer@example.com"], "Subject: x\r\n\r\nx\r\n")
    raise SystemExit("a foreign sender was accepted")
except smtplib.SMTPSenderRefused as refused:
    assert refused.smtp_code == 553, refused
client.quit()
"#;

#[test]
fn pythons_smtplib_delivers_many_in_one_session_and_is_refused_a_foreign_sender() -> Result<()> {
    let Some(python) = need::root().then(|| need::tool("python3")).flatten() else {
        return Ok(());
    };
    let world = World::serving()?;
    let mut command = Command::new(python);
    command.args(["-c", SMTPLIB, &GUARDED.ip().to_string(), &GUARDED.port().to_string()]);
    command.args([&ca_file(&world), LOGIN, &world.stage.password, &CLIENT.to_string(), NAME]);
    world.run(&mut command)?;
    let mut subjects = Vec::new();
    for _ in 0..3 {
        let arrived = arrives(&world, "Subject: smtplib")?;
        ensure!(arrived.ends_with("\r\n\r\n.x\r\n"), "the octets differ:\n{arrived}");
        ensure!(arrived.contains("Message-ID: <"), "no Message-ID was added:\n{arrived}");
        ensure!(arrived.contains("\r\nDate: "), "no Date was added:\n{arrived}");
        subjects
            .extend(arrived.lines().find(|line| line.starts_with("Subject:")).map(str::to_owned));
    }
    subjects.sort();
    assert_eq!(subjects, ["Subject: smtplib 0", "Subject: smtplib 1", "Subject: smtplib 2"]);
    Ok(())
}
