//! What `init --clients` prints, run as it stands by the programs that it is for: each delivers a message over TLS
//! that it verifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::LOGIN;
use tests::need;
use tests::world::World;

/// Runs a sample: prints it into `file` and calls `program` with `arguments` in its folder, where the authority's
/// certificate is. `prepare` makes there what a client's own host would have.
fn delivers(
    client: &str,
    file: &str,
    (program, arguments): (&Path, &[&str]),
    prepare: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let world = World::serving()?;
    let folder = world.folder.path().join("client");
    fs::create_dir(&folder)?;
    fs::write(folder.join("ca.pem"), &world.stage.ca)?;
    let sample = world.stage.command(&["init", "--clients", client, "--login", LOGIN])?;
    fs::write(folder.join(file), &sample)?;
    prepare(&folder)?;
    let run = |ca: &[u8]| -> Result<String> {
        fs::write(folder.join("ca.pem"), ca)?;
        let mut command = world.by_name(program)?;
        command.args(arguments).current_dir(&folder).env("HOME", &folder);
        command
            .env("SALLYPORT_PASSWORD", &world.stage.password)
            .env("NODE_PATH", "/usr/share/nodejs");
        // What the host of the test has for others.
        for name in ["ALL_PROXY", "all_proxy", "NODE_EXTRA_CA_CERTS", "GOFLAGS"] {
            command.env_remove(name);
        }
        world.run(&mut command)
    };
    run(&world.stage.ca).with_context(|| sample.clone())?;
    let arrived = String::from_utf8(world.stage.hop.next_message()?)?;
    ensure!(arrived.contains("Subject: first mail from "), "{arrived}");
    ensure!(arrived.contains("It works."), "{arrived}");
    ensure!(arrived.contains("SMTPSA id"), "the trace names no authenticated TLS:\n{arrived}");
    // Java keeps the authority elsewhere.
    if client != "java" {
        let other = relay::cli::tls::make(&["relay.example.net".to_owned()])?.ca;
        ensure!(run(other.as_bytes()).is_err(), "{client} sent to a relay that it cannot trust");
    }
    Ok(())
}

fn client(tool: &str) -> Option<PathBuf> {
    need::root().then(|| need::tool(tool)).flatten()
}

#[test]
fn python_delivers() -> Result<()> {
    let Some(python) = client("python3") else { return Ok(()) };
    delivers("python", "first.py", (&python, &["first.py"]), |_| Ok(()))
}

#[test]
fn node_delivers() -> Result<()> {
    let Some(node) = client("nodemailer") else { return Ok(()) };
    delivers("node", "first.js", (&node, &["first.js"]), |_| Ok(()))
}

#[test]
fn go_delivers() -> Result<()> {
    let Some(go) = client("go") else { return Ok(()) };
    delivers("go", "first.go", (&go, &["run", "first.go"]), |_| Ok(()))
}

#[test]
fn php_delivers() -> Result<()> {
    let Some(php) = client("phpmailer") else { return Ok(()) };
    delivers("php", "first.php", (&php, &["first.php"]), |folder| {
        // What Composer would bring.
        fs::create_dir(folder.join("vendor"))?;
        let brought = "<?php require 'libphp-phpmailer/autoload.php';\n";
        Ok(fs::write(folder.join("vendor/autoload.php"), brought)?)
    })
}

#[test]
fn ruby_delivers() -> Result<()> {
    let Some(ruby) = client("ruby-smtp") else { return Ok(()) };
    delivers("ruby", "first.rb", (&ruby, &["first.rb"]), |_| Ok(()))
}

#[test]
fn perl_delivers() -> Result<()> {
    let Some(perl) = client("perl-sasl") else { return Ok(()) };
    delivers("perl", "first.pl", (&perl, &["first.pl"]), |_| Ok(()))
}

#[test]
fn swaks_delivers() -> Result<()> {
    let (Some(_), Some(_)) = (client("swaks"), client("perl-tls")) else { return Ok(()) };
    delivers("swaks", "first.sh", (Path::new("/bin/sh"), &["first.sh"]), |_| Ok(()))
}

#[test]
fn curl_delivers() -> Result<()> {
    let Some(_) = client("curl") else { return Ok(()) };
    delivers("curl", "first.sh", (Path::new("/bin/sh"), &["first.sh"]), |_| Ok(()))
}

/// The comment of the sample says how Java is told whom to trust; that is done as it stands there.
#[test]
fn java_delivers() -> Result<()> {
    let Some(_) = client("jakarta-mail") else { return Ok(()) };
    let arguments = [
        "-Djavax.net.ssl.trustStore=sallyport.p12",
        "-Djavax.net.ssl.trustStorePassword=changeit",
        "-cp",
        "/usr/share/java/jakarta-mail.jar:/usr/share/java/jakarta-activation.jar",
        "FirstMail.java",
    ];
    delivers("java", "FirstMail.java", (Path::new("java"), &arguments), |folder| {
        let sample = fs::read_to_string(folder.join("FirstMail.java"))?;
        let told = sample.lines().find_map(|line| line.strip_prefix("//   keytool "));
        let told = told.context("the sample says nothing of keytool")?;
        let made = Command::new("keytool").args(told.split(' ')).current_dir(folder).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for argument in &arguments[..2] {
            ensure!(sample.contains(argument), "the sample does not say {argument}");
        }
        Ok(())
    })
}
