//! What a configuration may say and should mean: it is no error, and somebody should know.

use std::net::IpAddr;

use super::Config;
use super::alerts::ChannelKind;

/// Returns a sentence for each, beginning with the key.
pub(super) fn cautions(config: &Config) -> Vec<String> {
    let mut cautions = Vec::new();
    if let Some(metrics) = &config.metrics
        && !metrics.address.ip().is_loopback()
    {
        cautions.push(format!(
            "metrics.address: everybody who reaches {} sees names of interfaces, routes, tags and networks, in \
             the clear and without a login: let a firewall admit those who should, or listen on 127.0.0.1",
            metrics.address
        ));
    }
    if let Some(traces) = &config.traces
        && let Some(host) = in_the_clear(&traces.endpoint)
    {
        let secret = secret(traces.authorization_file.is_some());
        cautions.push(format!(
            "traces.endpoint: logins, domains and replies{secret} go to {host} in the clear: write https://, or \
             name a collector on this host"
        ));
    }
    for channel in &config.alerts.channels {
        if let ChannelKind::Webhook(hook) = &channel.kind
            && let Some(host) = in_the_clear(&hook.url)
        {
            let secret = secret(hook.authorization_file.is_some());
            cautions.push(format!(
                "alerts.webhook.url: the alerts of {}{secret} go to {host} in the clear: write https://, unless \
                 you trust the network",
                channel.name
            ));
        }
    }
    cautions
}

/// Returns what is said of a secret that goes along.
const fn secret(goes_along: bool) -> &'static str {
    if goes_along { ", and what authorization-file holds," } else { "" }
}

/// Returns the host of an address that leads off this machine without TLS.
fn in_the_clear(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("http://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let (name, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    // The last colon of an address of IPv6 in brackets is no port's.
    let host = if port.ends_with(']') { authority } else { name };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_own = bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    (!is_own).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_that_others_can_reach_are_named() {
        let text = include_str!("../../../config/sallyport.toml");
        let config = Config::parse(text).unwrap();
        assert!(cautions(&config).is_empty());
        let open = text.replace("\"127.0.0.1:9525\"", "\"[::]:9525\"");
        let said = cautions(&Config::parse(&open).unwrap());
        assert!(
            said[0].starts_with("metrics.address: everybody who reaches [::]:9525"),
            "{said:?}"
        );
    }

    #[test]
    fn only_a_collector_elsewhere_without_tls_is_named() {
        for (endpoint, named) in [
            ("http://127.0.0.1:4318/v1/traces", None),
            ("http://[::1]:4318/v1/traces", None),
            ("http://[::1]/v1/traces", None),
            ("http://localhost/v1/traces", None),
            ("https://otel.example.net/v1/traces", None),
            ("http://otel.example.net:4318/v1/traces", Some("otel.example.net")),
            ("http://[2001:db8::1]/v1/traces", Some("[2001:db8::1]")),
            ("http://127.0.0.1.example.net/v1/traces", Some("127.0.0.1.example.net")),
        ] {
            assert_eq!(in_the_clear(endpoint), named, "{endpoint}");
        }
        let text = include_str!("../../../config/sallyport.toml");
        let away = text.replace("http://127.0.0.1:4318", "http://192.0.2.9:4318");
        let said = cautions(&Config::parse(&away).unwrap());
        let all =
            "traces.endpoint: logins, domains and replies, and what authorization-file holds, go";
        assert!(said[0].starts_with(all), "{said:?}");
        let (before, _) =
            away.split_once("authorization-file = \"/etc/sallyport/secrets/otel\"").unwrap();
        let said = cautions(&Config::parse(before).unwrap());
        assert!(said[0].starts_with("traces.endpoint: logins, domains and replies go"), "{said:?}");
    }

    #[test]
    fn alerts_that_leave_the_host_in_the_clear_are_named() {
        let text = include_str!("../../../config/sallyport.toml");
        let away = text.replace("https://hooks.example.net/", "http://hooks.example.net/");
        let said = cautions(&Config::parse(&away).unwrap());
        let start = "alerts.webhook.url: the alerts of ops, and what authorization-file holds, go to \
                     hooks.example.net in the clear";
        assert!(said.len() == 1 && said[0].starts_with(start), "{said:?}");
    }
}
