//! Which files and ports the processes ask for, by the configuration.
//!
//! A file is replaced by another of its name when it changes, and a rule holds for what it was made for, not for
//! a name. So for a file its folder is permitted: where it is named, and where it lies if it is a link.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::alerts::ChannelKind;
use crate::config::{Config, Route, RouteProof};

/// What may be done below a folder, or with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Files are read whose names are known.
    Read,
    /// The names too.
    List,
    /// Files and folders are made, written, renamed and removed too.
    Keep,
    /// A control socket is made and removed.
    Serve,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 4] = [Self::Read, Self::List, Self::Keep, Self::Serve];

    /// Tells whether who has this right has the other.
    const fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Keep, Self::Read | Self::List | Self::Keep)
            | (Self::List, Self::Read | Self::List)
            | (Self::Read, Self::Read)
            | (Self::Serve, Self::Serve) => true,
            (Self::Read, Self::List | Self::Keep | Self::Serve)
            | (Self::List, Self::Keep | Self::Serve)
            | (Self::Keep, Self::Serve)
            | (Self::Serve, Self::Read | Self::List | Self::Keep) => false,
        }
    }
}

/// What the libraries under a process read, of every process: names of hosts and users, time zones, the
/// modules for names, what they learn of the machine. `/etc` is one of them, since its `resolv.conf` and `hosts`
/// are replaced when they change; what in it is secret is kept by owner and mode.
const SYSTEM: [(&str, Right); 12] = [
    ("/etc", Right::Read),
    ("/lib", Right::Read),
    ("/lib64", Right::Read),
    ("/usr/lib", Right::Read),
    ("/usr/lib64", Right::Read),
    ("/usr/share/zoneinfo", Right::Read),
    ("/proc/self", Right::List),
    ("/proc/sys/vm/overcommit_memory", Right::Read),
    ("/proc/sys/kernel/random", Right::Read),
    ("/sys/fs/cgroup", Right::Read),
    ("/sys/devices/system/cpu", Right::Read),
    ("/dev/urandom", Right::Read),
];

/// What leads to where a resolver on this host leaves its file.
const RESOLVER: &str = "/etc/resolv.conf";

/// Where resolvers leave it that are known, so that the link may come to lead there later.
const RESOLVERS: [&str; 4] =
    ["/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman"];

/// What the gate reads besides: its own kernel program's types, interfaces, sockets, limits.
const KERNEL: [(&str, Right); 2] = [("/proc", Right::List), ("/sys", Right::List)];

/// Files and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    paths: BTreeMap<PathBuf, BTreeSet<Right>>,
    ports: BTreeSet<u16>,
}

impl Grounds {
    /// Returns those of the relay by this configuration, which was read from `file`. What is not there yet is
    /// not among them.
    #[must_use]
    pub fn of_relay(config: &Config, file: &Path) -> Self {
        let mut grounds = Self::of_system(file);
        let tls = &config.tls;
        let also = tls.also.iter().flat_map(|also| [&also.certificate, &also.key]);
        let own = [&tls.certificate, &tls.key, &config.relay.users].into_iter().chain(also);
        own.chain(&tls.client_ca).for_each(|file| grounds.file(file));
        config.oauth.iter().for_each(|oauth| grounds.file(&oauth.keys));
        config.dkim.iter().for_each(|dkim| grounds.file(&dkim.key_file));
        config.routes.iter().for_each(|route| grounds.route(route));
        for channel in &config.alerts.channels {
            match &channel.kind {
                ChannelKind::Webhook(hook) => {
                    let files = hook.secret_file.iter().chain(&hook.authorization_file);
                    files.chain(&hook.ca_file).for_each(|file| grounds.file(file));
                }
                // Programs are run by another process.
                ChannelKind::Mail(_) | ChannelKind::Exec(_) => {}
            }
        }
        if let Some(traces) = &config.traces {
            let files = traces.authorization_file.iter().chain(&traces.ca_file);
            files.for_each(|file| grounds.file(file));
        }
        grounds.permit(&config.spool.path, Right::Keep);
        if !config.history.keep.is_zero() {
            grounds.permit(&config.history.path, Right::Keep);
        }
        grounds.socket(&config.relay.socket);
        grounds.ports.extend(config.metrics.iter().map(|metrics| metrics.address.port()));
        grounds.ports.extend(config.page.iter().map(|page| page.address.port()));
        if config.gate.interfaces.is_empty() {
            grounds.ports.extend(config.listeners.iter().map(|one| one.address.port()));
        }
        grounds
    }

    /// Returns those of the gate by this configuration, which was read from `file`.
    #[must_use]
    pub fn of_gate(config: &Config, file: &Path) -> Self {
        let mut grounds = Self::of_system(file);
        for (path, right) in KERNEL {
            grounds.permit(Path::new(path), right);
        }
        grounds.permit(&config.gate.state, Right::Keep);
        // The folder itself goes with `detach`, and comes again.
        grounds.permit(config.gate.pins.parent().unwrap_or(&config.gate.pins), Right::Keep);
        grounds.socket(&config.gate.socket);
        grounds.ports.extend(config.listeners.iter().map(|one| one.address.port()));
        grounds
    }

    fn of_system(file: &Path) -> Self {
        let mut grounds = Self::default();
        for (path, right) in SYSTEM {
            grounds.permit(Path::new(path), right);
        }
        for folder in RESOLVERS {
            grounds.permit(Path::new(folder), Right::Read);
        }
        grounds.file(Path::new(RESOLVER));
        grounds.file(file);
        grounds
    }

    fn route(&mut self, route: &Route) {
        route.ca_file.iter().for_each(|file| self.file(file));
        if let Some(own) = &route.certificate {
            self.file(&own.certificate);
            self.file(&own.key);
        }
        match route.login.as_ref().map(|login| &login.proof) {
            Some(RouteProof::Password(file) | RouteProof::Token(file)) => self.file(file),
            Some(RouteProof::Issued(issuer)) => {
                issuer.client_secret_file.iter().for_each(|file| self.file(file));
                issuer.ca_file.iter().for_each(|file| self.file(file));
                if let Some(folder) = issuer.refresh_token_file.as_ref().and_then(|it| it.parent())
                {
                    self.permit(folder, Right::Keep);
                }
            }
            Some(RouteProof::Certificate) | None => {}
        }
    }

    /// Permits a file, and those that come to stand in its place. Where a link leads to nothing yet, the nearest
    /// folder above that is there is permitted: what is missing may come.
    fn file(&mut self, file: &Path) {
        self.folder_of(file);
        if let Ok(lies) = file.canonicalize() {
            return self.folder_of(&lies);
        }
        let Ok(leads) = file.read_link() else { return };
        let leads = file.parent().unwrap_or(file).join(leads);
        let mut above = leads.ancestors().skip(1).filter_map(|folder| folder.canonicalize().ok());
        if let Some(folder) = above.find(|folder| folder != Path::new("/")) {
            self.permit(&folder, Right::Read);
        }
    }

    fn folder_of(&mut self, file: &Path) {
        match file.parent() {
            None => {}
            // Beside everything: it stands for itself alone.
            Some(folder) if folder == Path::new("/") => self.permit(file, Right::Read),
            Some(folder) => self.permit(folder, Right::Read),
        }
    }

    fn socket(&mut self, socket: &Path) {
        self.permit(socket.parent().unwrap_or(socket), Right::Serve);
    }

    fn permit(&mut self, path: &Path, right: Right) {
        if let Ok(path) = path.canonicalize() {
            self.paths.entry(path).or_default().insert(right);
        }
    }

    /// Returns the paths below which `right` is given.
    pub fn under(&self, right: Right) -> impl Iterator<Item = &Path> {
        let given = self.paths.iter().filter(move |(_, rights)| rights.contains(&right));
        given.map(|(path, _)| path.as_path())
    }

    /// Returns the TCP ports that may be bound.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().copied()
    }

    /// Names what of this lies outside of `held`, and the remedy.
    #[must_use]
    pub fn beyond(&self, held: &Self) -> Option<String> {
        let covered = |path: &Path, right: Right| {
            let above = |place: &Path| {
                held.paths.get(place).is_some_and(|all| all.iter().any(|one| one.covers(right)))
            };
            path.ancestors().any(above)
        };
        let mut outside = Vec::new();
        for (path, rights) in &self.paths {
            if rights.iter().any(|right| !covered(path, *right)) {
                outside.push(path.display().to_string());
            }
        }
        outside.extend(self.ports.difference(&held.ports).map(|port| format!("port {port}")));
        (!outside.is_empty()).then(|| {
            format!(
                "the sandbox that was entered at the start leaves no way to {}: restart the relay",
                outside.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(folder: &Path, more: &str) -> Config {
        let at = folder.display();
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [relay]\nusers = '{at}/etc/users.toml'\nsocket = '{at}/run/relay.sock'\n\
             [tls]\ncertificate = '{at}/live/chain.pem'\nkey = '{at}/live/key.pem'\n\
             [spool]\npath = '{at}/spool'\n{more}"
        );
        Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// Returns a folder with what the configuration names, the certificate by a link as certbot makes them.
    fn laid() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["etc", "run", "live", "archive", "spool", "history", "secrets", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("archive/chain1.pem"), "").unwrap();
        let link = folder.path().join("live/chain.pem");
        symlink("../archive/chain1.pem", link).unwrap();
        folder
    }

    #[test]
    fn the_relay_reads_folders_of_its_files_and_keeps_its_own() {
        let folder = laid();
        let at = folder.path().canonicalize().unwrap();
        let config = read(&at, "[metrics]\naddress = '127.0.0.1:9525'\n");
        let grounds = Grounds::of_relay(&config, &at.join("etc/sallyport.toml"));
        let own = |right| -> Vec<PathBuf> {
            grounds
                .under(right)
                .filter_map(|path| Some(path.strip_prefix(&at).ok()?.into()))
                .collect()
        };
        assert_eq!(own(Right::Read), ["archive", "etc", "live"].map(PathBuf::from));
        assert_eq!(own(Right::Keep), ["history", "spool"].map(PathBuf::from));
        assert_eq!(own(Right::Serve), ["run"].map(PathBuf::from));
        assert!(own(Right::List).is_empty());
        assert_eq!(grounds.ports().collect::<Vec<_>>(), [9525]);
        let mut config = config;
        config.gate.interfaces.clear();
        let alone = Grounds::of_relay(&config, &at.join("etc/sallyport.toml"));
        assert_eq!(alone.ports().collect::<Vec<_>>(), [2525, 9525]);
    }

    #[test]
    fn what_a_reload_asks_for_besides_is_named() {
        let folder = laid();
        let at = folder.path().canonicalize().unwrap();
        let file = at.join("etc/sallyport.toml");
        let held = Grounds::of_relay(&read(&at, ""), &file);
        let route = |login: &str| {
            format!("[[route]]\nname = 'r'\nhosts = ['mx.example.net:25']\nlogin = {login}\n")
        };
        let password = |place: &str| {
            route(&format!("{{ user = 'u', password-file = '{}/{place}' }}", at.display()))
        };
        let issued = |place: &str| {
            route(&format!(
                "{{ user = 'u', token = {{ url = 'https://login.example.net/', client-id = 'c', \
                 refresh-token-file = '{}/{place}' }} }}",
                at.display()
            ))
        };
        let rows = [
            ("the same", String::new(), None),
            ("a file beside another", password("etc/password"), None),
            ("one below", password("etc/secrets/password"), None),
            ("one elsewhere", password("other/password"), Some("/other: restart")),
            (
                "one that is written, where others are read",
                issued("etc/token"),
                Some("/etc: restart"),
            ),
            ("where the relay writes already", issued("spool/token"), None),
            (
                "a port",
                "[metrics]\naddress = '127.0.0.1:9525'\n".into(),
                Some("port 9525: restart"),
            ),
        ];
        for (row, more, wanted) in rows {
            let said = Grounds::of_relay(&read(&at, &more), &file).beyond(&held);
            match (said, wanted) {
                (None, None) => {}
                (Some(said), Some(wanted)) => assert!(said.contains(wanted), "{row}: {said}"),
                (said, wanted) => panic!("{row}: {said:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn where_a_link_leads_to_nothing_yet_what_comes_there_is_permitted() {
        let folder = laid();
        let at = folder.path().canonicalize().unwrap();
        symlink("../archive/late/stub.conf", at.join("etc/resolv.conf")).unwrap();
        let mut grounds = Grounds::default();
        grounds.file(&at.join("etc/resolv.conf"));
        let given: Vec<_> = grounds.under(Right::Read).collect();
        assert_eq!(given, [at.join("archive"), at.join("etc")]);
        symlink("/missing/stub.conf", at.join("other/resolv.conf")).unwrap();
        let mut grounds = Grounds::default();
        grounds.file(&at.join("other/resolv.conf"));
        assert_eq!(grounds.under(Right::Read).collect::<Vec<_>>(), [at.join("other")]);
    }

    #[test]
    fn a_file_in_the_root_folder_does_not_open_everything() {
        let mut grounds = Grounds::default();
        grounds.file(Path::new("/proc"));
        assert_eq!(grounds.under(Right::Read).collect::<Vec<_>>(), [Path::new("/proc")]);
    }
}
