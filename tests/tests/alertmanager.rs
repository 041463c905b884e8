//! A real Alertmanager takes our alerts: it shows them, knows them again, and hears of their end.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relay::alert::{Alerts, Ear, ear};
use relay::config::Config;
use relay::demo::next_hop::wait_for;
use relay::event::Event;
use relay::event::spike::{Class, Spike};
use relay::journal::Journal;
use relay::spool::Spool;
use serde_json::Value;
use tempfile::TempDir;
use tests::need;

/// It shows alerts and tells nobody.
const CONFIG: &str = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";

/// Debian's Alertmanager, on an address of its own.
struct Alertmanager {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Alertmanager {
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let config = folder.path().join("config.yml");
        fs::write(&config, CONFIG).expect("it is written");
        // A port that was free a moment ago: it does not say which one it got.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = port.expect("loopback is there");
        let log = fs::File::create(folder.path().join("log")).expect("it can be made");
        let process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let manager = Self { process, address, folder };
        manager.wait("it is ready", |manager| manager.get("/-/ready"));
        manager
    }

    /// Returns the body of a page; none if it is not to be had.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200").map(|_| body.to_owned())
    }

    /// Returns the alerts of our relay that it holds for open.
    fn alerts(&self) -> Option<Vec<Value>> {
        let listed: Value = serde_json::from_str(&self.get("/api/v2/alerts")?).ok()?;
        let ours = |alert: &&Value| alert["labels"]["job"] == "sallyport";
        Some(listed.as_array()?.iter().filter(ours).cloned().collect())
    }

    /// Returns how many alerts were posted to it in this state: `firing` or `resolved`.
    fn received(&self, status: &str) -> Option<u64> {
        let metrics = self.get("/metrics")?;
        let row =
            format!("alertmanager_alerts_received_total{{status=\"{status}\",version=\"v2\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&row)?.parse().ok())
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        wait_for(what, || look(self)).unwrap_or_else(|error| panic!("{error:#}\n{}", log()))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the room that tells alerts finds; one that comes later finds what this one left.
struct Site {
    folder: TempDir,
    config: Arc<Config>,
    spool: Arc<Spool>,
}

impl Site {
    fn telling(manager: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n[spool]\npath = '{}'\n\
         [[alerts.webhook]]\nurl = 'http://{manager}/api/v2/alerts'\nformat = 'alertmanager'\n",
            folder.path().display()
        );
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let spool = Spool::open(&config.spool, |_| {}).expect("the spool opens");
        Self { folder, config: Arc::new(config), spool: Arc::new(spool) }
    }

    fn room(&self) -> (Ear, Alerts) {
        let (ear, heard) = ear();
        let (config, spool) = (Arc::clone(&self.config), Arc::clone(&self.spool));
        let journal = Journal::memory();
        (ear, Alerts::start(heard, self.folder.path(), config, spool, None, journal))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_shows_an_alert_once_however_often_it_is_told_and_hears_of_its_end() {
    let Some(program) = need::tool("alertmanager") else { return };
    let manager = Alertmanager::start(&program);
    let site = Site::telling(manager.address);
    let (ear, alerts) = site.room();
    ear.hear(&Event::SpoolFull { messages: 1, free_bytes: 0 });
    let first = manager.wait("the alert", |manager| manager.alerts()?.pop());
    let labels = serde_json::json!({
        "alertname": "spool-full", "instance": "relay.example.net", "job": "sallyport",
        "severity": "critical",
    });
    assert_eq!(first["labels"], labels, "{first}");
    assert_eq!(first["status"]["state"], "active", "{first}");
    assert_eq!(first["annotations"]["first"], "sallyport queue list", "{first}");

    // The next process tells again what is open.
    alerts.end().await;
    drop((ear, alerts));
    let told = manager.received("firing");
    let (ear, alerts) = site.room();
    manager.wait("to be told again", |manager| (manager.received("firing") > told).then_some(()));
    let again = manager.alerts().expect("it answers");
    assert_eq!(again.len(), 1, "{again:#?}");
    assert_eq!(again[0]["fingerprint"], first["fingerprint"]);
    assert_eq!(again[0]["startsAt"], first["startsAt"]);

    assert_eq!(manager.received("resolved"), Some(0));
    ear.hear(&Event::SpoolRoom);
    manager.wait("its end", |manager| (manager.alerts()?.is_empty()).then_some(()));
    assert_eq!(manager.received("resolved"), Some(1), "it did not just run out");
    alerts.end().await;
}

fn spike() -> Box<Spike> {
    Box::new(Spike {
        class: Class::Refused,
        subject: String::new(),
        since: Timestamp::now(),
        window: Duration::from_secs(1),
        count: 100,
        usual: 1,
        total: 100,
        lasted: Duration::from_secs(1),
        top: Vec::new(),
        reasons: BTreeMap::new(),
        sample: None,
        remark: None,
        command: "sallyport status".to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_becomes_critical_does_not_stand_beside_the_warning_that_it_was() {
    let Some(program) = need::tool("alertmanager") else { return };
    let manager = Alertmanager::start(&program);
    let site = Site::telling(manager.address);
    let (ear, alerts) = site.room();
    let standing = |manager: &Alertmanager| -> Option<Vec<String>> {
        let severity = |alert: &Value| alert["labels"]["severity"].as_str().map(str::to_owned);
        manager.alerts()?.iter().map(severity).collect()
    };
    ear.hear(&Event::SpikeOpened(spike()));
    manager.wait("the warning", |manager| (standing(manager)? == ["warning"]).then_some(()));
    ear.hear(&Event::SpikeGrew { times: 10, spike: spike() });
    manager.wait("critical alone", |manager| (standing(manager)? == ["critical"]).then_some(()));
    ear.hear(&Event::SpikeClosed(spike()));
    manager.wait("its end", |manager| (standing(manager)?.is_empty()).then_some(()));
    alerts.end().await;
}
