//! What to paste into clients: for each a whole program that sends one message over verified TLS.
//!
//! The samples hold no password: they take it from the environment. `tests/root_init.rs` runs those whose
//! programs are there.

use clap::ValueEnum;

/// A client that there is a sample for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Every one of them.
    All,
    /// Python's smtplib.
    Python,
    /// Nodemailer, of Node.js.
    Node,
    /// Jakarta Mail, of Java.
    Java,
    /// The properties of Spring Boot.
    Spring,
    /// Go's net/smtp.
    Go,
    /// PHPMailer, of PHP.
    Php,
    /// Ruby's net/smtp.
    Ruby,
    /// MailKit, of .NET.
    Dotnet,
    /// Perl's Net::SMTP.
    Perl,
    /// The program swaks.
    Swaks,
    /// The program curl.
    Curl,
}

/// Whether clients trust the relay's certificate without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They need the file `ca.pem`.
    Own,
    /// A public authority signed it.
    Public,
    /// Whether clients know who signed it is not known here: a company's authority, or a public one whose own
    /// certificate is not in the chain.
    Unknown,
}

/// What the samples are filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name that clients connect to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The login.
    pub login: String,
    /// A sender that the login may use.
    pub from: String,
    /// Whom clients trust.
    pub trust: Trust,
}

impl Client {
    /// Returns the sample for one client, or those for all with an empty line between them.
    #[must_use]
    pub fn sample(self, settings: &Settings) -> String {
        match self {
            Self::All => {
                let all = Self::value_variants().iter().filter(|client| **client != Self::All);
                all.map(|client| client.sample(settings)).collect::<Vec<_>>().join("\n")
            }
            Self::Python => filled(include_str!("clients/python.txt"), settings),
            Self::Node => filled(include_str!("clients/node.txt"), settings),
            Self::Java => filled(include_str!("clients/java.txt"), settings),
            Self::Spring => filled(include_str!("clients/spring.txt"), settings),
            Self::Go => filled(include_str!("clients/go.txt"), settings),
            Self::Php => filled(include_str!("clients/php.txt"), settings),
            Self::Ruby => filled(include_str!("clients/ruby.txt"), settings),
            Self::Dotnet => filled(include_str!("clients/dotnet.txt"), settings),
            Self::Perl => filled(include_str!("clients/perl.txt"), settings),
            Self::Swaks => filled(include_str!("clients/swaks.txt"), settings),
            Self::Curl => filled(include_str!("clients/curl.txt"), settings),
        }
    }
}

/// Fills a sample in. Lines that begin with `own| ` or `public| ` are for one kind of trust only.
fn filled(sample: &str, settings: &Settings) -> String {
    let (wanted, other) = match settings.trust {
        Trust::Own => ("own| ", "public| "),
        Trust::Public | Trust::Unknown => ("public| ", "own| "),
    };
    let mut text = String::with_capacity(sample.len());
    for line in sample.lines().filter(|line| !line.starts_with(other)) {
        let line = line.strip_prefix(wanted).unwrap_or(line);
        let line = line
            .replace("%HOST%", &settings.host)
            .replace("%PORT%", &settings.port.to_string())
            .replace("%LOGIN%", &settings.login)
            .replace("%FROM%", &settings.from);
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Tells whether a text can stand in every sample as it is: between quotes of each language and of a shell.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-@=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(trust: Trust) -> Settings {
        let (host, login) = ("relay.example.net".into(), "app".into());
        Settings { host, port: 2526, login, from: "app@example.net".into(), trust }
    }

    #[test]
    fn every_sample_is_filled_in_and_names_no_password() {
        for trust in [Trust::Own, Trust::Public, Trust::Unknown] {
            for client in Client::value_variants() {
                let sample = client.sample(&settings(trust));
                for word in ["relay.example.net", "2526", "app", "SALLYPORT_PASSWORD"] {
                    assert!(sample.contains(word), "{client:?}: no {word} in\n{sample}");
                }
                for rest in ["%HOST%", "%PORT%", "%LOGIN%", "%FROM%", "own|", "public|"] {
                    assert!(!sample.contains(rest), "{client:?}: {rest} in\n{sample}");
                }
                let tells = sample.contains("ca.pem") || sample.contains("sallyport.p12");
                assert_eq!(tells, trust == Trust::Own, "{client:?}\n{sample}");
            }
        }
    }

    #[test]
    fn what_could_end_a_string_is_not_plain() {
        for text in ["app", "app@example.net", "a.b_c+d-e=1"] {
            assert!(is_plain(text), "{text}");
        }
        for text in
            ["a'b", "a\"b", "a\\b", "a$b", "a b", "a`b", "%HOST%", "a\nb", "a#{b}", "\u{e4}"]
        {
            assert!(!is_plain(text), "{text}");
        }
    }
}
