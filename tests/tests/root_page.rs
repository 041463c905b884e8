//! The status page in a real browser, over the whole product: what it shows, what it leaves alone, and what
//! hostile mail cannot do there.
//!
//! `SALLYPORT_PICTURES=config/docs` makes the pictures of the README anew.

#[path = "root_page/looks.rs"]
mod looks;
#[path = "root_page/keys.rs"]
mod keys;
#[path = "root_page/mails.rs"]
mod mails;

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use relay::demo::stage::{CLIENT, GUARDED, LOGIN, RELAY, STRANGER, Stage};
use relay::demo::steps::session;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use tests::browser::{Browser, Scheme, Size};
use tests::need;
use tests::world::World;

use looks::LOOKS;
use mails::{HOSTILE, ORDINARY};

const PAGE: &str = "http://127.0.0.1:9526/";

const WIDE: Size = Size { width: 1280, height: 860 };

/// Who is called by what tries to leave the page: a service that hostile mail names.
const TRAP: SocketAddr = SocketAddr::new(STRANGER, 8081);

/// A world whose relay captures mail and has a page.
fn capturing(page: &str) -> Result<World> {
    let mut world = World::set()?;
    let file = world.folder.path().join("sallyport.toml");
    let text = fs::read_to_string(&file)?;
    let text =
        text.replacen("tag = \"demo\"\nsenders", "tag = \"demo\"\ncapture = true\nsenders", 1);
    fs::write(&file, format!("{text}[page]\n{page}\n"))?;
    world.stage.start()?;
    Ok(world)
}

/// Sends a message and returns its id.
fn send(stage: &Stage, to: &str, text: &str) -> Result<String> {
    let mut client = session(stage, CLIENT)?;
    let answer = client.send("billing@example.net", to, text.as_bytes())?;
    client.say("QUIT", 221)?;
    let last = answer.lines.last().and_then(|line| line.split_whitespace().last());
    Ok(last.context("an id in the answer")?.to_owned())
}

/// Sends SYNs from an address of the world; nobody waits for an answer.
fn knock(stage: &Stage, from: IpAddr, times: usize) -> Result<()> {
    stage.world.within(|| {
        for _ in 0..times {
            let kind = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, kind, None)?;
            bind(&socket, &SocketAddr::new(from, 0))?;
            match connect(&socket, &GUARDED) {
                Err(Errno::INPROGRESS) => {}
                other => other?,
            }
        }
        anyhow::Ok(())
    })?
}

/// Returns the folder for pictures, if somebody wants some.
fn pictures() -> Option<PathBuf> {
    let folder = std::env::var_os("SALLYPORT_PICTURES")?;
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(folder))
}

/// Keeps a picture where somebody wants one.
fn keep(browser: &Browser, name: &str) -> Result<()> {
    let Some(folder) = pictures() else { return Ok(()) };
    fs::write(folder.join(name), browser.picture()?).context("the folder of the pictures")
}

/// Makes the window as high as the page is, so that a picture shows all of it.
fn show_all(browser: &Browser, scheme: Scheme) -> Result<()> {
    browser.show(WIDE, scheme)?;
    let height = browser.run("return document.documentElement.scrollHeight;")?;
    let height = u32::try_from(height.as_u64().context("a height")?)?;
    browser.show(Size { height, ..WIDE }, scheme)
}

/// Has strangers knock for a while, and a client too, so that a picture has something to show. None of them is on the
/// list: who knocks and never shakes hands would be taken for forged.
fn storm(stage: &Stage) -> Result<()> {
    let strangers =
        [Ipv4Addr::new(203, 0, 113, 77), Ipv4Addr::new(203, 0, 113, 178)].map(IpAddr::V4);
    for stranger in strangers {
        stage.world.address("wire0", IpNetwork::from(stranger))?;
    }
    for second in 0..75_usize {
        let wave = (second % 25) * 12 + if second % 31 == 0 { 500 } else { 40 };
        knock(stage, strangers[0], wave)?;
        knock(stage, strangers[1], wave / 3)?;
        for _ in 0..second % 4 {
            send(stage, "customer@example.com", "From: billing@example.net\r\n\r\nx\r\n")?;
        }
        std::thread::sleep(Duration::from_millis(900));
    }
    Ok(())
}

/// Checks that the view in sight can be read by everybody, in both schemes and at all widths.
fn is_for_everybody(browser: &Browser, view: &str) -> Result<()> {
    for scheme in [Scheme::Light, Scheme::Dark] {
        for width in [360, 1600] {
            browser.show(Size { width, height: 900 }, scheme)?;
            let found = browser.run(LOOKS)?;
            let found = found.as_array().context("a list of findings")?;
            ensure!(found.is_empty(), "{view}, {width} wide, {scheme:?}: {found:#?}");
        }
    }
    browser.show(WIDE, Scheme::Light)
}

#[test]
fn the_page_shows_what_happens_while_it_happens() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = capturing("address = \"127.0.0.1:9526\"")?;
    let stage = &world.stage;
    let Some(browser) = Browser::start(&stage.relay, world.folder.path())? else { return Ok(()) };
    browser.show(WIDE, Scheme::Light)?;
    browser.open(PAGE)?;
    browser.wait("document.title.includes('relay.example.net')")?;
    browser.wait("document.querySelector('#gate').innerText.includes('guard0')")?;
    browser.wait("document.querySelector('#alerts-count').innerText.includes('All is quiet')")?;

    browser.run(
        "window.healths = []; new MutationObserver(() => window.healths.push(\
                 document.querySelector('#health').innerText)).observe(\
                 document.querySelector('#health'), { childList: true, subtree: true });",
    )?;
    knock(stage, STRANGER, 3000)?;
    browser.wait("document.querySelector('#talkers').innerText.includes('192.0.2.99')")?;
    browser.wait("document.querySelector('#reasons').innerText.includes('unlisted syn')")?;
    browser
        .wait("document.querySelector('#refused svg path.line').getAttribute('d').includes('L')")?;
    browser
        .wait("document.querySelector('#spikes').innerText.includes('spike-refused: at most')")?;
    browser.wait("document.querySelector('#alerts').innerText.includes('spike-refused')")?;
    let explain = format!("sallyport explain {STRANGER}");
    browser.wait(&format!("document.querySelector('#alerts code').innerText === '{explain}'"))?;
    browser.wait("document.querySelector('#health').innerText.includes('degraded')")?;
    stage.command(&["route", "suspend", "next-hop", "--note", "they move"])?;
    browser.wait("document.querySelector('#problems').innerText.includes('route next-hop')")?;
    browser.wait("document.querySelector('#routes').innerText.includes('they move')")?;
    browser.wait("document.querySelector('#alerts').innerText.includes('route-held/next-hop')")?;
    browser
        .wait("document.querySelector('#alerts').innerText.includes('an operator suspended')")?;
    let listed = stage.listing(&["alert", "list"])?;
    for trouble in listed["open"].as_array().context("open alerts")? {
        let class = trouble["alert"]["class"].as_str().context("its class")?;
        browser
            .wait(&format!("document.querySelector('#alerts').innerText.includes('{class}')"))?;
    }
    is_for_everybody(&browser, "overview with alerts")?;
    let told = browser.run("return window.healths;")?;
    assert_eq!(told, serde_json::json!(["degraded"]), "a live region speaks once");
    stage.command(&["route", "resume", "next-hop"])?;
    browser.wait("!document.querySelector('#problems').innerText.includes('next-hop')")?;
    browser.wait("!document.querySelector('#alerts').innerText.includes('next-hop')")?;

    let text = ORDINARY.replace('\n', "\r\n");
    send(stage, "customer@example.com", &text)?;
    browser.wait("document.querySelector('#spool').innerText.includes('Captured\\n1 ')")?;
    browser.wait("document.querySelector('#taken svg path.line') !== null")?;
    is_for_everybody(&browser, "overview")?;

    let added = ["allow", "add", "198.51.100.0/24", "--tag", "web", "--note", "ticket 4711"];
    stage.command(&[&added[..], &["--ttl", "8h"]].concat())?;
    browser.click("nav a[href='#allowlist']")?;
    browser.wait("document.querySelector('#allow-list').innerText.includes('ticket 4711')")?;
    let list = browser.run("return document.querySelector('#allow-list').innerText;")?;
    let list = list.as_str().context("a text")?;
    for word in
        ["198.51.100.0/24", "web", "root, ", "in 7 h", "configuration, line 8", "1 to 2 of 2"]
    {
        assert!(list.contains(word), "{word} in {list}");
    }
    // A look for the address shows the entry that holds it; \u{e007} is Enter.
    browser.type_into("#allow-find", "198.51.100.9\u{e007}")?;
    browser.wait("document.querySelector('#allow-list').innerText.includes('1 to 1 of 1')")?;
    is_for_everybody(&browser, "allowlist")?;

    browser.click("nav a[href='#queue']")?;
    browser
        .wait("document.querySelector('#queue-list').innerText.includes('customer@example.com')")?;
    browser.type_into("#queue-find", "nobody@\u{e007}")?;
    browser.wait("document.querySelector('#queue-list').innerText.includes('No message')")?;
    is_for_everybody(&browser, "queue")?;

    browser.click("nav a[href='#overview']")?;
    browser.wait("!document.querySelector('#overview').hidden")?;
    if pictures().is_some() {
        storm(stage)?;
        show_all(&browser, Scheme::Light)?;
        keep(&browser, "page-overview.png")?;
        show_all(&browser, Scheme::Dark)?;
        keep(&browser, "page-dark.png")?;
    }
    let console = browser.console()?;
    ensure!(console.is_empty(), "the page keeps its own rules: {console:#?}");
    Ok(())
}

/// Checks that nobody has called the trap so far. A connection without a request is a call, too: it tells
/// who wrote the mail that, when and where it is read.
fn untouched(trap: &TcpListener, after: &str) -> Result<()> {
    match trap.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error).context("the trap"),
        Ok((stream, _)) => bail!("{after}: got out: {:?}", heard(stream)?),
    }
}

/// Returns what a caller of the trap says first; nothing if it says nothing.
fn heard(mut stream: TcpStream) -> Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut start = [0; 256];
    let count = stream.read(&mut start).unwrap_or(0);
    Ok(String::from_utf8_lossy(&start[..count]).into_owned())
}

#[test]
fn hostile_mail_is_shown_and_does_nothing() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = capturing("address = \"127.0.0.1:9526\"")?;
    let stage = &world.stage;
    let Some(browser) = Browser::start(&stage.relay, world.folder.path())? else { return Ok(()) };
    let trap = stage.world.within(|| TcpListener::bind(TRAP))??;
    trap.set_nonblocking(true)?;
    let hostile = HOSTILE.replace("TRAP", &TRAP.to_string()).replace('\n', "\r\n");
    let id = send(stage, "victim@example.com", &hostile)?;
    send(stage, "customer@example.com", &ORDINARY.replace('\n', "\r\n"))?;
    browser.show(WIDE, Scheme::Light)?;
    browser.open(&format!("{PAGE}#captured"))?;
    browser.wait("document.querySelectorAll('#captured-list li').length === 2")?;
    browser.click("#captured-list li:first-child a")?;
    browser.wait("document.querySelector('#letter iframe') !== null")?;
    browser.enter(Some("#letter iframe"))?;
    browser.wait("document.querySelector('img').naturalWidth === 24")?;
    browser.enter(None)?;
    is_for_everybody(&browser, "captured mail")?;
    keep(&browser, "page-mail.png")?;

    browser.click(&format!("#mail-{id}"))?;
    browser.wait("document.querySelector('#letter h3').innerText.includes('<img src=x')")?;
    untouched(&trap, "the mail is open")?;
    for selector in ["#away", "#blank", "#script", "#send", "#mailto", "#svg-link", "#smil"] {
        browser.click("#tab-html")?;
        browser.enter(Some("#letter iframe"))?;
        browser.wait("document.body.innerText.includes('the end of the hostile part')")?;
        browser.click(selector).with_context(|| selector.to_owned())?;
        browser.enter(None)?;
        untouched(&trap, selector)?;
    }
    for tab in ["text", "fields", "links", "parts", "source"] {
        browser.click(&format!("#tab-{tab}"))?;
        browser.wait("document.querySelector('#panel').innerText.length > 10")?;
    }
    // The arrow keys go through the tabs; \u{e012} is the one to the left.
    browser.press('\u{e012}')?;
    browser
        .wait("document.querySelector('#tab-parts').getAttribute('aria-selected') === 'true'")?;
    let state =
        browser.run("return [document.title, location.href, window.length, typeof pwned];")?;
    assert_eq!(state[1], format!("{PAGE}#captured/{id}"), "{state}");
    assert_eq!(state[3], "undefined", "{state}");
    ensure!(state[0].as_str().is_some_and(|title| title.ends_with("Sallyport")), "{state}");

    // By itself, outside of the page, it has no more power.
    browser.open(&format!("{PAGE}api/captured/{id}/html"))?;
    browser.wait("document.body.innerText.includes('the end of the hostile part')")?;
    untouched(&trap, "opened by itself")?;
    for selector in ["#script", "#send", "#away", "#svg-link", "#smil"] {
        browser.click(selector).with_context(|| selector.to_owned())?;
    }
    browser.wait("document.body.innerText.includes('the end of the hostile part')")?;
    untouched(&trap, "by itself")?;
    // The trap is one: another page gets there, and nothing came before it.
    browser.open("about:blank")?;
    browser.run(&format!("new Image().src = 'http://{TRAP}/trap-works';"))?;
    trap.set_nonblocking(false)?;
    let said = heard(trap.accept()?.0)?;
    ensure!(said.starts_with("GET /trap-works "), "late, after the last look: got out: {said:?}");
    let life = stage.command(&["trace", &id])?;
    ensure!(life.contains("seen on the status page from 127.0.0.1"), "{life}");
    Ok(())
}

#[test]
fn keys_selections_and_searches_stay_where_people_put_them() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let world = capturing("address = \"127.0.0.1:9526\"")?;
    let stage = &world.stage;
    let Some(browser) = Browser::start(&stage.relay, world.folder.path())? else { return Ok(()) };
    browser.show(Size { width: 360, height: 900 }, Scheme::Light)?;
    browser.open(PAGE)?;
    knock(stage, STRANGER, 300)?;
    browser.wait("document.querySelector('#talkers').innerText.includes('192.0.2.99')")?;
    keys::focus_and_scroll_outlive_what_is_drawn_anew(&browser, || knock(stage, STRANGER, 1000))?;
    keys::a_selection_stands_still_until_it_is_given_up(&browser, || knock(stage, STRANGER, 1000))?;
    browser.show(WIDE, Scheme::Light)?;
    send(stage, "customer@example.com", "From: billing@example.net\r\n\r\nx\r\n")?;
    browser.click("nav a[href='#queue']")?;
    browser.wait("document.querySelector('#queue-list').innerText.includes('customer@')")?;
    keys::the_skip_link_stays_in_the_view(&browser)?;
    keys::the_answer_to_an_old_search_is_dropped(&browser)?;
    keys::a_search_ends_when_its_view_is_left(&browser)?;
    keys::who_has_to_wait_asks_again_afterwards(&browser)?;
    let console = browser.console()?;
    ensure!(console.is_empty(), "{console:#?}");
    Ok(())
}

#[test]
fn from_elsewhere_the_page_is_seen_under_tls_with_a_login_only() -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(curl) = need::tool("curl") else { return Ok(()) };
    let page = format!("address = \"{RELAY}:9526\"\nviewers = [\"{LOGIN}\"]");
    let world = capturing(&page)?;
    let ca = world.folder.path().join("tls/ca.pem").display().to_string();
    let asked = |scheme: &str, login: &str| {
        let mut command = Command::new(&curl);
        command.args([
            "--silent",
            "--max-time",
            "20",
            "--cacert",
            &ca,
            "--write-out",
            "\n%{http_code}",
        ]);
        if !login.is_empty() {
            command.args(["--user", login]);
        }
        command.arg(format!("{scheme}://{RELAY}:9526/api/state"));
        let output = world.stage.world.within(|| command.output())??;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(asked("http", "")?, "\n000", "nothing is said in the clear");
    let stranger = asked("https", "")?;
    assert!(stranger.ends_with("\n401") && !stranger.contains("gate"), "{stranger}");
    assert!(asked("https", &format!("{LOGIN}:wrong"))?.ends_with("\n401"));
    let state = asked("https", &format!("{LOGIN}:{}", world.stage.password))?;
    assert!(state.ends_with("\n200") && state.contains("\"viewer\":\"app\""), "{state}");
    Ok(())
}
