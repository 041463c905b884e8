//! XCLIENT: what a filter says of the client that it speaks for (postfix.org, XCLIENT_README).
//!
//! Not here: who may say so, and what follows (`session::xclient`). LOGIN is not read: a login is always
//! proved to us. Nor are DESTADDR and DESTPORT: nothing depends on where the client connected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::command::{ArgumentError, is_client_name};
use super::parameter::once;
use super::xtext;

/// The attributes that are read, as EHLO lists them.
pub const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO";

/// The value of an attribute that has none.
const UNAVAILABLE: &str = "[UNAVAILABLE]";
/// The same for a name that may be known later.
const TEMPORARILY: &str = "[TEMPUNAVAIL]";
/// What stands before an IPv6 address.
const IPV6: &str = "IPV6:";

/// What is said of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// This is its value.
    Known(T),
    /// It has none.
    Unknown,
}

impl<T> Said<T> {
    /// Returns the value, if there is one.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

/// How the client spoke to the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// After HELO.
    Smtp,
    /// After EHLO.
    Esmtp,
}

/// The attributes of one XCLIENT, at least one; none: nothing is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The client's host name: a domain of at most 255 octets.
    pub name: Option<Said<String>>,
    /// The client's address; IPv4 is never written as IPv6.
    pub address: Option<Said<IpAddr>>,
    /// The client's port. Read for its syntax; we write ports nowhere.
    pub port: Option<Said<u16>>,
    /// How the client spoke. Read for its syntax: a trace says how we were spoken to.
    pub protocol: Option<Protocol>,
    /// The client's name for itself: a domain or an address literal.
    pub hello: Option<Said<String>>,
}

impl Announcement {
    /// Reads ` name=value` once or more; names in any case, values in xtext.
    ///
    /// # Errors
    ///
    /// `Syntax` for another attribute or none, `Value` for a bad value or a second one of the same name:
    /// both 501 5.5.4.
    pub fn read(rest: &str) -> Result<Self, ArgumentError> {
        let mut said = Self::default();
        let attributes = rest.strip_prefix(' ').ok_or(ArgumentError::Syntax)?;
        for attribute in attributes.split(' ') {
            let (name, value) = attribute.split_once('=').ok_or(ArgumentError::Syntax)?;
            let value = xtext::decode(value).ok_or(ArgumentError::Value)?;
            match name.to_ascii_uppercase().as_str() {
                "NAME" => once(&mut said.name, host_name(&value))?,
                "ADDR" => once(&mut said.address, or_unknown(&value, address))?,
                "PORT" => once(&mut said.port, or_unknown(&value, port))?,
                "PROTO" => once(&mut said.protocol, protocol(&value))?,
                "HELO" => once(&mut said.hello, or_unknown(&value, client_name))?,
                _ => return Err(ArgumentError::Syntax),
            }
        }
        Ok(said)
    }
}

fn or_unknown<T>(value: &str, read: impl Fn(&str) -> Option<T>) -> Option<Said<T>> {
    if value.eq_ignore_ascii_case(UNAVAILABLE) {
        Some(Said::Unknown)
    } else {
        read(value).map(Said::Known)
    }
}

fn host_name(value: &str) -> Option<Said<String>> {
    if value.eq_ignore_ascii_case(TEMPORARILY) {
        return Some(Said::Unknown);
    }
    // An address literal is no name: what is known of the address is said by ADDR.
    or_unknown(value, |value| client_name(value).filter(|name| !name.starts_with('[')))
}

fn client_name(value: &str) -> Option<String> {
    is_client_name(value).then(|| value.to_owned())
}

/// Reads an address without brackets.
fn address(value: &str) -> Option<IpAddr> {
    match value.get(..IPV6.len()) {
        Some(tag) if tag.eq_ignore_ascii_case(IPV6) => {
            let v6: Ipv6Addr = value[IPV6.len()..].parse().ok()?;
            Some(v6.to_canonical())
        }
        Some(_) | None => value.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Reads a port from 1 on, without leading zeros.
fn port(value: &str) -> Option<u16> {
    let plain = !value.starts_with('0') && value.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| value.parse().ok()).flatten()
}

fn protocol(value: &str) -> Option<Protocol> {
    match value.to_ascii_uppercase().as_str() {
        "SMTP" => Some(Protocol::Smtp),
        "ESMTP" => Some(Protocol::Esmtp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(text: &str) -> Said<String> {
        Said::Known(text.to_owned())
    }

    fn at(address: &str) -> Said<IpAddr> {
        Said::Known(address.parse().unwrap())
    }

    #[test]
    fn attributes_are_read_in_any_order_and_case() {
        let none = Announcement::default;
        let whole = Announcement {
            name: Some(known("spike.example.org")),
            address: Some(at("203.0.113.7")),
            port: Some(Said::Known(56324)),
            protocol: Some(Protocol::Esmtp),
            hello: Some(known("[203.0.113.7]")),
        };
        for (text, expected) in [
            (
                " NAME=spike.example.org ADDR=203.0.113.7 PORT=56324 PROTO=ESMTP HELO=[203.0.113.7]",
                whole.clone(),
            ),
            (
                " helo=+5B203.0.113.7+5D proto=esmtp port=56324 addr=203.0.113.7 name=spike+2Eexample.org",
                whole,
            ),
            (" ADDR=IPV6:2001:db8::7", Announcement { address: Some(at("2001:db8::7")), ..none() }),
            (
                " ADDR=ipv6:::ffff:203.0.113.7",
                Announcement { address: Some(at("203.0.113.7")), ..none() },
            ),
            (" ADDR=[unavailable]", Announcement { address: Some(Said::Unknown), ..none() }),
            (" NAME=[TempUnavail]", Announcement { name: Some(Said::Unknown), ..none() }),
            (" NAME=[UNAVAILABLE]", Announcement { name: Some(Said::Unknown), ..none() }),
            (" PORT=[UNAVAILABLE]", Announcement { port: Some(Said::Unknown), ..none() }),
            (" HELO=[UNAVAILABLE]", Announcement { hello: Some(Said::Unknown), ..none() }),
            (" HELO=web_1", Announcement { hello: Some(known("web_1")), ..none() }),
            (" PROTO=smtp", Announcement { protocol: Some(Protocol::Smtp), ..none() }),
        ] {
            assert_eq!(Announcement::read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_or_said_twice_is_refused() {
        use ArgumentError::{Syntax, Value};
        let long = format!(" NAME={}", vec!["a"; 129].join("."));
        for (text, error) in [
            ("", Syntax),
            (" ", Syntax),
            ("ADDR=203.0.113.7", Syntax),
            (" ADDR", Syntax),
            (" ADDR=203.0.113.7  PORT=1", Syntax),
            (" LOGIN=joe", Syntax),
            (" DESTADDR=192.0.2.1", Syntax),
            (" ADDR=203.0.113.7 ADDR=203.0.113.7", Value),
            (" NAME=a.example.org name=b.example.org", Value),
            (" ADDR=", Value),
            (" ADDR=[203.0.113.7]", Value),
            (" ADDR=203.0.113.07", Value),
            (" ADDR=2001:db8::7", Value),
            (" ADDR=IPV6:203.0.113.7", Value),
            (" ADDR=IPV6:2001:db8::7%eth0", Value),
            (" ADDR=[TEMPUNAVAIL]", Value),
            (" ADDR=spike.example.org", Value),
            (" NAME=[203.0.113.7]", Value),
            (" NAME=a+0D+0Ab", Value),
            (" NAME=a+20b", Value),
            (" NAME=a=b", Value),
            (" NAME=\u{fc}.example.org", Value),
            (&long, Value),
            (" HELO=a)(b", Value),
            (" PORT=0", Value),
            (" PORT=025", Value),
            (" PORT=65536", Value),
            (" PORT=+2B1", Value),
            (" PROTO=LMTP", Value),
            (" PROTO=[UNAVAILABLE]", Value),
        ] {
            assert_eq!(Announcement::read(text), Err(error), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics_and_what_is_taken_can_stand_in_a_trace(
            text in "\\PC{0,60}|( (NAME|ADDR|PORT|PROTO|HELO)=([A-Z+0-9:.\\[\\]]{0,20}|\\PC{0,9})){1,6}",
        ) {
            if let Ok(said) = Announcement::read(&text) {
                for name in [said.name, said.hello].into_iter().flatten().filter_map(Said::known) {
                    prop_assert!(name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic()));
                    prop_assert!(!name.contains(['(', ')', '<', '>', '"', ';', '@']));
                }
            }
        }

        #[test]
        fn every_address_is_read_back(v4: u32, v6: u128) {
            let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
            let read = |text: String| Announcement::read(&text).unwrap().address.unwrap().known();
            prop_assert_eq!(read(format!(" ADDR={v4}")), Some(IpAddr::V4(v4)));
            prop_assert_eq!(read(format!(" ADDR=IPv6:{v6}")), Some(v6.to_canonical()));
        }
    }
}
