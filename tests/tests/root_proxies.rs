//! Clients of others that speak for others: through the gate as themselves, through the relay as whom they
//! name.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, GUARDED, LOGIN, NAME};
use tests::need;
use tests::world::World;

/// Starts the product with one more line for its listener.
fn believing(line: &str) -> Result<World> {
    let mut world = World::set()?;
    let file = world.folder.path().join("sallyport.toml");
    let text = fs::read_to_string(&file)?;
    let address = format!("address = \"{GUARDED}\"\n");
    ensure!(text.contains(&address), "no listener in {text}");
    fs::write(&file, text.replace(&address, &format!("{address}{line}\n")))?;
    world.stage.start()?;
    Ok(world)
}

/// swaks with a login, from the client that the gate admits.
fn swaks(world: &World, program: &Path, more: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(["--server", &GUARDED.to_string(), "--tls"]);
    command.args(["--local-interface", &CLIENT.to_string()]);
    command.args(["--auth", "PLAIN", "--auth-user", LOGIN]);
    command.args(["--auth-password", &world.stage.password]);
    command.args(["--from", "billing@example.net", "--to", "customer@example.com"]);
    command.args(["--helo", "client.example.net"]).args(more);
    world.run(&mut command)?;
    arrived(world)
}

/// Returns the first Received field of the next message at the next hop that is ours, unfolded.
fn arrived(world: &World) -> Result<String> {
    let message = world.stage.hop.next_message().with_context(|| world.stage.log())?;
    let message = String::from_utf8(message)?.replace("\r\n\t", " ");
    let ours = message.lines().find(|line| line.contains(&format!("by {NAME} with ESMTPSA")));
    Ok(ours.with_context(|| format!("no trace of ours in {message}"))?.to_owned())
}

#[test]
fn swaks_sends_headers_of_both_versions_for_a_client_that_the_gate_never_sees() -> Result<()> {
    let Some(program) = need::root().then(|| need::tool("swaks")).flatten() else { return Ok(()) };
    if need::tool("perl-tls").is_none() {
        return Ok(());
    }
    let world = believing(&format!("proxy = [\"{CLIENT}\"]"))?;
    for (version, family) in [("1", "TCP4"), ("2", "AF_INET")] {
        let mut more = vec!["--proxy-version", version, "--proxy-family", family];
        more.extend(["--proxy-source", "203.0.113.7", "--proxy-source-port", "56324"]);
        more.extend(["--proxy-dest", "192.0.2.1", "--proxy-dest-port", "2525"]);
        let trace = swaks(&world, &program, &more)?;
        ensure!(trace.starts_with("Received: from client.example.net ([203.0.113.7])"), "{trace}");
    }
    let log = world.stage.log();
    ensure!(log.contains("203.0.113.7"), "the journal names the client:\n{log}");
    Ok(())
}

#[test]
fn curl_sends_its_own_header_before_the_greeting() -> Result<()> {
    let Some(program) = need::root().then(|| need::tool("curl")).flatten() else { return Ok(()) };
    let world = believing(&format!("proxy = [\"{CLIENT}\"]"))?;
    let file = world.folder.path().join("message");
    fs::write(&file, "From: billing@example.net\r\nSubject: behind a proxy\r\n\r\nhello\r\n")?;
    world.run(world.curl(&program, &file).arg("--haproxy-protocol"))?;
    let trace = arrived(&world)?;
    ensure!(trace.contains(&format!("([{CLIENT}])")), "{trace}");
    Ok(())
}

#[test]
fn swaks_announces_a_client_by_xclient_and_only_where_it_is_named() -> Result<()> {
    let Some(program) = need::root().then(|| need::tool("swaks")).flatten() else { return Ok(()) };
    if need::tool("perl-tls").is_none() {
        return Ok(());
    }
    let client = ["--xclient-addr", "203.0.113.7", "--xclient-name", "host.example.org"];
    let world = believing(&format!("xclient = [\"{CLIENT}\"]"))?;
    let more = [&client[..], &["--xclient-helo", "spike.example.org"]].concat();
    let trace = swaks(&world, &program, &more)?;
    let named = "Received: from spike.example.org (host.example.org [203.0.113.7])";
    ensure!(trace.starts_with(named), "{trace}");
    drop(world);

    let world = World::serving()?;
    let refused = swaks(&world, &program, &client);
    let said = refused.err().context("XCLIENT was taken from anybody")?.to_string();
    ensure!(said.contains("Host did not advertise XCLIENT"), "{said}");
    Ok(())
}
