//! Gets a token from its issuer (RFC 6749), by a refresh token (section 6) or by the client's own
//! credentials (section 4.4). One request, one answer; it blocks.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::Body;
use zeroize::Zeroizing;

use super::secret::SECRET_MAX;
use crate::config::TokenIssuer;
use crate::delivery::login::Secret;
use crate::http::{self, Wire};
use crate::smtp::answer::printable;

/// How long a whole request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// The largest answer, octets.
const ANSWER_MAX: u64 = 64 << 10;
/// How long a token lives whose issuer does not say.
const UNTOLD: Duration = Duration::from_secs(300);
/// The longest time that is believed.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The most octets of an issuer's own words that are told.
const WORDS_MAX: usize = 200;

/// What we show an issuer.
pub(super) struct Means {
    /// Our secret.
    pub(super) secret: Option<Secret>,
    /// The refresh token.
    pub(super) refresh: Option<Secret>,
}

/// What an issuer gives.
pub(super) struct Grant {
    /// The token.
    pub(super) token: Secret,
    /// How long it lives.
    pub(super) lives: Duration,
    /// A refresh token in place of ours.
    pub(super) refresh: Option<Secret>,
}

/// Why there is no token, in words that name the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It cannot be reached, or does not do now what it should.
    Away(String),
    /// It does not want us: somebody has to act.
    Refused(String),
}

/// The answer that gives a token (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Given {
    access_token: Zeroizing<String>,
    token_type: String,
    expires_in: Option<Seconds>,
    refresh_token: Option<Zeroizing<String>>,
}

/// Some issuers write the number as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

/// The answer that gives none (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Fault {
    error: String,
    error_description: Option<String>,
}

/// Gets a token. Blocks for at most 30 s.
pub(super) fn get(issuer: &TokenIssuer, means: &Means) -> Result<Grant, Denied> {
    let away = |words: String| Denied::Away(format!("{} {words}", issuer.url));
    let mut request = http::agent(issuer.ca_file.as_deref(), Wire::Tls, REQUEST)
        .map_err(Denied::Away)?
        .post(&issuer.url)
        .header("Accept", "application/json")
        .content_type("application/x-www-form-urlencoded");
    if let Some(secret) = &means.secret {
        request = request.header("Authorization", basic(&issuer.client_id, secret).as_str());
    }
    let form = form(issuer, means);
    let answer = request.send(&form[..]);
    let mut answer = answer.map_err(|error| away(format!("cannot be reached: {error}")))?;
    let status = answer.status().as_u16();
    let text = body(answer.body_mut()).map_err(|error| away(format!("gave no answer: {error}")))?;
    if status == 200 { granted(&text).map_err(away) } else { Err(denied(issuer, status, &text)) }
}

/// Writes what is asked, reserved in one go.
fn form(issuer: &TokenIssuer, means: &Means) -> Secret {
    let grant = if means.refresh.is_some() { "refresh_token" } else { "client_credentials" };
    let fields: [(&str, Option<&[u8]>); 4] = [
        ("grant_type", Some(grant.as_bytes())),
        ("client_id", Some(issuer.client_id.as_bytes())),
        ("refresh_token", means.refresh.as_ref().map(|token| &token[..])),
        ("scope", issuer.scope.as_ref().map(String::as_bytes)),
    ];
    let most = fields.iter().map(|(name, value)| name.len() + 2 + 3 * value.map_or(0, <[u8]>::len));
    let mut form = Secret::new(Vec::with_capacity(most.sum()));
    for (name, value) in fields {
        let Some(value) = value else { continue };
        if !form.is_empty() {
            form.push(b'&');
        }
        form.extend_from_slice(name.as_bytes());
        form.push(b'=');
        encode(value, &mut form);
    }
    form
}

/// Writes our name and secret for HTTP Basic, each encoded as in a form first (RFC 6749, section
/// 2.3.1).
fn basic(client: &str, secret: &[u8]) -> Zeroizing<String> {
    let mut both = Zeroizing::new(Vec::with_capacity(3 * (client.len() + secret.len()) + 1));
    encode(client.as_bytes(), &mut both);
    both.push(b':');
    encode(secret, &mut both);
    let encoded = Zeroizing::new(STANDARD.encode(&*both));
    Zeroizing::new(["Basic ", encoded.as_str()].concat())
}

/// Encodes a value of a form (RFC 6749, appendix B).
fn encode(value: &[u8], into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for octet in value {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                into.push(*octet);
            }
            b' ' => into.push(b'+'),
            _ => into.extend([b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]),
        }
    }
}

fn body(body: &mut Body) -> Result<Secret, ureq::Error> {
    body.with_config().limit(ANSWER_MAX).read_to_vec().map(Secret::new)
}

/// Reads an answer that gives a token.
fn granted(text: &[u8]) -> Result<Grant, String> {
    let given: Given = serde_json::from_slice(text)
        .map_err(|_| "gave an answer of success without a token: is it a token endpoint?")?;
    if !given.token_type.eq_ignore_ascii_case("bearer") {
        let kind = printable(given.token_type.as_bytes(), WORDS_MAX);
        return Err(format!("gave a token of the kind {kind}, and mechanisms show Bearer only"));
    }
    let is_token = |token: &Zeroizing<String>| {
        (1..=SECRET_MAX).contains(&token.len())
            && token.bytes().all(|octet| octet.is_ascii_graphic())
    };
    if !is_token(&given.access_token) || !given.refresh_token.iter().all(is_token) {
        return Err("gave a token that is no visible text of at most 8192 octets".to_owned());
    }
    let lives = match given.expires_in {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => text.parse().ok(),
        None => None,
    };
    let octets = |text: &Zeroizing<String>| Secret::new(text.as_bytes().to_vec());
    Ok(Grant {
        token: octets(&given.access_token),
        lives: lives.map_or(UNTOLD, Duration::from_secs).min(LIFE_MAX),
        refresh: given.refresh_token.as_ref().map(octets),
    })
}

/// Says why there is no token and what to do about it (RFC 6749, section 5.2).
fn denied(issuer: &TokenIssuer, status: u16, text: &[u8]) -> Denied {
    let url = &issuer.url;
    let Ok(Fault { error, error_description }) = serde_json::from_slice(text) else {
        return Denied::Away(format!("{url} answered with HTTP status {status}"));
    };
    let mut said = printable(error.as_bytes(), WORDS_MAX);
    if let Some(more) = error_description {
        said = format!("{said} ({})", printable(more.as_bytes(), WORDS_MAX));
    }
    let remedy = match (error.as_str(), &issuer.refresh_token_file) {
        ("invalid_grant", Some(path)) => {
            format!("put a new refresh token into {}", path.display())
        }
        ("invalid_client", _) => "see to `client-id` and `client-secret-file`".to_owned(),
        ("invalid_scope", _) => "see to `scope`".to_owned(),
        ("unauthorized_client" | "unsupported_grant_type" | "invalid_grant", _) => {
            "the client must be permitted this kind of grant there".to_owned()
        }
        ("invalid_request", _) => "see to the keys of [route.login.token]".to_owned(),
        _ => return Denied::Away(format!("{url} answered {status} {said}")),
    };
    Denied::Refused(format!("{url} answered {status} {said}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> TokenIssuer {
        TokenIssuer {
            url: "https://i.example.net/token".into(),
            client_id: "us & them".into(),
            client_secret_file: None,
            refresh_token_file: Some("/r".into()),
            scope: Some("smtp.send offline".into()),
            ca_file: None,
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_form_says_which_grant_is_asked_for() {
        let rows = [
            (
                Some(secret("r/1+")),
                "grant_type=refresh_token&client_id=us+%26+them&refresh_token=r%2F1%2B&\
                 scope=smtp.send+offline",
            ),
            (None, "grant_type=client_credentials&client_id=us+%26+them&scope=smtp.send+offline"),
        ];
        for (refresh, expected) in rows {
            let form = form(&issuer(), &Means { secret: None, refresh });
            assert_eq!(String::from_utf8_lossy(&form), expected);
        }
        let both = basic("us", b"a:b");
        assert_eq!(STANDARD.decode(both.strip_prefix("Basic ").unwrap()).unwrap(), b"us:a%3Ab");
    }

    #[test]
    fn an_answer_gives_a_token_or_is_none() {
        type Row<'a> = (&'a str, Result<(&'a str, u64, Option<&'a str>), &'a str>);
        let rows: &[Row<'_>] = &[
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":3600,"refresh_token":"n"}"#,
                Ok(("t", 3600, Some("n"))),
            ),
            (
                r#"{"access_token":"t","token_type":"bearer","expires_in":"60","more":1}"#,
                Ok(("t", 60, None)),
            ),
            (r#"{"access_token":"t","token_type":"Bearer"}"#, Ok(("t", 300, None))),
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":99999999999}"#,
                Ok(("t", 86_400, None)),
            ),
            (r#"{"access_token":"t","token_type":"mac"}"#, Err("the kind mac")),
            (r#"{"access_token":"","token_type":"Bearer"}"#, Err("no visible text")),
            (r#"{"access_token":"a b","token_type":"Bearer"}"#, Err("no visible text")),
            (
                r#"{"access_token":"a","token_type":"Bearer","refresh_token":"\n"}"#,
                Err("no visible text"),
            ),
            ("<html>", Err("is it a token endpoint?")),
        ];
        for (text, expected) in rows {
            let got = granted(text.as_bytes());
            match (got, expected) {
                (Ok(grant), Ok((token, seconds, refresh))) => {
                    assert_eq!(&grant.token[..], token.as_bytes(), "{text}");
                    assert_eq!(grant.lives.as_secs(), *seconds, "{text}");
                    assert_eq!(grant.refresh, refresh.map(secret), "{text}");
                }
                (Err(words), Err(expected)) => assert!(words.contains(expected), "{text}: {words}"),
                (got, _) => panic!("{text}: {:?}", got.map(|grant| grant.lives)),
            }
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_and_what_passes_is_told_from_it() {
        let fault = |error: &str| format!(r#"{{"error":"{error}","error_description":"gone\n"}}"#);
        let refused = [
            ("invalid_grant", "400 invalid_grant (gone?): put a new refresh token into /r"),
            ("invalid_client", "see to `client-id`"),
            ("invalid_scope", "see to `scope`"),
            ("unauthorized_client", "must be permitted"),
        ];
        for (error, expected) in refused {
            match denied(&issuer(), 400, fault(error).as_bytes()) {
                Denied::Refused(words) => assert!(words.contains(expected), "{error}: {words}"),
                Denied::Away(words) => panic!("{error}: {words}"),
            }
        }
        for (status, text) in [(503, fault("temporarily_unavailable")), (500, "<html>".to_owned())]
        {
            let denied = denied(&issuer(), status, text.as_bytes());
            assert!(matches!(&denied, Denied::Away(words) if words.contains(&status.to_string())));
        }
    }
}
