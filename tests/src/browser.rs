//! A headless Chromium in a test host, driven by WebDriver (W3C) over plain HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::hosts::Host;
use serde_json::{Value, json};

use crate::need;

/// How long the driver may take for a command.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one window. It ends when it is dropped.
pub struct Browser {
    host: Host,
    driver: Child,
    address: SocketAddr,
    session: String,
}

/// A size of the window, pixels.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// What a person prefers to look at.
#[derive(Clone, Copy, Debug)]
pub enum Scheme {
    /// Dark letters.
    Light,
    /// Bright letters.
    Dark,
}

impl Browser {
    /// Starts a browser in `host`; its files lie in `folder`. None: it is not installed, which was said.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(host: &Host, folder: &Path) -> Result<Option<Self>> {
        let Some(program) = need::tool("chromedriver") else { return Ok(None) };
        let home = folder.join("browser");
        std::fs::create_dir(&home)?;
        let mut command = Command::new(program);
        // What it writes stays in its folder, and it has no session bus to ask.
        command.arg("--port=0").env("HOME", &home).env("TMPDIR", &home);
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = host.spawn(&mut command)?;
        let port = started(&mut driver)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut browser = Self { host: host.again()?, driver, address, session: String::new() };
        let data = format!("--user-data-dir={}", home.join("profile").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--lang=en-GB",
            &data,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.post("/session", &wanted)?;
        let session = made["sessionId"].as_str().context("the driver names no session")?;
        browser.session = format!("/session/{session}");
        Ok(Some(browser))
    }

    /// Opens an address.
    ///
    /// # Errors
    ///
    /// If nothing is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.command("/url", &json!({ "url": url })).map(drop)
    }

    /// Runs the body of a function in the page and returns what it returns.
    ///
    /// # Errors
    ///
    /// If it throws.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Errors
    ///
    /// If that takes 20 s; the text of the page is in the error.
    pub fn wait(&self, expression: &str) -> Result<()> {
        let script = format!(
            "const done = arguments[0]; const until = Date.now() + 20000;\
             (function look() {{ let is = false; try {{ is = Boolean({expression}); }} catch (e) {{}}\
             if (is) done('yes'); else if (Date.now() > until) done(document.body.innerText);\
             else setTimeout(look, 50); }})();"
        );
        let said = self.command("/execute/async", &json!({ "script": script, "args": [] }))?;
        ensure!(said == "yes", "not within 20 s: {expression}; the page says: {said}");
        Ok(())
    }

    /// Clicks what a selector finds first.
    ///
    /// # Errors
    ///
    /// If there is no such thing, or it cannot be clicked.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.command(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types into what a selector finds first. Keys without letters are those of WebDriver, section 17.4.2.
    ///
    /// # Errors
    ///
    /// As [`Browser::click`].
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.command(&format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    /// Presses a key, wherever the focus is.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub fn press(&self, key: char) -> Result<()> {
        let actions = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keys = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.command("/actions", &keys).map(drop)
    }

    /// Goes into the frame that a selector finds first; none: back to the page.
    ///
    /// # Errors
    ///
    /// If there is no such frame.
    pub fn enter(&self, selector: Option<&str>) -> Result<()> {
        let frame = match selector {
            None => Value::Null,
            Some(selector) => json!({ ELEMENT: self.find(selector)? }),
        };
        self.command("/frame", &json!({ "id": frame })).map(drop)
    }

    fn find(&self, selector: &str) -> Result<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.command("/element", &wanted)?;
        Ok(found[ELEMENT].as_str().context("an element has a name")?.to_owned())
    }

    /// Gives the page a size and colours.
    ///
    /// # Errors
    ///
    /// If the browser refuses.
    pub fn show(&self, Size { width, height }: Size, scheme: Scheme) -> Result<()> {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)?;
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", &features)
    }

    fn devtools(&self, command: &str, params: &Value) -> Result<()> {
        let body = json!({ "cmd": command, "params": params });
        self.command("/goog/cdp/execute", &body).map(drop)
    }

    /// Returns the page as a picture, PNG.
    ///
    /// # Errors
    ///
    /// If the browser refuses.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let said = self.ask("GET", &format!("{}/screenshot", self.session), "")?;
        Ok(STANDARD.decode(said.as_str().context("a picture is a text")?)?)
    }

    /// Returns what the console was told since the last call, a line each.
    ///
    /// # Errors
    ///
    /// If the browser refuses.
    pub fn console(&self) -> Result<Vec<String>> {
        let said = self.command("/se/log", &json!({ "type": "browser" }))?;
        let lines = said.as_array().context("a log is a list")?.iter();
        Ok(lines.filter_map(|line| line["message"].as_str().map(str::to_owned)).collect())
    }

    fn command(&self, path: &str, body: &Value) -> Result<Value> {
        self.post(&format!("{}{path}", self.session), body)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, &body.to_string()).with_context(|| format!("{path} {body}"))
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut stream = self.host.within(|| TcpStream::connect(self.address))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(answer.read_line(&mut line)? > 0, "the driver closed the connection");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        let mut said: Value = serde_json::from_slice(&body)?;
        let value = said["value"].take();
        if let Some(error) = value["error"].as_str() {
            bail!("{error}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }
}

/// The name of an element's id (WebDriver, section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Waits until the driver says on which port it serves.
fn started(driver: &mut Child) -> Result<u16> {
    let lines = BufReader::new(driver.stdout.take().context("its output is ours")?);
    for line in lines.lines() {
        let line = line?;
        let port = line.split_once("started successfully on port ").map(|(_, port)| port);
        if let Some(port) = port {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("the driver ended")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the browser; then the driver may go.
        let _ = self.ask("DELETE", &self.session, "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
