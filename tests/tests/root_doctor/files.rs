//! Faults in the configuration, in files and on the disk.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use relay::demo::next_hop::wait_for;

use super::row::{Row, row, well};
use super::scene::Scene;

/// Makes a certificate for a name, in force between two seconds of the epoch, and its key; both are named in
/// the configuration.
fn certificate(scene: &mut Scene, name: &str, from: i64, until: i64) -> Result<()> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    let date = |second: i64| -> Result<_> {
        let at = Timestamp::from_second(second)?.to_zoned(jiff::tz::TimeZone::UTC);
        let part = |part: i8| u8::try_from(part);
        Ok(rcgen::date_time_ymd(at.year().into(), part(at.month())?, part(at.day())?))
    };
    (params.not_before, params.not_after) = (date(from)?, date(until)?);
    let key = KeyPair::generate()?;
    fs::write(scene.path("made.pem"), params.self_signed(&key)?.pem())?;
    fs::write(scene.path("made.key"), key.serialize_pem())?;
    scene.write("{at}/tls/chain.pem", "{at}/made.pem")?;
    scene.write("{at}/tls/key.pem", "{at}/made.key")?;
    scene.shell("chown 65534:65534 {at}/made.key")
}

/// Tells whether the relay says something of its certificates; none: it did not answer.
fn says_of_certificates(scene: &Scene) -> Option<bool> {
    let status = scene.world.stage.listing(&["status"]).ok()?;
    Some(status["relay"]["troubled"].to_string().contains("certificate"))
}

const DAY: i64 = 86_400;

fn now() -> i64 {
    Timestamp::now().as_second()
}

const UNMOUNT: fn(&mut Scene) -> Result<()> =
    |scene| scene.shell("umount {at}/disk; rmdir {at}/disk");

/// Mounts a disk of another kind and names it for the spool.
fn disk(scene: &mut Scene, mount: &str) -> Result<()> {
    scene.shell(&format!(
        "mkdir {{at}}/disk; {mount}; chown 65534:65534 {{at}}/disk; chmod 700 {{at}}/disk"
    ))?;
    scene.write("path = \"{at}/spool\"", "path = \"{at}/disk\"")
}

pub const ROWS: &[Row] = &[
    row("the configuration has an unknown key", "config-unreadable", |s| s.append("[nonsense]\n")),
    row("it names an interface that is not there", "interface-missing", |s| {
        s.write("\"guard0\"", "\"guard9\"")
    }),
    row("its pins lie on a disk", "no-bpffs", |s| s.write("{at}/bpf/sallyport", "{at}/pins")),
    row("its pins lie where nothing was pinned", "tables-missing", |s| {
        s.write("{at}/bpf/sallyport", "{at}/bpf/other")
    }),
    row("a listener has an address of another host", "address-missing", |s| {
        s.write("address = \"192.0.2.1:2525\"", "address = \"192.0.2.77:2525\"")
    }),
    row("a listener's port was changed without a restart", "not-listening", |s| {
        s.write("address = \"192.0.2.1:2525\"", "address = \"192.0.2.1:2626\"")
    }),
    row("every listener is on loopback", "listens-elsewhere", |s| {
        s.write("address = \"192.0.2.1:2525\"", "address = \"127.0.0.1:2525\"")
    })
    .also(&["only-loopback"]),
    row("another program has the port", "port-taken", |s| {
        let taken = s.world.stage.relay.within(|| TcpListener::bind("192.0.2.1:2700"))??;
        s.kept.push(Box::new(taken));
        s.write("address = \"192.0.2.1:2525\"", "address = \"192.0.2.1:2700\"")
    }),
    row("the certificate is not there", "certificate-unreadable", |s| {
        s.write("{at}/tls/chain.pem", "{at}/none.pem")
    }),
    row("the key is another's", "key-unfit", |s| {
        fs::write(s.path("other.key"), KeyPair::generate()?.serialize_pem())?;
        s.shell("chown 65534 {at}/other.key")?;
        s.write("{at}/tls/key.pem", "{at}/other.key")
    }),
    row("the relay's own key became another's, and it says so", "key-unfit", |s| {
        s.shell("cp -p {at}/tls/key.pem {at}/tls/key.before")?;
        fs::write(s.path("tls/key.pem"), KeyPair::generate()?.serialize_pem())?;
        wait_for("the relay to say so", || says_of_certificates(s)?.then_some(()))
    })
    .undo(|s| {
        s.shell("mv {at}/tls/key.before {at}/tls/key.pem")?;
        wait_for("the relay to say no more", || (!says_of_certificates(s)?).then_some(()))
    }),
    row("the certificate is over", "certificate-expired", |s| {
        certificate(s, "relay.example.net", now() - 30 * DAY, now() - DAY)
    }),
    row("the certificate has not begun", "certificate-not-yet-valid", |s| {
        certificate(s, "relay.example.net", now() + 2 * DAY, now() + 90 * DAY)
    }),
    row("the certificate is soon over", "certificate-ends-soon", |s| {
        certificate(s, "relay.example.net", now() - 30 * DAY, now() + 5 * DAY)
    }),
    row("the certificate is nearly over", "certificate-overdue", |s| {
        certificate(s, "relay.example.net", now() - 30 * DAY, now() + DAY)
    }),
    row("the certificate is for another name", "certificate-name", |s| {
        certificate(s, "mail.example.org", now() - DAY, now() + 90 * DAY)
    }),
    well("the default certificate is for another name, and one beside it for this", |s| {
        certificate(s, "mail.example.org", now() - DAY, now() + 90 * DAY)?;
        s.append("[[tls.also]]\ncertificate = \"{at}/tls/chain.pem\"\nkey = \"{at}/tls/key.pem\"\n")
    }),
    row("a certificate follows that signed nothing", "certificate-order", |s| {
        s.shell("cat {at}/tls/chain.pem {at}/hop-ca.pem > {at}/two.pem; cat {at}/hop-ca.pem >> {at}/two.pem")?;
        certificate(s, "stranger.example.net", now() - DAY, now() + 90 * DAY)?;
        s.shell("cat {at}/tls/chain.pem {at}/made.pem > {at}/two.pem")?;
        s.write("{at}/made.pem", "{at}/two.pem")?;
        s.write("{at}/made.key", "{at}/tls/key.pem")
    }),
    row("the relay's user may not read the key", "file-unreadable", |s| {
        s.shell("cp {at}/tls/key.pem {at}/shut.key; chmod 600 {at}/shut.key")?;
        s.write("{at}/tls/key.pem", "{at}/shut.key")
    }),
    row("the file of logins is damaged", "users-damaged", |s| {
        fs::write(s.path("damaged.toml"), "format = ")?;
        s.write("{at}/users.toml", "{at}/damaged.toml")
    }),
    row("there is no login", "no-logins", |s| s.write("{at}/users.toml", "{at}/none.toml")),
    row("there is no policy", "no-policy", |s| {
        s.write("[[policy]]\ntag = \"demo\"\nsenders = [\"@example.net\"]\n", "")
    }),
    row("the spool's folder is not there", "spool-missing", |s| s.write("{at}/spool", "{at}/none")),
    row("the spool's folder is another's", "spool-unwritable", |s| {
        s.shell("mkdir {at}/shut; chmod 755 {at}/shut")?;
        s.write("{at}/spool", "{at}/shut")
    }),
    row("the spool's disk is read-only", "spool-read-only", |s| {
        disk(s, "mount --bind {at}/disk {at}/disk")?;
        s.shell("mount -o remount,ro,bind {at}/disk")
    })
    .undo(UNMOUNT),
    row("the disk is full", "disk-full", |s| {
        disk(
            s,
            "mount -t tmpfs -o size=1m tmpfs {at}/disk; head -c 1020000 /dev/zero > {at}/disk/full",
        )
    })
    .also(&["spool-in-memory"])
    .undo(UNMOUNT),
    row("the disk has no inodes left", "inodes-full", |s| {
        disk(s, "mount -t tmpfs -o nr_inodes=20 tmpfs {at}/disk")
    })
    .also(&["spool-in-memory"])
    .undo(UNMOUNT),
    row("the spool lies in memory", "spool-in-memory", |s| {
        disk(s, "mount -t tmpfs tmpfs {at}/disk")
    })
    .undo(UNMOUNT),
    row("flushes reach no disk", "not-flushing", |s| {
        s.shell("mkdir -p {at}/layers/low {at}/layers/up {at}/layers/work")?;
        let layers = "lowerdir={at}/layers/low,upperdir={at}/layers/up,workdir={at}/layers/work";
        disk(s, &format!("mount -t overlay -o {layers},volatile overlay {{at}}/disk"))
    })
    .undo(|s| {
        UNMOUNT(s)?;
        s.shell("rm -r {at}/layers")
    }),
    row("there is no route", "no-route", |s| s.write("default = true\n", ""))
        .words(&["--to", "example.org"]),
    row("the secret of an alert's channel is not there", "telling-file-unreadable", |s| {
        s.append(
            "[[alerts.webhook]]\nurl = \"https://192.0.2.250/\"\nformat = \"json\"\nsecret-file = \"/nowhere/secret\"\n",
        )
    }),
    row("a key that signs mail is not there", "route-file-unreadable", |s| {
        s.append(
            "[[dkim]]\ndomain = \"example.net\"\nselector = \"a\"\nkey-file = \"{at}/none.key\"\n",
        )
    })
    .also(&["dkim-key"]),
    row("a key that signs mail is no key", "dkim-key", |s| {
        fs::write(s.path("no.key"), "nonsense")?;
        s.append(
            "[[dkim]]\ndomain = \"example.net\"\nselector = \"a\"\nkey-file = \"{at}/no.key\"\n",
        )
    }),
    row("the relay's user is unknown", "user-missing", |s| {
        s.write("user = \"65534\"", "user = \"nobody-here\"")
    }),
    row("the relay may open fewer files than its new limits ask for", "descriptors", |s| {
        s.append("[limits]\nsessions = 100000\n")
    }),
    row("the clock was set back", "clock-behind", |s| written(s, Duration::from_secs(86_400)))
        .undo(|s| written(s, Duration::ZERO)),
    row("its name does not resolve", "hostname-unresolved", |s| {
        s.write("relay.example.net", "nowhere.example.net")
    })
    .also(&["certificate-name"]),
];

/// Makes a file of the gate's state one that was written so much later.
fn written(scene: &mut Scene, later: Duration) -> Result<()> {
    let mut files = fs::read_dir(scene.path("gate"))?;
    let file = files.next().context("the gate keeps a file")??.path();
    Ok(fs::File::options().append(true).open(file)?.set_modified(SystemTime::now() + later)?)
}
