//! For whom the relay may ask for bans by itself.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::config::{Config, Who};

/// Whether a source may be banned without an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoBan {
    /// It may.
    On,
    /// Only an operator bans it.
    Off,
}

/// What a configuration says about that: `auto-ban` of the declared entry, else of the policy of
/// the entry's tag. Where neither says anything it is on for an entry of a single address: behind a
/// wider one a ban may hit a client that did nothing. Who may speak for others is never banned: all
/// for whom it speaks would be shut out.
#[derive(Debug, Default)]
pub struct AutoBans {
    entries: HashMap<IpNetwork, AutoBan>,
    tags: HashMap<String, AutoBan>,
    /// Those named in `proxy` and `xclient` of any listener.
    proxies: Vec<IpNetwork>,
}

impl AutoBans {
    /// Reads them from a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let entries = config.gate.allow.iter();
        let entries = entries.filter_map(|entry| Some((entry.cidr, written(entry.auto_ban?))));
        let tags = config.policies.iter().filter_map(|policy| match &policy.who {
            Who::Tag(tag) => Some((tag.clone(), written(policy.auto_ban?))),
            Who::Login(_) => None,
        });
        let proxies = config.listeners.iter().flat_map(|to| to.proxy.iter().chain(&to.xclient));
        Self {
            entries: entries.collect(),
            tags: tags.collect(),
            proxies: proxies.copied().collect(),
        }
    }

    /// Returns what holds for a client of this entry of the allowlist.
    #[must_use]
    pub fn of(&self, client: IpAddr, entry: IpNetwork, tag: Option<&str>) -> AutoBan {
        if self.proxies.iter().any(|proxy| proxy.contains(client)) {
            return AutoBan::Off;
        }
        let bits = if entry.is_ipv4() { 32 } else { 128 };
        let declared = self.entries.get(&entry);
        let said = declared.or_else(|| tag.and_then(|tag| self.tags.get(tag)));
        match said {
            Some(said) => *said,
            None if entry.prefix() == bits => AutoBan::On,
            None => AutoBan::Off,
        }
    }
}

const fn written(is_on: bool) -> AutoBan {
    if is_on { AutoBan::On } else { AutoBan::Off }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_says_it_then_its_tag_then_its_width() {
        let config = Config::parse(
            "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
             [gate]\ninterfaces = [\"eth0\"]\n\
             [[gate.allow]]\ncidr = \"192.0.2.1/32\"\nauto-ban = false\n\
             [[gate.allow]]\ncidr = \"192.0.2.2/32\"\ntag = \"off\"\nauto-ban = true\n\
             [[gate.allow]]\ncidr = \"198.51.100.0/24\"\nauto-ban = true\n\
             [[listener]]\naddress = \"[::]:2525\"\nproxy = [\"192.0.2.4/32\"]\n\
             [[policy]]\ntag = \"on\"\nsenders = [\"*\"]\nauto-ban = true\n\
             [[policy]]\ntag = \"off\"\nsenders = [\"*\"]\nauto-ban = false\n\
             [[policy]]\ntag = \"says nothing\"\nsenders = [\"*\"]\n",
        );
        let bans = AutoBans::new(&config.unwrap());
        for (entry, tag, wanted) in [
            ("192.0.2.1/32", None, AutoBan::Off),
            ("192.0.2.1/32", Some("on"), AutoBan::Off),
            ("192.0.2.2/32", Some("off"), AutoBan::On),
            ("198.51.100.0/24", None, AutoBan::On),
            ("198.51.100.0/25", None, AutoBan::Off),
            ("198.51.100.0/25", Some("on"), AutoBan::On),
            ("192.0.2.3/32", None, AutoBan::On),
            ("192.0.2.4/32", None, AutoBan::Off),
            ("192.0.2.4/32", Some("on"), AutoBan::Off),
            ("192.0.2.3/32", Some("says nothing"), AutoBan::On),
            ("192.0.2.3/32", Some("off"), AutoBan::Off),
            ("2001:db8::1/128", None, AutoBan::On),
            ("2001:db8::/64", None, AutoBan::Off),
        ] {
            let entry: IpNetwork = entry.parse().unwrap();
            assert_eq!(bans.of(entry.ip(), entry, tag), wanted, "{entry} {tag:?}");
        }
    }
}
