//! Who may look at the page, and what browsers are told with every answer.
//!
//! A page on loopback can be reached by every site that the operator's browser visits: by a name that the
//! site lets lead to 127.0.0.1, or by a request from its own pages. Both are refused here. The page sets no
//! cookie; it knows a viewer by HTTP Basic (RFC 7617), checked where clients' logins are, with their limits.

use std::net::IpAddr;

use aws_lc_rs::rand;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Page;
use super::refusal::Refusal;
use crate::api::server::Visitor;
use crate::config;
use crate::session::{Credentials, Proof, Verdict};

/// The rules for a browser that shows the page: its own files and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The longest credentials that are looked at, octets of base64.
const CREDENTIALS_MAX: usize = 1024;

/// What every answer tells a browser, unless it says something else itself.
const TOLD: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("x-dns-prefetch-control"), "off"),
];

/// Who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Viewer {
    /// The login; none where the page asks for none.
    pub login: Option<String>,
    /// Where the request came from.
    pub source: IpAddr,
}

/// Lets in whoever may look.
pub(super) async fn enter(State(page): State<Page>, mut request: Request, next: Next) -> Response {
    let admitted = match check(&page, &request) {
        Ok(source) => recognise(&page, request.headers(), source).await,
        Err(refusal) => Err(refusal),
    };
    let answer = match admitted {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    told(answer)
}

fn told(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in TOLD {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Returns where a request came from that the page may answer.
fn check(page: &Page, request: &Request) -> Result<IpAddr, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the page can only be looked at"));
    }
    let headers = request.headers();
    if !is_ours(headers.get(header::HOST), page.settings(), page.hostname()) {
        let problem = "the page has no such name: call it by an address, by localhost, by the hostname of the \
                       configuration, or name it in page.names";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, problem));
    }
    if !is_own_request(request.uri().path(), headers) {
        let problem = "another site asked for this: open the page by its own address";
        return Err(Refusal::new(StatusCode::FORBIDDEN, problem));
    }
    let Some(Visitor(visitor)) = request.extensions().get::<Visitor>() else {
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the server names no visitor"));
    };
    Ok(visitor.ip().to_canonical())
}

/// Tells whether a name by which the page was called is one of its own. An address always is: no site can
/// have it lead elsewhere.
fn is_ours(host: Option<&HeaderValue>, settings: &config::Page, hostname: &str) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
        || ["localhost", hostname]
            .into_iter()
            .chain(settings.names.iter().map(String::as_str))
            .any(|ours| ours.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Tells whether a request was made by the page itself or by a person: browsers say so (Fetch Metadata).
/// Other programs say nothing.
fn is_own_request(path: &str, headers: &HeaderMap) -> bool {
    let says = |name: &str, words: &[&str]| {
        headers.get(name).is_some_and(|value| words.iter().any(|word| value == word))
    };
    let is_link = path == "/" && says("sec-fetch-mode", &["navigate"]);
    !headers.contains_key("sec-fetch-site")
        || says("sec-fetch-site", &["same-origin", "none"])
        || is_link && says("sec-fetch-dest", &["document"])
}

/// Finds out who looks. Every failure costs the same and counts as one of a client does, also that of a
/// login which may not look: nobody learns from it which logins there are, and which password is right.
async fn recognise(page: &Page, headers: &HeaderMap, source: IpAddr) -> Result<Viewer, Refusal> {
    let viewers = &page.settings().viewers;
    if viewers.is_empty() {
        return Ok(Viewer { login: None, source });
    }
    let unknown = || {
        let problem = "a login that page.viewers names and its password are needed";
        let challenge = "Basic realm=\"Sallyport\", charset=\"UTF-8\"";
        Refusal::new(StatusCode::UNAUTHORIZED, problem).with(header::WWW_AUTHENTICATE, challenge)
    };
    let mut shown = headers.get(header::AUTHORIZATION).and_then(credentials).ok_or_else(unknown)?;
    if !viewers.contains(&shown.login) {
        shown.password = no_password();
        // Its failures here are none of it as a client. The name has to be one of a login: what cannot be one counts
        // together, by which viewers could be told from others.
        shown.login = format!("page:{:.59}", shown.login);
    }
    let login = shown.login.clone();
    match page.logins().verify(source, Proof::Password(shown)).await {
        Verdict::Granted(login) if viewers.contains(&login) => {
            Ok(Viewer { login: Some(login), source })
        }
        Verdict::Granted(_) | Verdict::Denied => Err(unknown()),
        Verdict::Later | Verdict::Crowded => {
            Err(put_off(page.logins().has_to_wait(source, &login)))
        }
    }
}

/// Returns a password that nobody has. Of a login that may not look the right one is not to be found here: it
/// would be granted, which takes back what failed before and is remembered, so that it also answers sooner.
fn no_password() -> Zeroizing<Vec<u8>> {
    let mut octets = Zeroizing::new(vec![0; 32]);
    rand::fill(&mut octets).expect("invariant: the operating system gives random numbers");
    octets
}

/// Says when to ask again, whose fault it is: the login's, which failed too often, or that of a crowd.
fn put_off(has_to_wait: bool) -> Refusal {
    let (status, problem, seconds) = if has_to_wait {
        let problem = "this login failed too often from this address";
        (StatusCode::TOO_MANY_REQUESTS, problem, "60")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "too many logins are checked now", "2")
    };
    Refusal::new(status, problem).with(header::RETRY_AFTER, seconds)
}

/// Reads what a browser shows (RFC 7617, section 2).
fn credentials(shown: &HeaderValue) -> Option<Credentials> {
    let (scheme, encoded) = shown.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > CREDENTIALS_MAX {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let login = std::str::from_utf8(&pair[..colon]).ok()?.to_owned();
    let password = Zeroizing::new(pair[colon + 1..].to_vec());
    Some(Credentials { login, password, acts_as: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(names: &[&str]) -> config::Page {
        let address = "127.0.0.1:9526".parse().unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        config::Page { address, viewers: Vec::new(), names }
    }

    #[test]
    fn only_its_own_names_and_addresses_lead_to_the_page() {
        let settings = settings(&["status.example.net"]);
        for (host, ours) in [
            ("127.0.0.1:9526", true),
            ("127.0.0.1", true),
            ("[::1]:9526", true),
            ("[::1]", true),
            ("192.0.2.1:9526", true),
            ("localhost:8000", true),
            ("LocalHost", true),
            ("relay.example.net", true),
            ("Status.Example.net:443", true),
            ("rebound.example.com:9526", false),
            ("127.0.0.1.example.com", false),
            ("localhost.example.com", false),
            ("", false),
            (":9526", false),
            ("localhost:9526@example.com", false),
        ] {
            let value = HeaderValue::from_str(host).unwrap();
            assert_eq!(is_ours(Some(&value), &settings, "relay.example.net"), ours, "{host}");
        }
        assert!(!is_ours(None, &settings, "relay.example.net"));
    }

    #[test]
    fn other_sites_can_lead_a_person_here_and_fetch_nothing() {
        for (path, site, mode, dest, own) in [
            ("/api/state", "same-origin", "cors", "empty", true),
            ("/api/captured/1/html", "same-origin", "navigate", "iframe", true),
            ("/", "none", "navigate", "document", true),
            ("/", "cross-site", "navigate", "document", true),
            ("/", "cross-site", "navigate", "iframe", false),
            ("/", "cross-site", "no-cors", "image", false),
            ("/api/state", "cross-site", "navigate", "document", false),
            ("/api/state", "same-site", "cors", "empty", false),
            ("/page.js", "cross-site", "no-cors", "script", false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in
                [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
            {
                headers.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(is_own_request(path, &headers), own, "{path} {site} {mode} {dest}");
        }
        assert!(is_own_request("/api/state", &HeaderMap::new()), "curl says nothing");
    }

    #[test]
    fn a_crowd_is_told_from_a_login_that_has_to_wait() {
        for (has_to_wait, status, seconds) in [(true, 429, "60"), (false, 503, "2")] {
            let answer = put_off(has_to_wait).into_response();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[header::RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn credentials_are_read_up_to_the_first_colon_and_nothing_else_is() {
        let read = |text: &str| {
            let shown = credentials(&HeaderValue::from_str(text).unwrap())?;
            Some((shown.login.clone(), shown.password.to_vec()))
        };
        let pair = |login: &str, password: &str| Some((login.to_owned(), password.into()));
        assert_eq!(read("Basic b3BzOmE6Yg=="), pair("ops", "a:b"));
        assert_eq!(read("basic b3BzOg=="), pair("ops", ""));
        for no in ["Bearer b3BzOmE6Yg==", "Basic b3Bz", "Basic ?", "Basic", "", "Basic /zphCg=="] {
            assert_eq!(read(no), None, "{no}");
        }
        assert_eq!(read(&format!("Basic {}", "b3Bz".repeat(300))), None);
    }
}
