//! `[route.login]`.

use std::borrow::Cow;

use toml::de::DeValue;

use super::{Table, unit};
use crate::config::{
    Mechanism, Mechanisms, ProofKind, RouteCertificate, RouteLogin, RouteProof, TokenIssuer,
};

/// The longest user name, octets.
const USER_MAX: usize = 256;
/// The longest name of ours at an issuer, scope, or address of an issuer, octets.
const ISSUER_MAX: usize = 1024;

/// Reads a `[route.login]`; `certificate` is what the route shows in the handshake.
pub(super) fn login(
    table: &Table<'_>,
    certificate: Option<&RouteCertificate>,
) -> Option<RouteLogin> {
    let user = table.optional("user", unit::short(USER_MAX));
    let proof = proof(table, certificate)?;
    let mechanisms = mechanisms(table, proof.kind())?;
    match (user, &proof) {
        (Some(user), _) => Some(RouteLogin { user, proof, mechanisms }),
        (None, RouteProof::Certificate) => {
            Some(RouteLogin { user: String::new(), proof, mechanisms })
        }
        (None, RouteProof::Password(_) | RouteProof::Token(_) | RouteProof::Issued(_)) => {
            table.report("user", "this key is required");
            None
        }
    }
}

/// Reads what the login is proved by: one thing.
fn proof(table: &Table<'_>, certificate: Option<&RouteCertificate>) -> Option<RouteProof> {
    let password = table.optional("password-file", unit::path).map(RouteProof::Password);
    let token = table.optional("token-file", unit::path).map(RouteProof::Token);
    let issuer = table.optional_table("token").map(|of_token| {
        let issuer = issuer(&of_token);
        of_token.finish();
        issuer
    });
    let issued = match issuer {
        Some(issuer) => Some(RouteProof::Issued(issuer?)),
        None => None,
    };
    let mut proofs = [password, token, issued].into_iter().flatten();
    match (proofs.next(), proofs.next(), certificate) {
        (Some(proof), None, _) => Some(proof),
        (None, _, Some(_)) => Some(RouteProof::Certificate),
        (None, _, None) => {
            table.report(
                "password-file",
                "a login needs password-file, token-file, [route.login.token], or the route's \
                 client-certificate",
            );
            None
        }
        (Some(_), Some(_), _) => {
            table.report("user", "a login has one of password-file, token-file and token");
            None
        }
    }
}

/// Reads the mechanisms that may be used; without the key all of the proof's kind.
fn mechanisms(table: &Table<'_>, kind: ProofKind) -> Option<Mechanisms> {
    let all = Mechanisms::that_show(kind);
    let Some(written) = table.optional_list("mechanisms", mechanism) else {
        let names: Vec<_> = all.iter().map(|one| one.name().to_ascii_lowercase()).collect();
        table.comes_to("mechanisms", names);
        return Some(all);
    };
    if written.is_empty() {
        table.report("mechanisms", "name at least one, or leave the key out");
        return None;
    }
    for other in written.iter().filter(|mechanism| !all.has(**mechanism)) {
        let message = format!(
            "{} cannot show what this login is proved by: {} can",
            other.name(),
            all.names()
        );
        table.report("mechanisms", &message);
    }
    Some(written.into_iter().collect())
}

fn mechanism(value: &DeValue<'_>) -> Result<Mechanism, Cow<'static, str>> {
    let written = unit::text(value)?;
    Mechanism::named(written).ok_or_else(|| {
        let names = Mechanism::ALL.map(|one| one.name().to_ascii_lowercase());
        format!("\"{written}\" is no mechanism we know: write {}", names.join(", ")).into()
    })
}

fn issuer(table: &Table<'_>) -> Option<TokenIssuer> {
    let url = table.required("url", https);
    let client_id = table.required("client-id", unit::short(ISSUER_MAX));
    let client_secret_file = table.optional("client-secret-file", unit::path);
    let refresh_token_file = table.optional("refresh-token-file", unit::path);
    let scope = table.optional("scope", unit::short(ISSUER_MAX));
    let ca_file = table.optional("ca-file", unit::path);
    if client_secret_file.is_none() && refresh_token_file.is_none() {
        table.report(
            "client-secret-file",
            "a token is got by refresh-token-file, by client-secret-file, or by both",
        );
    }
    let (url, client_id) = (url?, client_id?);
    Some(TokenIssuer { url, client_id, client_secret_file, refresh_token_file, scope, ca_file })
}

/// Reads the address of a token endpoint. Secrets go there: only under TLS (RFC 6749, section 3.2).
fn https(value: &DeValue<'_>) -> Result<String, Cow<'static, str>> {
    let written = unit::short(ISSUER_MAX)(value)?;
    let host = written.strip_prefix("https://").filter(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && rest.bytes().all(|b| b.is_ascii_graphic())
    });
    if host.is_some_and(|host| !host.contains(['@', '#'])) {
        Ok(written)
    } else {
        Err("expected an address as in \"https://login.example.net/token\"".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Pin, RouteTls};

    /// Reads a route with these lines in it.
    fn route(lines: &str) -> Result<crate::config::Route, String> {
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n\
             [[route]]\nname = 'r'\nhosts = ['localhost:587']\n{lines}\n"
        );
        Config::parse(&text).map(|mut config| config.routes.remove(0)).map_err(|problems| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
        })
    }

    #[test]
    fn a_login_is_proved_by_one_thing_and_the_mechanisms_are_of_its_kind() {
        let token = "token = { url = 'https://i.example.net/t', client-id = 'us'";
        let identity = "client-certificate = '/c'\nclient-key = '/k'\n";
        let rows = [
            ("login = { user = 'u', password-file = '/p' }".to_owned(), ProofKind::Password),
            ("login = { user = 'u', token-file = '/t' }".to_owned(), ProofKind::Token),
            (
                format!("login = {{ user = 'u', {token}, client-secret-file = '/s' }} }}"),
                ProofKind::Token,
            ),
            (
                format!("login = {{ user = 'u', {token}, refresh-token-file = '/s' }} }}"),
                ProofKind::Token,
            ),
            (format!("{identity}login = {{ user = 'u' }}"), ProofKind::Certificate),
            (format!("{identity}login = {{ }}"), ProofKind::Certificate),
            (
                format!("{identity}login = {{ user = 'u', password-file = '/p' }}"),
                ProofKind::Password,
            ),
        ];
        for (lines, kind) in rows {
            let login = route(&lines).unwrap().login.unwrap();
            assert_eq!(login.proof.kind(), kind, "{lines}");
            assert_eq!(login.mechanisms, Mechanisms::that_show(kind), "{lines}");
        }
        let narrowed =
            "login = { user = 'u', password-file = '/p', mechanisms = ['scram-sha-256', 'PLAIN'] }";
        let login = route(narrowed).unwrap().login.unwrap();
        assert_eq!(login.mechanisms.names(), "SCRAM-SHA-256, PLAIN");
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_a_remedy() {
        let token = "login = { user = 'u', token = { client-id = 'us', client-secret-file = '/s'";
        let plain = "login = { user = 'u', password-file = '/p'";
        let rows = [
            ("login = { user = 'u' }".to_owned(), "login.password-file: a login needs"),
            ("login = { password-file = '/p' }".to_owned(), "login.user: this key is required"),
            (format!("{plain}, token-file = '/t' }}"), "a login has one of"),
            (format!("{plain}, mechanisms = ['cram-md5'] }}"), "is no mechanism we know"),
            (format!("{plain}, mechanisms = ['xoauth2'] }}"), "XOAUTH2 cannot show"),
            (format!("{plain}, mechanisms = [] }}"), "name at least one"),
            (format!("{token} }} }}"), "login.token.url: this key is required"),
            (format!("{token}, url = 'http://i/t' }} }}"), "login.token.url: expected"),
            (format!("{token}, url = 'https://u@i/t' }} }}"), "login.token.url: expected"),
            (
                "login = { user = 'u', token = { url = 'https://i', client-id = 'us' } }"
                    .to_owned(),
                "a token is got by",
            ),
            ("client-certificate = '/c'".to_owned(), "set client-key"),
            ("client-key = '/k'".to_owned(), "set client-certificate"),
            ("pin = ['sha256:AAAA']".to_owned(), "route.pin: expected"),
            ("server-name = 'a b'".to_owned(), "route.server-name: expected"),
            (
                format!("tls = 'opportunistic'\n{plain} }}"),
                "a login needs a next hop that is proved",
            ),
            (format!("tls = 'none'\n{plain} }}"), "no login goes over a connection without TLS"),
            ("tls = 'opportunistic'\nca-file = '/c'".to_owned(), "no certificate is verified"),
            ("tls = 'none'\nserver-name = 'x.example'".to_owned(), "there is no certificate"),
        ];
        for (lines, expected) in rows {
            let problems = route(&lines).unwrap_err();
            assert!(problems.contains(expected), "{lines}: {problems}");
        }
    }

    #[test]
    fn keys_of_tls_are_read_and_a_pin_is_written_as_it_is_read() {
        let pin = "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let lines = format!("server-name = 'Smtp.example.net'\npin = ['{pin}']\ntls = 'implicit'");
        let route = route(&lines).unwrap();
        assert_eq!(route.server_name.as_deref(), Some("smtp.example.net"));
        assert_eq!(route.pins.iter().map(Pin::to_string).collect::<Vec<_>>(), [pin]);
        assert_eq!(route.tls, RouteTls::Implicit);
    }
}
