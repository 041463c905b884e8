//! Logins and mail by clients of others, each by the mechanism that it knows best.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{GUARDED, LOGIN, NAME};
use tests::need;
use tests::world::World;

/// The message of clients that read one from their standard input.
const MESSAGE: &str = "From: billing@example.net\nTo: customer@example.com\n\
    Subject: from standard input\n\n.a dot first\nthe last line\n";

/// Returns the program of a tool, for a test that may run.
fn client(name: &str) -> Option<PathBuf> {
    need::root().then(|| need::tool(name)).flatten()
}

fn ca(world: &World) -> String {
    world.folder.path().join("tls/ca.pem").display().to_string()
}

/// Writes a file of settings, readable by its owner only, as some clients demand.
fn settings(world: &World, name: &str, text: &str) -> Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = world.folder.path().join(name);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

/// Gives a command a text on its standard input.
fn says(world: &World, command: &mut Command, text: &str) -> Result<()> {
    let input = settings(world, "input", text)?;
    command.stdin(Stdio::from(fs::File::open(input)?));
    Ok(())
}

/// Waits for the next message at the next hop, which must hold `text`.
fn arrives(world: &World, text: &str) -> Result<()> {
    let arrived = world.stage.hop.next_message().with_context(|| world.stage.log())?;
    let arrived = String::from_utf8(arrived)?;
    ensure!(arrived.contains(text), "{text:?} is not in:\n{arrived}");
    ensure!(arrived.contains("ESMTPSA"), "the trace names no authenticated TLS:\n{arrived}");
    Ok(())
}

/// GNU SASL binds its login to the TLS connection (RFC 9266).
#[test]
fn gsasl_logs_in_by_scram_with_channel_binding() -> Result<()> {
    let Some(gsasl) = client("gsasl") else { return Ok(()) };
    let world = World::serving()?;
    let login = |mechanism: &str, password: &str, more: &[&str]| {
        let mut command = Command::new(&gsasl);
        command.args(["--smtp", "--connect", &GUARDED.to_string(), "--mechanism", mechanism]);
        command.args(["--authentication-id", LOGIN, "--password", password]);
        command.args(["--authorization-id", "", "--x509-ca-file", &ca(&world)]).args(more);
        command.stdin(Stdio::null());
        world.run(&mut command)
    };
    let password = &world.stage.password;
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        // Without binding a client must not say that it could have one (RFC 5802, section 6).
        let more: &[&str] = if mechanism.ends_with("256") { &["--no-cb"] } else { &[] };
        let said = login(mechanism, password, more)?;
        ensure!(said.contains("235 2.7.0"), "{mechanism}: {said}");
    }
    ensure!(login("SCRAM-SHA-256-PLUS", "not the password", &[]).is_err());
    Ok(())
}

#[test]
fn msmtp_delivers_by_scram() -> Result<()> {
    let Some(msmtp) = client("msmtp") else { return Ok(()) };
    let world = World::serving()?;
    for method in ["scram-sha-256", "plain"] {
        let mut command = by_msmtp(&world, &msmtp, method, &world.stage.password)?;
        world.run(&mut command)?;
        arrives(&world, &format!("Subject: from {method}\r\n"))?;
    }
    Ok(())
}

/// Returns the command by which msmtp submits a message, its method in the subject.
fn by_msmtp(world: &World, msmtp: &Path, method: &str, secret: &str) -> Result<Command> {
    let text = format!(
        "account default\nhost {}\nport {}\ntls on\ntls_starttls on\ntls_trust_file {}\n\
         auth {method}\nuser {LOGIN}\npassword {secret}\nfrom billing@example.net\n\
         domain client.example.net\n",
        GUARDED.ip(),
        GUARDED.port(),
        ca(world),
    );
    let file = settings(world, "msmtprc", &text)?;
    let mut command = Command::new(msmtp);
    command.arg("--file").arg(file).arg("customer@example.com");
    says(world, &mut command, &MESSAGE.replace("standard input", method))?;
    Ok(command)
}

/// Of a server that offers it mutt 2.2 chooses channel binding, and then has no `tls-exporter` to bind to; so it
/// is told another mechanism.
#[test]
fn mutt_delivers() -> Result<()> {
    let Some(mutt) = client("mutt") else { return Ok(()) };
    let world = World::serving()?;
    let text = format!(
        "set smtp_url=\"smtp://{LOGIN}@{GUARDED}\"\nset smtp_pass=\"{}\"\n\
         set ssl_starttls=yes\nset ssl_force_tls=yes\nset certificate_file=\"{}\"\n\
         set from=\"billing@example.net\"\nset use_envelope_from=yes\nset copy=no\n\
         set hostname=\"client.example.net\"\nset smtp_authenticators=\"scram-sha-256\"\n",
        world.stage.password,
        ca(&world)
    );
    let file = settings(&world, "muttrc", &text)?;
    let mut command = Command::new(mutt);
    command.env("HOME", world.folder.path()).env("TERM", "dumb");
    command.args(["-n", "-F"]).arg(file);
    command.args(["-s", "from mutt", "customer@example.com"]);
    says(&world, &mut command, "a line\n")?;
    world.run(&mut command)?;
    arrives(&world, "Subject: from mutt\r\n")
}

#[test]
fn s_nail_delivers() -> Result<()> {
    let Some(mail) = client("s-nail") else { return Ok(()) };
    let world = World::serving()?;
    let text = format!(
        "set v15-compat\nset mta=smtp://{LOGIN}:{}@{NAME}:{}\nset smtp-use-starttls\n\
         set smtp-auth=plain\nset tls-verify=strict\nset tls-ca-file={}\nset tls-ca-no-defaults\n\
         set from=billing@example.net\nset hostname=client.example.net\n",
        world.stage.password,
        GUARDED.port(),
        ca(&world)
    );
    let file = settings(&world, "mailrc", &text)?;
    let mut command = world.by_name(&mail)?;
    command.env("MAILRC", file).env("HOME", world.folder.path());
    command.args(["-:u", "-s", "from s-nail", "customer@example.com"]);
    says(&world, &mut command, "a line\n")?;
    world.run(&mut command)?;
    arrives(&world, "Subject: from s-nail\r\n")
}

/// What Perl's Net::SMTP does; arguments: address, port, CA, user, password.
const NET_SMTP: &str = r#"
use strict; use warnings; use Net::SMTP; use Authen::SASL;
my ($host, $port, $ca, $user, $password) = @ARGV;
my $smtp = Net::SMTP->new($host, Port => $port, Hello => 'client.example.net', Timeout => 20) or die "connect: $@";
$smtp->starttls(SSL_ca_file => $ca, SSL_verify_mode => 1) or die "starttls: " . $smtp->message;
$smtp->auth(Authen::SASL->new(mechanism => 'PLAIN LOGIN', callback => { user => $user, pass => $password, authname => $user }))
    or die "auth: " . $smtp->message;
for my $n (0 .. 1) {
    $smtp->mail('billing@example.net') or die $smtp->message;
    $smtp->to('customer@example.com') or die $smtp->message;
    $smtp->data("From: billing\@example.net\nTo: customer\@example.com\nSubject: from perl $n\n\n.x\n") or die $smtp->message;
}
$smtp->quit;
"#;

#[test]
fn perls_net_smtp_delivers() -> Result<()> {
    let Some(_) = client("perl-sasl") else { return Ok(()) };
    let world = World::serving()?;
    let mut command = Command::new("/usr/bin/perl");
    command.args(["-e", NET_SMTP, &GUARDED.ip().to_string(), &GUARDED.port().to_string()]);
    command.args([&ca(&world), LOGIN, &world.stage.password]);
    world.run(&mut command)?;
    arrives(&world, "Subject: from perl ")?;
    arrives(&world, "Subject: from perl ")
}

/// curl chooses the mechanism itself, msmtp is told.
#[test]
fn curl_and_msmtp_log_in_by_a_token() -> Result<()> {
    let (Some(curl), Some(msmtp)) = (client("curl"), client("msmtp")) else { return Ok(()) };
    let mut world = World::set()?;
    let token = issue(&world)?;
    world.stage.start()?;
    let message = settings(&world, "message", &MESSAGE.replace('\n', "\r\n"))?;
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--ssl-reqd", "--cacert", &ca(&world)]);
    command.args(["--user", LOGIN, "--oauth2-bearer", &token]);
    command.args(["--mail-from", "billing@example.net", "--mail-rcpt", "customer@example.com"]);
    command.arg("--upload-file").arg(message).arg(format!("smtp://{GUARDED}"));
    world.run(&mut command)?;
    arrives(&world, "Subject: from standard input\r\n")?;
    for method in ["oauthbearer", "xoauth2"] {
        world.run(&mut by_msmtp(&world, &msmtp, method, &token)?)?;
        arrives(&world, &format!("Subject: from {method}\r\n"))?;
        let mut forged = by_msmtp(&world, &msmtp, method, &format!("{token}x"))?;
        ensure!(world.run(&mut forged).is_err(), "a forged token was taken by {method}");
    }
    Ok(())
}

/// Makes an issuer of tokens whom the product trusts, and returns a token for [`LOGIN`].
fn issue(world: &World) -> Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let point = key.public_key_raw();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let jwk = serde_json::json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one",
                                 "x": part(1..33), "y": part(33..65)});
    let path = world.folder.path().join("jwks.json");
    fs::write(&path, serde_json::json!({"keys": [jwk]}).to_string())?;
    let file = world.folder.path().join("sallyport.toml");
    let text = format!(
        "{}[oauth]\nkeys = \"{}\"\nissuer = \"https://login.example.net\"\n\
         audience = \"relay.example.net\"\n",
        fs::read_to_string(&file)?,
        path.display()
    );
    fs::write(&file, text)?;
    let claims = serde_json::json!({"iss": "https://login.example.net", "sub": LOGIN,
        "aud": "relay.example.net", "exp": jiff::Timestamp::now().as_second() + 600});
    let header = jsonwebtoken::Header {
        kid: Some("one".to_owned()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
    };
    let key = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}
