//! The files that a configuration names for the relay, and whether its user can read them.
//!
//! A check may run as root, who reads everything: so owner and mode are compared instead.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::appliance::privilege::Identity;
use crate::config::alerts::{Channel, ChannelKind};
use crate::config::{Config, Route, RouteProof, Traces};

/// The key that names a file, and the file.
type Named<'a> = (String, &'a Path);

/// What the holder of an identity asks of a file or a folder, as bits of each digit of its mode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    Read = 0o4,
    Enter = 0o1,
    /// To make, read and remove what is in a folder.
    Keep = 0o7,
}

/// Says which files the relay reads, as whom, and what keeps it from that; the last as lines that begin with
/// `note: `.
#[must_use]
pub fn lines(config: &Config) -> Vec<String> {
    let (user, files) = (&config.relay.user, named(config));
    let mut lines =
        vec![format!("the relay reads these files as user {user}, and must be able to:")];
    lines.extend(files.iter().map(|(key, path)| format!("  {key}: {}", path.display())));
    let reader = match Identity::of(user) {
        Ok(reader) => Some(reader),
        Err(problem) => {
            lines.push(format!("note: {problem}"));
            None
        }
    };
    lines.extend(files.iter().filter_map(|(key, path)| {
        let why = trouble(path, user, reader)?;
        Some(format!("note: {key}: {} {why}", path.display()))
    }));
    lines
}

/// Returns the keys of the files that keep the relay from reading them, and why in words that follow the
/// file's name; its logins too, if they are there.
pub(super) fn troubles(config: &Config) -> Vec<(String, String)> {
    let (user, mut files) = (&config.relay.user, named(config));
    if config.relay.users.exists() {
        files.push(("relay.users".to_owned(), &config.relay.users));
    }
    let reader = Identity::of(user).ok();
    let troubled = files.into_iter().filter_map(|(key, path)| {
        let why = trouble(path, user, reader)?;
        Some((key, format!("{} {why}", path.display())))
    });
    troubled.collect()
}

/// Says what keeps a user, given by name or number, from reading a file, in words that follow the file's name; none:
/// nothing that can be seen from here.
#[must_use]
pub fn trouble_for(path: &Path, user: &str) -> Option<String> {
    trouble(path, user, Identity::of(user).ok())
}

/// Returns the files that the relay reads, each with its key.
fn named(config: &Config) -> Vec<Named<'_>> {
    let tls = &config.tls;
    let mut files: Vec<Named<'_>> =
        vec![("tls.certificate".to_owned(), &tls.certificate), ("tls.key".to_owned(), &tls.key)];
    for also in &tls.also {
        files.push(("tls.also.certificate".to_owned(), &also.certificate));
        files.push(("tls.also.key".to_owned(), &also.key));
    }
    files.extend(tls.client_ca.as_deref().map(|path| ("tls.client-ca".to_owned(), path)));
    files.extend(config.routes.iter().flat_map(of_route));
    files.extend(config.alerts.channels.iter().flat_map(of_channel));
    files.extend(config.traces.iter().flat_map(of_traces));
    files.extend(
        config
            .dkim
            .iter()
            .map(|dkim| (format!("dkim {} key-file", dkim.domain), dkim.key_file.as_path())),
    );
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
    files.into_iter().map(|(key, path)| (format!("route {} {key}", route.name), path)).collect()
}

fn of_channel(channel: &Channel) -> Vec<Named<'_>> {
    let ChannelKind::Webhook(hook) = &channel.kind else { return Vec::new() };
    let files = [
        ("secret-file", &hook.secret_file),
        ("ca-file", &hook.ca_file),
        ("authorization-file", &hook.authorization_file),
    ];
    let files = files.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
    files.map(|(key, path)| (format!("alert channel {} {key}", channel.name), path)).collect()
}

fn of_traces(traces: &Traces) -> Vec<Named<'_>> {
    let files = [("ca-file", &traces.ca_file), ("authorization-file", &traces.authorization_file)];
    let files = files.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
    files.map(|(key, path)| (format!("traces.{key}"), path)).collect()
}

/// Says what keeps the user from reading a file; none: nothing that can be seen from here.
fn trouble(path: &Path, user: &str, reader: Option<Identity>) -> Option<String> {
    let file = match path.metadata() {
        Ok(file) => file,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
            return Some("is not there yet".to_owned());
        }
        Err(problem) => return Some(format!("cannot be looked at: {problem}")),
    };
    let reader = reader?;
    let (mode, owner, group) = (file.permissions().mode() & 0o777, file.uid(), file.gid());
    if !may(&file, reader, Wish::Read) {
        return Some(format!(
            "cannot be read by user {user} (mode {mode:o}, owner {owner}, group {group}): give it the \
             group of {user} and mode 640"
        ));
    }
    let is_shut =
        |folder: &&Path| folder.metadata().is_ok_and(|folder| !may(&folder, reader, Wish::Enter));
    let shut = path.ancestors().skip(1).find(is_shut)?;
    Some(format!("lies in {}, which user {user} may not enter", shut.display()))
}

/// Tells whether the mode grants a wish, by owner and primary group (path_resolution(7)).
pub(super) fn may(file: &Metadata, reader: Identity, wish: Wish) -> bool {
    grants(file.permissions().mode(), (file.uid(), file.gid()), reader, wish)
}

const fn grants(mode: u32, (uid, gid): (u32, u32), reader: Identity, wish: Wish) -> bool {
    // The owner is judged by his digit alone, also where the others grant more.
    let digit = if reader.uid == uid {
        mode >> 6
    } else if reader.gid == gid {
        mode >> 3
    } else {
        mode
    };
    reader.uid == 0 || digit & wish as u32 == wish as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_grants_by_owner_then_group_then_all() {
        let reader = |uid, gid| Identity { uid, gid };
        for (row, mode, reader, read, enter) in [
            ("the owner", 0o500, reader(7, 9), true, true),
            ("the group", 0o640, reader(1, 8), true, false),
            ("nobody of them", 0o640, reader(1, 2), false, false),
            ("all", 0o604, reader(1, 2), true, false),
            ("the owner's digit alone counts for him", 0o044, reader(7, 8), false, false),
            ("the group's for the group", 0o604, reader(1, 8), false, false),
            ("a folder that can be passed", 0o711, reader(1, 2), false, true),
            ("root", 0o000, reader(0, 0), true, true),
        ] {
            assert_eq!(grants(mode, (7, 8), reader, Wish::Read), read, "{row}");
            assert_eq!(grants(mode, (7, 8), reader, Wish::Enter), enter, "{row}");
        }
    }

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
    }
}
