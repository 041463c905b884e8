//! A host on which one thing at a time is broken, and what `sallyport doctor` says of it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use relay::demo::stage::{HOP, RELAY};
use relay::hosts::Host;
use serde_json::Value;
use tests::need;
use tests::peer::{Manners, Peer};
use tests::world::{World, program};

use super::row::Row;

/// A serving product, with names that resolve in its host, and whatever a row has broken.
pub struct Scene {
    pub world: World,
    tools: Tools,
    /// Files that are mounted over the machine's own; the mounts are this thread's.
    hosts: PathBuf,
    /// What lives as long as a row: peers, sockets.
    pub kept: Vec<Box<dyn std::any::Any>>,
}

struct Tools {
    ip: PathBuf,
    nft: PathBuf,
}

/// How long `sallyport doctor` may take, whatever hangs.
const AT_MOST: Duration = Duration::from_secs(20);

/// What was found: names, the faults first.
pub struct Found {
    pub faults: Vec<String>,
    known: Vec<String>,
    whole: Value,
}

impl Scene {
    /// Starts the product; none if tools are missing.
    pub fn serving() -> Result<Option<Self>> {
        let (Some(ip), Some(nft)) = (need::tool("ip"), need::tool("nft")) else { return Ok(None) };
        let world = World::serving()?;
        let hosts = world.folder.path().join("hosts");
        let scene = Self { world, tools: Tools { ip, nft }, hosts, kept: Vec::new() };
        let names = format!(
            "127.0.0.1 localhost\n{RELAY} relay.example.net\n{} hop.example.net\n",
            HOP.ip()
        );
        fs::write(&scene.hosts, names)?;
        scene.shell(&format!("mount --bind {} /etc/hosts", scene.hosts.display()))?;
        let resolver = scene.path("resolv.conf");
        fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        scene.shell(&format!("mount --bind {} /etc/resolv.conf", resolver.display()))?;
        scene.restore()?;
        Ok(Some(scene))
    }

    /// Returns a path in the scene's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    /// Makes the configuration that `doctor` reads the product's own again.
    pub fn restore(&self) -> Result<()> {
        fs::copy(self.path("sallyport.toml"), self.path("doctor.toml"))?;
        Ok(())
    }

    /// Changes the configuration that `doctor` reads; the product goes on by its own. `{at}` stands for the
    /// scene's folder.
    pub fn write(&mut self, from: &str, to: &str) -> Result<()> {
        let (file, at) = (self.path("doctor.toml"), self.world.folder.path().display().to_string());
        let (from, to) = (from.replace("{at}", &at), to.replace("{at}", &at));
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(&from), "there is no {from:?} in {text}");
        Ok(fs::write(file, text.replacen(&from, &to, 1))?)
    }

    /// Changes the product's own configuration, and starts it anew; `doctor` reads the same then.
    pub fn start_with(&mut self, from: &str, to: &str) -> Result<()> {
        let file = self.path("sallyport.toml");
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(from), "there is no {from:?} in {text}");
        fs::copy(&file, self.path("before.toml"))?;
        self.world.stage.stop()?;
        fs::write(&file, text.replacen(from, to, 1))?;
        self.world.stage.start()?;
        self.restore()
    }

    /// Brings the product's own configuration back, and starts it anew.
    pub fn start_as_before(&mut self) -> Result<()> {
        self.world.stage.stop()?;
        fs::rename(self.path("before.toml"), self.path("sallyport.toml"))?;
        self.world.stage.start()
    }

    /// Adds to the end of that configuration.
    pub fn append(&mut self, more: &str) -> Result<()> {
        let file = self.path("doctor.toml");
        let text = fs::read_to_string(&file)?;
        let at = self.world.folder.path().display().to_string();
        Ok(fs::write(file, format!("{text}{}", more.replace("{at}", &at)))?)
    }

    /// Makes the next hop of that configuration another one.
    pub fn hop(&mut self, host: &str, more: &str) -> Result<()> {
        self.write(&format!("hosts = [\"{HOP}\"]\n"), &format!("hosts = [\"{host}\"]\n{more}\n"))
    }

    /// Starts a next hop on the relay host's loopback that behaves as said, and names it, with its authority.
    pub fn peer(&mut self, manners: Manners, more: &str) -> Result<()> {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let host = self.world.stage.relay.again()?;
        let peer = thread::spawn(move || {
            host.within(|| -> Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let peer = Peer::start(manners).await?;
                    tell.send((peer.address, peer.authority.clone()))?;
                    // The peer serves as long as somebody waits here.
                    Ok(tokio::task::spawn_blocking(move || ended.recv().is_ok())
                        .await
                        .map(|_| ())?)
                })
            })
        });
        let (address, authority): (SocketAddr, String) = told.recv().context("the peer")?;
        fs::write(self.path("peer-ca.pem"), authority)?;
        self.kept.push(Box::new((end, peer)));
        let at = self.world.folder.path().display().to_string();
        self.hop(&format!("localhost:{}", address.port()), more)?;
        self.write(
            &format!("ca-file = \"{at}/hop-ca.pem\""),
            &format!("ca-file = \"{at}/peer-ca.pem\""),
        )
    }

    /// Runs `ip` in the relay host.
    pub fn ip(&self, words: &str) -> Result<()> {
        run(&self.world.stage.relay, &self.tools.ip, words)
    }

    /// Runs a tool of others in the relay host.
    pub fn run(&self, tool: &str, words: &str) -> Result<()> {
        let tool = need::tool(tool).context("the tool was there before")?;
        run(&self.world.stage.relay, &tool, words)
    }

    /// Runs `ip` in the world.
    pub fn ip_of_world(&self, words: &str) -> Result<()> {
        run(&self.world.stage.world, &self.tools.ip, words)
    }

    /// Adds rules to the relay host's firewall.
    pub fn nft(&self, rules: &str) -> Result<()> {
        nft(&self.world.stage.relay, &self.tools.nft, rules)
    }

    /// Adds rules to the world's firewall.
    pub fn nft_of_world(&self, rules: &str) -> Result<()> {
        nft(&self.world.stage.world, &self.tools.nft, rules)
    }

    /// Sets a variable of the relay host's network, for instance `ipv4/conf/all/rp_filter`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        Ok(self.world.stage.relay.within(|| fs::write(path, value))??)
    }

    /// Runs a line of shell on this thread, for mounts. `{at}` stands for the scene's folder.
    pub fn shell(&self, line: &str) -> Result<()> {
        let line = line.replace("{at}", &self.world.folder.path().display().to_string());
        let output = Command::new("/bin/sh").args(["-ec", &line]).output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Runs a verb of the product by its own configuration.
    pub fn sallyport(&self, words: &[&str]) -> Result<String> {
        self.world.stage.command(words)
    }

    pub fn doctor(&self, words: &[&str]) -> Result<Found> {
        self.doctor_as(0, words)
    }

    fn doctor_as(&self, user: u32, words: &[&str]) -> Result<Found> {
        let mut command = Command::new(program()?);
        command
            .arg("--config")
            .arg(self.path("doctor.toml"))
            .args(["doctor", "--json"])
            .args(words)
            .uid(user)
            .gid(user);
        let begun = Instant::now();
        let Output { status, stdout, stderr } =
            self.world.stage.relay.within(|| command.output())??;
        let took = begun.elapsed();
        ensure!(took < AT_MOST, "it took {took:?}");
        let said = String::from_utf8_lossy(&stderr);
        let whole: Value =
            serde_json::from_slice(&stdout).with_context(|| format!("{status} {said}"))?;
        let mut found = Found { faults: Vec::new(), known: Vec::new(), whole };
        for one in found.whole["findings"].as_array().context("findings")? {
            let id = one["id"].as_str().context("id")?.to_owned();
            if one["severity"] == "fault" { found.faults.push(id) } else { found.known.push(id) }
        }
        let code = i32::from(!found.faults.is_empty());
        ensure!(
            status.code() == Some(code),
            "exit code {status} with {} faults",
            found.faults.len()
        );
        Ok(found)
    }

    /// Fails unless nothing is wrong.
    pub fn is_healthy(&self, when: &str) -> Result<()> {
        let found = self.doctor(&[])?;
        ensure!(found.faults.is_empty(), "{when}: {:#}", found.whole);
        Ok(())
    }

    /// Fails unless somebody without rights hears of no fault, and of what was left out for want of them: of
    /// secrets in a folder that only the relay may enter.
    pub fn is_healthy_for_anybody(&mut self) -> Result<()> {
        self.shell("mkdir {at}/secrets; cp {at}/hop-ca.pem {at}/secrets/ca.pem; cp {at}/tls/key.pem {at}/secrets/")?;
        self.shell("chown -R 65534:65534 {at}/secrets; chmod 700 {at}/secrets")?;
        self.write("{at}/hop-ca.pem", "{at}/secrets/ca.pem")?;
        self.write("{at}/tls/key.pem", "{at}/secrets/key.pem")?;
        self.append("[[alerts.webhook]]\nurl = \"https://192.0.2.250/\"\nformat = \"json\"\nsecret-file = \"{at}/secrets/key.pem\"\n")?;
        self.is_healthy("with secrets in a folder of their own, as root")?;
        let found = self.doctor_as(1234, &[])?;
        ensure!(found.faults.is_empty(), "{:#}", found.whole);
        let left_out = found.whole["left_out"].to_string();
        for what in ["gate: ", "firewall: ", "listeners: ", "logins: ", "disk: "] {
            ensure!(left_out.contains(what), "{what}: {:#}", found.whole);
        }
        self.shell("rm -r {at}/secrets")?;
        self.restore()
    }

    /// Returns everything that looking must not change: rules, addresses, lists, and the text of files.
    pub fn state(&self) -> Result<Vec<String>> {
        let relay = &self.world.stage.relay;
        let said = |tool: &Path, words: &[&str]| -> Result<String> {
            let mut command = Command::new(tool);
            let output = relay.within(|| command.args(words).output())??;
            Ok(String::from_utf8(output.stdout)?)
        };
        let mut state = vec![
            said(&self.tools.nft, &["list", "ruleset"])?,
            said(&self.tools.ip, &["-br", "address"])?,
            said(&self.tools.ip, &["route", "show", "table", "all"])?,
        ];
        for words in [["allow", "list"], ["ban", "list"], ["route", "list"], ["queue", "list"]] {
            state.push(self.sallyport(&words)?);
        }
        for name in self.files()?.into_iter().filter(|name| !name.starts_with("run/")) {
            let file = self.path(&name);
            if file.is_file() {
                let text = fs::read(&file)?;
                state.push(format!("{name}: {}", String::from_utf8_lossy(&text)));
            }
        }
        Ok(state)
    }

    /// Returns the names of all files that the product keeps.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for folder in ["spool", "gate", "tls", "run", "."] {
            for file in fs::read_dir(self.path(folder))? {
                names.push(format!("{folder}/{}", file?.file_name().display()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Injects a fault, looks, and takes it away again.
    pub fn try_row(&mut self, row: &Row) -> Result<()> {
        self.restore()?;
        let injected = (row.inject)(self);
        let seen = injected.and_then(|()| self.doctor(row.words));
        let mended = match &seen {
            Ok(found) if row.pasted => self.is_mended(row, &found.whole),
            Ok(_) | Err(_) => Ok(()),
        };
        (row.undo)(self).with_context(|| format!("{}: undo", row.name))?;
        self.kept.clear();
        self.restore()?;
        let found = seen?;
        mended.with_context(|| format!("{:#}", found.whole))?;
        let first = found.faults.first().or(found.known.first());
        let is_known = found.known.iter().any(|id| id == row.wanted);
        let is_first = first.is_some_and(|first| first == row.wanted) || row.wanted.is_empty();
        let others =
            found.faults.iter().filter(|id| *id != row.wanted && !row.also.contains(&id.as_str()));
        let others: Vec<_> = others.collect();
        if !(is_first || is_known) || !others.is_empty() {
            bail!("{} was wanted; besides {others:?}: {:#}", row.wanted, found.whole);
        }
        Ok(())
    }

    /// Tries every row, and fails with all that were not found.
    pub fn try_rows(&mut self, rows: &[Row]) -> Result<()> {
        self.is_healthy("before anything was broken")?;
        let mut failed = Vec::new();
        for row in rows {
            if let Err(error) = self.try_row(row) {
                failed.push(format!("{}: {error:#}", row.name));
            }
        }
        ensure!(
            failed.is_empty(),
            "{} of {} rows:\n{}",
            failed.len(),
            rows.len(),
            failed.join("\n\n")
        );
        self.is_healthy("after all was mended")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // They end with the thread's mounts, too.
        let _ = self.shell("umount /etc/hosts; umount /etc/resolv.conf");
    }
}

fn run(host: &Host, tool: &Path, words: &str) -> Result<()> {
    let mut command = Command::new(tool);
    command.args(words.split_whitespace());
    let Output { status, stderr, .. } = host.within(|| command.output())??;
    ensure!(status.success(), "{words}: {}", String::from_utf8_lossy(&stderr));
    Ok(())
}

fn nft(host: &Host, tool: &Path, rules: &str) -> Result<()> {
    let mut command = Command::new(tool);
    command.arg(rules);
    let Output { status, stderr, .. } = host.within(|| command.output())??;
    ensure!(status.success(), "{rules}: {}", String::from_utf8_lossy(&stderr));
    Ok(())
}
