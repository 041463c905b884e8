//! The files that a configuration names for the relay, and whether its user can read them.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::Cause;
use super::access::{Grant, Reader, Wish};
use crate::config::alerts::{Channel, ChannelKind};
use crate::config::{Config, Route, RouteProof, Traces};

/// A file that the configuration names.
struct Named<'a> {
    key: String,
    path: &'a Path,
    need: Need,
}

/// What does not work without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Clients get no TLS, or cannot log in.
    Clients,
    /// Mail does not leave, or waits for its signature.
    Mail,
    /// People, or a collector of traces, are not told.
    Telling,
}

impl Need {
    /// Returns the finding of a file that the relay cannot read.
    pub(super) const fn cause(self) -> Cause {
        match self {
            Self::Clients => Cause::FileUnreadable,
            Self::Mail => Cause::RouteFileUnreadable,
            Self::Telling => Cause::TellingFileUnreadable,
        }
    }
}

/// A file that the relay cannot read, or perhaps cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Troubled {
    pub key: String,
    /// The file, and why.
    pub says: String,
    pub need: Need,
    /// Whether it is so, or could not be looked at.
    pub certainty: Certainty,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// The file is not there.
    Missing,
    /// The relay's user may not read it.
    Shut,
    /// It cannot be told from here.
    Unseen,
}

/// Says which files the relay reads, as whom, and what keeps it from that; the last as lines that begin with
/// `note: `.
#[must_use]
pub fn lines(config: &Config) -> Vec<String> {
    let (user, files) = (&config.relay.user, named(config));
    let mut lines =
        vec![format!("the relay reads these files as user {user}, and must be able to:")];
    let line = |file: &Named<'_>| format!("  {}: {}", file.key, file.path.display());
    lines.extend(files.iter().map(line));
    let reader = match Reader::of(user, None) {
        Ok(reader) => Some(reader),
        Err(problem) => {
            lines.push(format!("note: {problem}"));
            None
        }
    };
    lines.extend(files.iter().filter_map(|file| {
        let (_, why) = trouble(file.path, user, reader.as_ref())?;
        Some(format!("note: {}: {} {why}", file.key, file.path.display()))
    }));
    lines
}

/// Returns the files that keep the relay from reading them, or of which that cannot be told; its logins too, if
/// they are there. `pid` is the relay's process, if it runs.
pub(super) fn troubles(config: &Config, pid: Option<u32>) -> Vec<Troubled> {
    let (user, mut files) = (&config.relay.user, named(config));
    let users = &config.relay.users;
    if users.exists() {
        files.push(Named { key: "relay.users".to_owned(), path: users, need: Need::Clients });
    }
    let reader = Reader::of(user, pid).ok();
    let troubled = files.into_iter().filter_map(|Named { key, path, need }| {
        let (certainty, why) = trouble(path, user, reader.as_ref())?;
        Some(Troubled { key, says: format!("{} {why}", path.display()), need, certainty })
    });
    troubled.collect()
}

/// Says what keeps a user, given by name or number, from reading a file, in words that follow the file's name; none:
/// nothing that can be seen from here.
#[must_use]
pub fn trouble_for(path: &Path, user: &str) -> Option<String> {
    let reader = Reader::of(user, None).ok();
    trouble(path, user, reader.as_ref()).map(|(_, why)| why)
}

/// Returns the first file of a route that whoever runs this may not read: what goes wrong with it then says
/// nothing of the relay.
pub(super) fn shut_for_us(route: &Route) -> Option<&Path> {
    of_route(route).into_iter().map(|file| file.path).find(|path| is_shut_for_us(path))
}

/// Tells whether whoever runs this may not read a file.
pub(super) fn is_shut_for_us(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Returns the files that the relay reads, each with its key.
fn named(config: &Config) -> Vec<Named<'_>> {
    let tls = &config.tls;
    let mut of_clients =
        vec![("tls.certificate", tls.certificate.as_path()), ("tls.key", tls.key.as_path())];
    for also in &tls.also {
        of_clients.push(("tls.also.certificate", &also.certificate));
        of_clients.push(("tls.also.key", &also.key));
    }
    of_clients.extend(tls.client_ca.as_deref().map(|path| ("tls.client-ca", path)));
    let of_clients = of_clients.into_iter();
    let mut files: Vec<Named<'_>> = of_clients
        .map(|(key, path)| Named { key: key.to_owned(), path, need: Need::Clients })
        .collect();
    files.extend(config.routes.iter().flat_map(of_route));
    files.extend(config.alerts.channels.iter().flat_map(of_channel));
    files.extend(config.traces.iter().flat_map(of_traces));
    files.extend(config.dkim.iter().map(|dkim| Named {
        key: format!("dkim {} key-file", dkim.domain),
        path: &dkim.key_file,
        need: Need::Mail,
    }));
    files
}

fn of_route(route: &Route) -> Vec<Named<'_>> {
    let mut files: Vec<(&str, &Path)> = Vec::new();
    files.extend(route.ca_file.as_deref().map(|path| ("ca-file", path)));
    if let Some(own) = &route.certificate {
        files.push(("client-certificate", &own.certificate));
        files.push(("client-key", &own.key));
    }
    match route.login.as_ref().map(|login| &login.proof) {
        Some(RouteProof::Password(path)) => files.push(("password-file", path)),
        Some(RouteProof::Token(path)) => files.push(("token-file", path)),
        Some(RouteProof::Issued(issuer)) => {
            files.extend(
                issuer.client_secret_file.as_deref().map(|path| ("client-secret-file", path)),
            );
            files.extend(
                issuer.refresh_token_file.as_deref().map(|path| ("refresh-token-file", path)),
            );
            files.extend(issuer.ca_file.as_deref().map(|path| ("token ca-file", path)));
        }
        Some(RouteProof::Certificate) | None => {}
    }
    let named =
        |(key, path)| Named { key: format!("route {} {key}", route.name), path, need: Need::Mail };
    files.into_iter().map(named).collect()
}

fn of_channel(channel: &Channel) -> Vec<Named<'_>> {
    let ChannelKind::Webhook(hook) = &channel.kind else { return Vec::new() };
    let files = [
        ("secret-file", &hook.secret_file),
        ("ca-file", &hook.ca_file),
        ("authorization-file", &hook.authorization_file),
    ];
    let files = files.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
    let named = |(key, path)| Named {
        key: format!("alert channel {} {key}", channel.name),
        path,
        need: Need::Telling,
    };
    files.map(named).collect()
}

fn of_traces(traces: &Traces) -> Vec<Named<'_>> {
    let files = [("ca-file", &traces.ca_file), ("authorization-file", &traces.authorization_file)];
    let files = files.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
    let named = |(key, path)| Named { key: format!("traces.{key}"), path, need: Need::Telling };
    files.map(named).collect()
}

/// Says what keeps the user from reading a file, or from telling; none: nothing that can be seen from here.
fn trouble(path: &Path, user: &str, reader: Option<&Reader>) -> Option<(Certainty, String)> {
    let file = match path.metadata() {
        Ok(file) => file,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
            return Some((Certainty::Missing, "is not there yet".to_owned()));
        }
        Err(problem) if problem.kind() == io::ErrorKind::PermissionDenied => {
            return Some((Certainty::Unseen, format!("cannot be looked at: {problem}")));
        }
        Err(problem) => return Some((Certainty::Shut, format!("cannot be read: {problem}"))),
    };
    let reader = reader?;
    let unseen =
        |why: &str| (Certainty::Unseen, format!("may be one that user {user} cannot read: {why}"));
    match reader.may(path, &file, Wish::Read) {
        Grant::Yes => {}
        Grant::No => {
            let (mode, owner, group) = (file.permissions().mode() & 0o777, file.uid(), file.gid());
            let says = format!(
                "cannot be read by user {user} (mode {mode:o}, owner {owner}, group {group}): give it the group of \
                 {user} and mode 640"
            );
            return Some((Certainty::Shut, says));
        }
        Grant::Unknown(why) => return Some(unseen(why)),
    }
    // What cannot be looked at of a folder above is no trouble: the file was reached.
    let mut above =
        path.ancestors().skip(1).filter_map(|folder| Some((folder, folder.metadata().ok()?)));
    above.find_map(|(folder, found)| {
        let shown = folder.display();
        match reader.may(folder, &found, Wish::Enter) {
            Grant::Yes => None,
            Grant::No => {
                Some((Certainty::Shut, format!("lies in {shown}, which user {user} may not enter")))
            }
            Grant::Unknown(why) => Some(unseen(&format!("of {shown}: {why}"))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_or_cannot_be_read_are_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (secret, open) = (file("secret", 0o600), file("open", 0o644));
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\ninterfaces = ['eth0']\n[[listener]]\naddress = '[::]:2525'\n\
             [relay]\nuser = '3999999999'\n[tls]\ncertificate = '{}'\nkey = '{}'\n\
             [[route]]\nname = 'r'\nhosts = ['mx.example.net:25']\nca-file = '/nowhere/ca.pem'\n\
             login = {{ user = 'u', password-file = '/nowhere/password' }}\n",
            open.display(),
            secret.display()
        );
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let lines = lines(&config);
        let named = [
            format!("  tls.certificate: {}", open.display()),
            "  route r password-file: /nowhere/password".to_owned(),
            "note: route r ca-file: /nowhere/ca.pem is not there yet".to_owned(),
            "note: route r password-file: /nowhere/password is not there yet".to_owned(),
        ];
        for line in named {
            assert!(lines.contains(&line), "{line}: {lines:#?}");
        }
        let start = format!(
            "note: tls.key: {} cannot be read by user 3999999999 (mode 600",
            secret.display()
        );
        assert!(lines.iter().any(|line| line.starts_with(&start)), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("note: tls.certificate")), "{lines:#?}");
        let troubled: Vec<_> = troubles(&config, None)
            .into_iter()
            .map(|file| (file.key, file.need.cause().id(), file.certainty))
            .collect();
        let wanted = [
            ("tls.key".to_owned(), "file-unreadable", Certainty::Shut),
            ("route r ca-file".to_owned(), "route-file-unreadable", Certainty::Missing),
            ("route r password-file".to_owned(), "route-file-unreadable", Certainty::Missing),
        ];
        assert_eq!(troubled, wanted);
    }
}
