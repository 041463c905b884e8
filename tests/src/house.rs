//! A host on which gate and relay have a network of their own (`config/netns`): the shipped units and the script that
//! makes that network, under a real systemd.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use relay::demo::next_hop::wait_for;
use relay::demo::stage::{GUARDED, Stage};
use relay::demo::steps::pid_of;
use relay::hosts::Host;
use relay::hosts::own::NAMESPACE;

use crate::need;
use crate::systemd::{GATE, RELAY, Systemd, shipped, unit};
use crate::world::{World, program};

/// The unit of the namespace and its wire.
pub const NETNS: &str = "sallyport-netns.service";
/// The unit of forwarding and translation.
pub const RULES: &str = "sallyport-netns-rules.service";
/// The host's own firewall, which flushes everything whenever it is loaded, as Debian's does.
pub const FIREWALL: &str = "nftables.service";
/// The change of the stage's settings to what is shipped: clients come by IPv4 only.
pub const SHIPPED: (&str, &str) = ("HOST6=2001:db8::1", "HOST6=");
/// Whether a host that does not forward lets others change its routes: below /proc/sys/net.
pub const REDIRECTS: &str = "ipv4/conf/all/accept_redirects";
/// The host's end of the wire, as shipped.
pub const OUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 25, 25, 1));
/// The relay's end of the wire, as shipped.
pub const INNER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 25, 25, 2));

/// A host with the mode at work. Systemd ends first.
pub struct House {
    /// What runs the units.
    pub systemd: Systemd,
    /// The hosts around it, and the folder of its files.
    pub world: World,
}

/// Returns a unit of the network as it is shipped, with script and settings where the stage has them.
fn of_network<'a>(name: &'a str, folder: &Path) -> Result<(&'a str, String, String)> {
    let at = folder.display();
    let text = shipped(name)?.replace("/usr/lib/sallyport/", &format!("{at}/"));
    let text = text.replace("/etc/sallyport/", &format!("{at}/"));
    let more = format!(
        "[Service]\nEnvironment=SALLYPORT_NETNS_CONF={at}/netns.conf\nBindPaths={at}\n\
         StandardError=append:{at}/log\n"
    );
    // This one has no mounts of its own.
    let more = if name == NETNS { more.replace(&format!("BindPaths={at}\n"), "") } else { more };
    Ok((name, text, more))
}

impl House {
    /// Makes the host, with other settings than those that are shipped where `change` says so, and starts nothing.
    /// None if a tool is missing.
    ///
    /// # Errors
    ///
    /// If a namespace or systemd fails, or if the shipped settings have nothing of what `change` changes.
    pub fn build(change: &[(&str, &str)]) -> Result<Option<Self>> {
        let (Some(_), Some(nft)) = (need::tool("ip"), need::tool("nft")) else { return Ok(None) };
        let world = World::set()?;
        let stage = &world.stage;
        let folder = world.folder.path().to_owned();
        for (host, interface, address) in
            [(&stage.relay, "guard0", "2001:db8::1/64"), (&stage.world, "wire0", "2001:db8::a/64")]
        {
            host.address(interface, address.parse()?)?;
        }

        let mut settings = shipped("netns/netns.conf")?;
        for (from, to) in [&[("HOST6=", "HOST6=2001:db8::1")], change].concat() {
            ensure!(settings.contains(from), "the shipped settings have no {from}");
            settings = settings.replacen(from, to, 1);
        }
        fs::write(folder.join("netns.conf"), settings)?;
        fs::write(folder.join("netns.sh"), shipped("netns/netns.sh")?)?;
        let config = folder.join("sallyport.toml");
        let text = fs::read_to_string(&config)?
            .replace("[\"guard0\"]", "[\"gate0\"]")
            .replace(&format!("address = \"{GUARDED}\""), "address = \"[::]:2525\"")
            .replace(&format!("{}/bpf/", folder.display()), "/sys/fs/bpf/");
        fs::write(config, text)?;
        fs::copy(program()?, folder.join("sallyport"))?;

        let mut units = vec![of_network(NETNS, &folder)?, of_network(RULES, &folder)?];
        for (name, role) in [(GATE, "gate"), (RELAY, "relay")] {
            let (name, text, more) = unit(name, role, &folder)?;
            units.push((name, text, format!("{}{more}", shipped("netns/unit.conf")?)));
        }
        let flush = format!("={} flush ruleset\n", nft.display());
        let firewall = format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
             ExecStart{flush}ExecReload{flush}ExecStop{flush}"
        );
        units.push((FIREWALL, firewall, shipped("netns/nftables.conf")?));
        // A hardened host.
        stage.relay.within(|| fs::write(format!("/proc/sys/net/{REDIRECTS}"), "0"))??;
        let Some(systemd) = Systemd::start(&stage.relay, &folder, &units)? else { return Ok(None) };
        Ok(Some(Self { systemd, world }))
    }

    /// Makes the host as [`House::build`] does, starts gate and relay, and waits until they serve.
    ///
    /// # Errors
    ///
    /// As [`House::build`], or if they do not serve in time.
    pub fn open(change: &[(&str, &str)]) -> Result<Option<Self>> {
        let Some(house) = Self::build(change)? else { return Ok(None) };
        house.control(&["start", FIREWALL])?;
        house.control(&["start", GATE, RELAY])?;
        house.serves()?;
        Ok(Some(house))
    }

    /// Returns the hosts around it.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.world.stage
    }

    /// Calls systemctl and returns what it printed.
    ///
    /// # Errors
    ///
    /// If it fails, with all that was logged.
    pub fn control(&self, words: &[&str]) -> Result<String> {
        self.systemd.control(words).with_context(|| self.told())
    }

    /// Returns all that was logged.
    #[must_use]
    pub fn told(&self) -> String {
        let log = self.world.folder.path().join("systemd.log");
        format!("{}\n{}", fs::read_to_string(log).unwrap_or_default(), self.stage().log())
    }

    /// Waits until gate and relay serve.
    ///
    /// # Errors
    ///
    /// If they do not in time, with all that was logged.
    pub fn serves(&self) -> Result<()> {
        wait_for("both to serve", || {
            let status = self.stage().listing(&["status"]).ok()?;
            let serves = |half: &str| status[half]["serving"] == true;
            (serves("gate") && serves("relay")).then_some(())
        })
        .with_context(|| self.stage().log())
    }

    /// Returns the number of the relay's process.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn relay(&self) -> Result<u32> {
        pid_of(&self.stage().listing(&["status"])?["relay"])
    }

    /// Returns the relay's own network.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn inside(&self) -> Result<Host> {
        Host::named(&self.systemd.path(NAMESPACE)).context("the namespace of the relay")
    }

    /// Runs a program of the host's and returns what it printed.
    ///
    /// # Errors
    ///
    /// If it fails, with what it said.
    pub fn run(&self, words: &str) -> Result<String> {
        run(&self.stage().relay, words)
    }

    /// Reads a number that the kernel has of the host's network.
    ///
    /// # Errors
    ///
    /// If there is no such file, or no number in it.
    pub fn number(&self, path: &str) -> Result<usize> {
        let text = self.stage().relay.within(|| fs::read_to_string(path))?;
        Ok(text.with_context(|| path.to_owned())?.trim().parse()?)
    }
}

/// Runs a program in the network of `host` and returns what it printed.
///
/// # Errors
///
/// If it fails, with what it said.
pub fn run(host: &Host, words: &str) -> Result<String> {
    let mut words = words.split_whitespace();
    let program = words.next().and_then(need::tool).context("it is needed")?;
    let mut command = Command::new(program);
    let Output { status, stdout, stderr } = host.within(|| command.args(words).output())??;
    ensure!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
