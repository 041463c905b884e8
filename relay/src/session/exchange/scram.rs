//! The messages of SCRAM, read before rsasl sees them (RFC 5802, section 7).
//!
//! rsasl 2.3 indexes past the end of short messages, takes a binding flag that does not fit the
//! mechanism, and asks for keys in the middle of a step. So each message is read strictly here, and
//! its name is known early enough to look the keys up.

use super::mechanism::Binding;

/// The longest name or nonce, octets as written. Ours are far shorter.
const PART_MAX: usize = 512;
/// The longest binding or proof, octets of base64.
const VALUE_MAX: usize = 1024;
/// The one kind of channel binding that is offered (RFC 9266, section 2).
const BINDING: &str = "tls-exporter";

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScramFault {
    /// It does not follow the grammar.
    Grammar,
    /// Its word on channel binding does not fit the mechanism or what was offered: the sign of
    /// somebody in between who took offers away (RFC 5802, section 6).
    Binding,
}

/// What the first message of a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    /// The login, unescaped; any text.
    pub(super) login: String,
    /// Whom the client wants to be.
    pub(super) acts_as: Option<String>,
}

/// Whether the session offers mechanisms with channel binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offers {
    /// It does: a client that could and did not was deceived.
    Binding,
    /// It does not.
    NoBinding,
}

/// Reads `gs2-header client-first-message-bare`. Extensions are refused: rsasl would leave them
/// out of what both sides sign.
pub(super) fn client_first(
    message: &[u8],
    binding: Binding,
    offers: Offers,
) -> Result<ClientFirst, ScramFault> {
    let message = std::str::from_utf8(message).map_err(|_| ScramFault::Grammar)?;
    let parts: Vec<&str> = message.splitn(6, ',').collect();
    let [flag, acts_as, name, nonce] = parts[..] else { return Err(ScramFault::Grammar) };
    match (flag, binding, offers) {
        ("n", Binding::Unbound, _) | ("y", Binding::Unbound, Offers::NoBinding) => {}
        ("y" | "n", _, _) => return Err(ScramFault::Binding),
        _ => match (flag.strip_prefix("p="), binding) {
            (Some(BINDING), Binding::Bound) => {}
            (Some(name), _) if is_binding_name(name) => return Err(ScramFault::Binding),
            (Some(_) | None, _) => return Err(ScramFault::Grammar),
        },
    }
    // An empty name is none by the grammar, and what GNU SASL sends for some of its callers.
    let acts_as = match acts_as {
        "" | "a=" => None,
        named => Some(saslname(named.strip_prefix("a=").ok_or(ScramFault::Grammar)?)?),
    };
    let login = saslname(name.strip_prefix("n=").ok_or(ScramFault::Grammar)?)?;
    let nonce = nonce.strip_prefix("r=").ok_or(ScramFault::Grammar)?;
    if !is_printable(nonce, PART_MAX) {
        return Err(ScramFault::Grammar);
    }
    Ok(ClientFirst { login, acts_as })
}

/// Tells whether `message` is `c=… , r=… , p=…` (RFC 5802, section 7).
pub(super) fn is_client_final(message: &[u8]) -> bool {
    let Ok(message) = std::str::from_utf8(message) else { return false };
    let parts: Vec<&str> = message.splitn(4, ',').collect();
    let [binding, nonce, proof] = parts[..] else { return false };
    let stands = |part: &str, name: &str, max: usize| {
        part.strip_prefix(name).is_some_and(|value| is_printable(value, max))
    };
    stands(binding, "c=", VALUE_MAX)
        && stands(nonce, "r=", 2 * PART_MAX)
        && stands(proof, "p=", VALUE_MAX)
}

/// Tells whether `text` is 1 to `max` visible octets of US-ASCII.
fn is_printable(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_binding_name(name: &str) -> bool {
    is_printable(name, PART_MAX)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

/// Undoes the escapes of a name: `=2C` is a comma, `=3D` an equals sign, and nothing else is
/// escaped (RFC 5802, section 5.1).
fn saslname(written: &str) -> Result<String, ScramFault> {
    if !(1..=PART_MAX).contains(&written.len()) || written.contains('\0') {
        return Err(ScramFault::Grammar);
    }
    let mut pieces = written.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(ScramFault::Grammar),
        };
        name.push(letter);
        name.push_str(rest);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Result<ClientFirst, ScramFault> {
        client_first(message.as_bytes(), Binding::Unbound, Offers::Binding)
    }

    #[test]
    fn names_are_unescaped() {
        for (message, login, acts_as) in [
            ("n,,n=user,r=abc", "user", None),
            ("n,a=adm=2Cin,n=us=3Der,r=a", "us=er", Some("adm,in")),
            ("n,,n=ü,r=!~", "ü", None),
            ("n,a=,n=user,r=a", "user", None),
        ] {
            let read = read(message).expect(message);
            assert_eq!((read.login.as_str(), read.acts_as.as_deref()), (login, acts_as));
        }
    }

    #[test]
    fn messages_that_rsasl_would_panic_at_are_refused() {
        for message in [
            "n,x,n=u,r=a",
            "n,,n",
            "n,,",
            "n,,n=u,r",
            "n",
            "",
            ",",
            ",,,",
            "n,,n=u",
            "n,,n=,r=a",
            "n,,n=u,r=",
            "n,,n=u,r=\u{e9}",
            "n,,n=u,r= ",
            "n,,m=x,n=u,r=a",
            "n,,n=u,r=a,x=1",
            "n,,n=u=,r=a",
            "n,,n=u=2c,r=a",
            "n,,n=u=20,r=a",
            "n,a,n=u,r=a",
            "x,,n=u,r=a",
            "p,,n=u,r=a",
            "p=,,n=u,r=a",
            "p=a b,,n=u,r=a",
            "n,,r=a,n=u",
        ] {
            assert_eq!(read(message), Err(ScramFault::Grammar), "{message}");
        }
        let long = format!("n,,n={},r=a", "u".repeat(PART_MAX + 1));
        assert_eq!(read(&long), Err(ScramFault::Grammar));
        assert_eq!(
            client_first(b"n,,n=\xff,r=a", Binding::Unbound, Offers::Binding),
            Err(ScramFault::Grammar)
        );
    }

    #[test]
    fn the_binding_flag_fits_the_mechanism_and_the_offer() {
        use Binding::{Bound, Unbound};
        for (flag, binding, offers, fits) in [
            ("n", Unbound, Offers::Binding, true),
            ("n", Unbound, Offers::NoBinding, true),
            ("y", Unbound, Offers::NoBinding, true),
            ("y", Unbound, Offers::Binding, false),
            ("p=tls-exporter", Unbound, Offers::Binding, false),
            ("p=tls-exporter", Bound, Offers::Binding, true),
            ("p=tls-unique", Bound, Offers::Binding, false),
            ("p=tls-server-end-point", Bound, Offers::Binding, false),
            ("n", Bound, Offers::Binding, false),
            ("y", Bound, Offers::Binding, false),
        ] {
            let message = format!("{flag},,n=u,r=a");
            let fault = client_first(message.as_bytes(), binding, offers).err();
            let expected = (!fits).then_some(ScramFault::Binding);
            assert_eq!(fault, expected, "{flag} {binding:?} {offers:?}");
        }
    }

    #[test]
    fn a_final_message_has_its_three_parts_and_no_more() {
        for (message, is_one) in [
            ("c=biws,r=abc,p=AAAA", true),
            ("c=biws,r=abc", false),
            ("c=biws,r=abc,p=", false),
            ("c=biws,r=abc,p", false),
            ("c,r,p", false),
            ("r=abc,c=biws,p=AAAA", false),
            ("c=biws,r=abc,x=1,p=AAAA", false),
            ("c=biws,r=abc,m=1,p=AAAA", false),
            ("c=biws,r=abc,p=AA AA", false),
            ("", false),
        ] {
            assert_eq!(is_client_final(message.as_bytes()), is_one, "{message}");
        }
        assert!(!is_client_final(b"c=biws,r=\xff,p=AAAA"));
    }
}
