//! Configurations for the tests of this room.

use crate::config::Config;

/// Two routes by domain, and one for the rest.
pub const ROUTES: &str = "[[route]]\nname = \"one\"\ndomains = [\"example.com\"]\n\
                          hosts = [\"mx.example.com:25\"]\n\
                          [[route]]\nname = \"two\"\ndomains = [\"example.org\"]\n\
                          hosts = [\"mx.example.org:25\"]\n\
                          [[route]]\nname = \"rest\"\ndefault = true\n\
                          hosts = [\"out.example.net:25\"]\n";

/// Returns a configuration with [`ROUTES`] and policies: `tag` or `login`, its name, more lines.
/// Lines without `senders` permit every mailbox.
pub fn config(policies: &[(&str, &str, &str)]) -> Config {
    with_routes(policies, ROUTES)
}

/// As [`config`], with other routes.
pub fn with_routes(policies: &[(&str, &str, &str)], routes: &str) -> Config {
    let mut text = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
                    [gate]\nrequired = false\ninterfaces = [\"lo\"]\n\
                    [[listener]]\naddress = \"[::1]:2525\"\ngate = false\n"
        .to_owned();
    for (kind, name, lines) in policies {
        let senders = if lines.contains("senders") { "" } else { "senders = [\"*\"]\n" };
        text.extend(["[[policy]]\n", kind, " = \"", name, "\"\n", senders, lines, "\n"]);
    }
    Config::parse(&(text + routes)).unwrap_or_else(|problems| panic!("{problems:?}"))
}
