//! The metrics as others read them: promtool, a real Prometheus, the rules, the dashboard and the table for
//! operators, against the catalogue of the code.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use relay::alert::listing::Fare;
use relay::alert::troubles::{Origin, Trouble};
use relay::api::health::Gate;
use relay::api::metrics::{Sources, page};
use relay::api::server::{self, Place};
use relay::config::Config;
use relay::control::wire::RelayStatus;
use relay::demo::next_hop::wait_for;
use relay::event::Event;
use relay::event::wording::opened;
use relay::gate::{Busy, CountRow, Counters, Survey, TagCounts, net};
use relay::journal::Journal;
use relay::mail::message::MessageId;
use relay::meter::catalogue::{ALL, Kind, Metric, of_series};
use relay::net::register::Register;
use relay::net::routes::Routes;
use relay::spool::Spool;
use relay_common::table::Counts;
use tempfile::TempDir;
use tests::need;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).expect("the file is there")
}

/// A relay that tells its metrics, with something to tell in every one of them.
struct Told {
    address: SocketAddr,
    folder: TempDir,
    _runtime: Runtime,
}

impl Told {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let runtime = Runtime::new().expect("a runtime can be made");
        let entered = runtime.enter();
        let address = tell(folder.path());
        drop(entered);
        Self { address, folder, _runtime: runtime }
    }

    /// Asks for the page; returns its head and its text.
    fn page(&self) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("somebody listens");
        let ask = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(ask).expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is text");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a text");
        (head.to_owned(), text.to_owned())
    }
}

/// Serves the page in the runtime that was entered.
fn tell(folder: &Path) -> SocketAddr {
    let path = |name: &str| folder.join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["relay.example.net".to_owned()]);
    fs::write(path("chain.pem"), made.expect("a certificate").cert.pem()).expect("it is written");
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
         [tls]\ncertificate = '{}'\nkey = '/nowhere/key.pem'\n\
         [[route]]\nname = 'smarthost'\ndefault = true\nhosts = ['localhost:2587']\n\
         [spool]\npath = '{}'\nreserve = '0B'\n",
        path("chain.pem"),
        path("spool"),
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let journal = Journal::memory();
    let spool = Spool::open(&config.spool, |_| {}).expect("the spool opens");
    let register = Register::open(&config.spool.path).expect("the register opens");
    let routes = watch::Sender::new(Routes::new(&config, &journal, &Arc::new(register)));
    happen(&journal);
    let socket = folder.join("gate.sock");
    let gate = UnixListener::bind(&socket).expect("the socket can be made");
    tokio::spawn(answer(gate));
    let fare = Fare { channel: "ops".to_owned(), failing_since: None };
    let sources = Sources {
        relay: Arc::new(status),
        gate: Arc::new(Gate::behind(Some(socket))),
        survey: Arc::new(|most| Some(survey(most))),
        entries: 1,
        spool: Arc::new(spool),
        routes: routes.subscribe(),
        meter: Arc::clone(journal.meter()),
        open: watch::Sender::new([trouble()].into()).subscribe(),
        fares: watch::Sender::new([fare].into()).subscribe(),
        certificates: vec![config.tls.certificate],
        started_at: jiff::Timestamp::now(),
    };
    let listener =
        Place::default().listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback is there");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        server::serve(listener, server::plain, page(sources)).await;
        drop(routes);
    });
    address
}

/// Returns an alert that is open.
fn trouble() -> Trouble {
    let at = jiff::Timestamp::now();
    let alert = opened("spool-full", "the spool is full").at(at);
    let (origin, told, known) = (Origin::Relay, Some(at), Some(alert.severity));
    Trouble { alert, origin, told, known, reminders: 0, unconfirmed: None }
}

/// Has something happen for every counter of the relay.
fn happen(journal: &Journal) {
    let (id, domain, route) = (MessageId(1), "example.com".to_owned(), "smarthost".to_owned());
    let (next_hop, reply) = ("localhost:2587".to_owned(), "250 yes".to_owned());
    let (source, tag) = ([192, 0, 2, 1].into(), Some("bill\"ing\\\n".to_owned()));
    journal.write(Event::Accepted { id, source, login: None, tag, recipients: 1, size_bytes: 9 });
    journal.write(Event::Delivered { id, domain, route, next_hop, reply });
    journal.write(Event::Bounced { id, about: id });
    let meter = journal.meter();
    meter.sessions.count(&["[::]:2525"]);
    meter.turned_away.count(&["all"]);
    meter.replies.count(&["250"]);
    meter.handshakes.count(&["TLSv1.3"]);
    meter.logins.count(&["PLAIN", "denied"]);
    meter.offences.count(&["early talk"]);
}

fn status() -> RelayStatus {
    let text = r#"{"pid":1,"serving":true,"guard":"guarded","sessions":3,"spool":null}"#;
    serde_json::from_str(text).expect("a status")
}

/// Returns what a gate with a hundred entries counted.
fn survey(most: usize) -> Survey {
    let net = net("192.0.2.0/24".parse().expect("a network")).expect("without host bits");
    let counts = Counts { unlisted_syn: 4, admitted: 2, ..Counts::default() };
    let row = |interface, port| CountRow { interface, port, counts };
    let rows = vec![row(Some("eth0".to_owned()), Some(2525)), row(None, None)];
    let tag = TagCounts { entries: 100, passed: 9, over_rate: 1, would_drop: 0 };
    let busy = Busy { net, tag: "billing".into(), passed: 9, over_rate: 1 };
    Survey {
        counters: Some(Counters { rows }),
        by_tag: [("billing".to_owned(), tag)].into(),
        busiest: vec![busy; most],
    }
}

/// Answers as a gate does.
async fn answer(gate: UnixListener) {
    let said = r#"{"ok":{"pid":1,"interfaces":[{"name":"eth0","mode":"native","problem":null}],
        "ports":[2525],"serving":true,"mode":"enforce","observe_until":null,"generation":7,
        "second_door":1,"loopback":true,"confirm_until":null,"shadow":null,"entries":100,"bans":2,
        "counters":{},"spared":0,"counted":[],"talkers":[],"bypasses":[],"refused_per_second":0,
        "spikes":[{"class":"spike-refused","since":"2026-01-31T12:00:00Z","until":null,"peak_per_second":9,
        "usual_per_second":1,"total":99}],"problems":[]}}"#;
    let said = said.replace('\n', "") + "\n";
    while let Ok((stream, _)) = gate.accept().await {
        let (mut stream, mut question) = (BufReader::new(stream), String::new());
        let _ = stream.read_line(&mut question).await;
        let _ = stream.write_all(said.as_bytes()).await;
    }
}

#[test]
fn the_page_tells_every_metric_of_the_catalogue_and_no_other() {
    let told = Told::start();
    let (head, text) = told.page();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let series = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let told: BTreeSet<String> = rows.iter().map(|row| series(row)).collect();
    for name in &told {
        assert!(of_series(name).is_some(), "{name} is not in the catalogue");
    }
    for Metric { name, kind, .. } in ALL {
        let series =
            if *kind == Kind::Histogram { format!("{name}_count") } else { (*name).to_owned() };
        assert!(told.contains(&series), "{series} is missing in:\n{text}");
    }
    assert_eq!(rows.len(), rows.iter().collect::<BTreeSet<_>>().len(), "a row stands twice");
}

/// Returns a program of Prometheus, if it is there.
fn prometheus(name: &str) -> Option<PathBuf> {
    need::tool("prometheus").map(|path| path.with_file_name(name))
}

/// Runs a command, with this on its standard input, that must succeed; returns what it said.
fn content(command: &mut Command, input: &str) -> String {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}\n{input}");
    said
}

#[test]
fn promtool_finds_nothing_wrong_with_a_scrape() {
    let Some(promtool) = prometheus("promtool") else { return };
    let (_, text) = Told::start().page();
    let said = content(Command::new(promtool).args(["check", "metrics"]), &text);
    assert_eq!(said, "", "not a word of complaint");
}

#[test]
fn the_rules_fire_when_they_should_and_a_healthy_relay_raises_none() {
    let Some(promtool) = prometheus("promtool") else { return };
    let folder = top().join("config/prometheus");
    let run =
        |words: &[&str]| content(Command::new(&promtool).args(words).current_dir(&folder), "");
    for words in [&["check", "config", "scrape.yml"][..], &["test", "rules", "tests/alerts.yml"]] {
        let said = run(words);
        assert!(said.contains("SUCCESS"), "{said}");
        for complaint in ["FAILED", "WARNING", "duplicate"] {
            assert!(!said.contains(complaint), "{said}");
        }
    }
}

#[test]
fn every_rule_has_a_test_that_it_fires_and_a_command_to_run_first() {
    let (rules, tests) =
        (read("config/prometheus/alerts.yml"), read("config/prometheus/tests/alerts.yml"));
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(rules.matches("          command: ").count(), alerts.len());
    for alert in alerts {
        assert!(tests.contains(&format!("- name: {alert} fires\n")), "{alert} has no test");
        assert!(tests.matches(&format!("alertname: {alert}\n")).count() >= 2, "{alert}");
    }
}

/// A Prometheus that scrapes, and ends with this.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Asks a question of PromQL; nothing if it does not answer.
    fn ask(&self, query: &str) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let octets = query.bytes().map(|octet| format!("%{octet:02x}"));
        let query: String = octets.collect();
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, json) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(json).ok()
    }

    fn value(&self, query: &str) -> Option<String> {
        let value = self.ask(query)?["data"]["result"][0]["value"][1].as_str()?.to_owned();
        Some(value)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_the_relay_and_answers() {
    let Some(prometheus) = prometheus("prometheus") else { return };
    let told = Told::start();
    let folder = told.folder.path();
    let shipped = read("config/prometheus/scrape.yml");
    let scrape = shipped
        .replace("127.0.0.1:9525", &told.address.to_string())
        .replace("15s", "100ms")
        .replace(
            "  - alerts.yml",
            &format!("  - {}", top().join("config/prometheus/alerts.yml").display()),
        );
    assert_ne!(scrape, shipped);
    fs::write(
        folder.join("prometheus.yml"),
        format!("global: {{scrape_timeout: 100ms, evaluation_interval: 200ms}}\n{scrape}"),
    )
    .expect("it is written");
    // A port that was free a moment ago: Prometheus does not say which one it got.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = port.expect("loopback is there");
    let log = fs::File::create(folder.join("log")).expect("it can be made");
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let running = Prometheus { child: child.expect("it starts"), address };
    let value = |query: &str| {
        let found = wait_for(query, || running.value(query));
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", log()))
    };
    assert_eq!(value("sallyport_sessions"), "3");
    assert_eq!(value("sallyport_gate_list_generation"), "7");
    assert_eq!(value("sum(sallyport_outcomes_total)"), "1");
    assert_eq!(value("count(ALERTS{alertname=\"SallyportSpike\"})"), "1", "a rule fires");
    // Grafana puts its variables into a query, and sends the rest as it stands.
    for query in dashboard_queries() {
        let sent = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(!sent.contains('$'), "a variable that nobody knows: {query}");
        let answer = running.ask(&sent).expect("it answered before");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    let answer = running.ask("sum by (").expect("it answered before");
    assert_eq!(answer["status"], "error", "what is no query is refused");
}

/// Returns the names in a query that could be metrics.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sallyport_") || word.starts_with("process_"))
}

/// Returns the panels of the dashboard.
fn panels() -> Vec<serde_json::Value> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("config/grafana/sallyport.json")).expect("it is JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

/// Returns the queries of all panels.
fn dashboard_queries() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

#[test]
fn every_query_of_the_dashboard_and_of_the_rules_names_metrics_that_exist() {
    let mut ids = BTreeSet::new();
    let mut used = BTreeSet::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}: its id stands twice");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()));
    }
    for query in dashboard_queries() {
        assert!(names(&query).next().is_some(), "{query} names no metric");
        used.extend(names(&query).map(str::to_owned));
    }
    assert!(ids.len() > 30, "{} panels", ids.len());
    for line in read("config/prometheus/alerts.yml").lines() {
        used.extend(
            line.trim().strip_prefix("expr: ").into_iter().flat_map(names).map(str::to_owned),
        );
    }
    for name in used {
        assert!(of_series(&name).is_some(), "{name} is no metric");
    }
}

#[test]
fn the_table_for_operators_says_what_the_code_says() {
    let text = read("config/docs/metrics.md");
    let row = |metric: &&Metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, metric.kind.word());
        format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help)
    };
    let wanted: Vec<_> = ALL.iter().map(row).collect();
    let is_row = |line: &&str| line.starts_with("| `sallyport_") || line.starts_with("| `process_");
    let written: Vec<_> = text.lines().filter(is_row).collect();
    assert_eq!(written, wanted, "config/docs/metrics.md:\n{}", wanted.join("\n"));
}
