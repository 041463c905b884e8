//! What a configuration may say and should mean: it is no error, and somebody should know.

use super::Config;

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
    cautions
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
}
