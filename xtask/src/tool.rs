//! The programs of others that tests want: one table, for `cargo xtask test --install` and for
//! the tests themselves (`tests/src/need.rs` compiles this file too, so it uses std alone).

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program or module of others, and the Debian package that brings it.
pub struct Tool {
    /// What a test asks for.
    pub name: &'static str,
    /// Debian's package, or more than one with spaces between them.
    pub package: &'static str,
    /// What shows that it is installed.
    pub proof: Proof,
    /// What the tests want it for.
    pub purpose: &'static str,
}

/// How a tool is found.
pub enum Proof {
    /// A program of this name, in `PATH` or in a folder of system programs.
    Program(&'static str),
    /// This program succeeds with these arguments.
    Runs(&'static str, &'static [&'static str]),
    /// This program in a folder of programs, or below [`UNPACKED`]: its package cannot stand beside another of
    /// the table, or would run a server from the next boot on, so it is unpacked there and not installed.
    Unpacked(&'static str),
}

/// Where packages are unpacked that are not installed.
pub const UNPACKED: &str = "/usr/local/lib/sallyport-tests";

/// Every tool that a test may ask for.
pub const TOOLS: &[Tool] = &[
    program("ip", "iproute2", "network namespaces, veth pairs, qdiscs"),
    program("ethtool", "ethtool", "VLAN offloads and channels of veth pairs"),
    program("bpftool", "bpftool", "a second opinion on maps, links and programs"),
    program("nft", "nftables", "the state of a host with a firewall of its own"),
    program("iptables-nft", "iptables", "rules that nft does not show whole"),
    program("iptables-nft-restore", "iptables", "rules as ufw writes them, all at once"),
    program("iptables-legacy", "iptables", "rules that are none of nftables"),
    program("crun", "crun", "runs the containers of config/container"),
    program("xdp-filter", "xdp-tools", "a filter in XDP that we did not write, to measure beside"),
    program("systemd-analyze", "systemd", "reads our units"),
    program("systemctl", "systemd", "starts the units as a host does"),
    program("mandoc", "mandoc", "reads our manual pages"),
    program("bash", "bash", "reads our completions"),
    program("zsh", "zsh", "reads our completions"),
    program("fish", "fish", "reads our completions"),
    program("curl", "curl", "a mail client that we did not write"),
    program("swaks", "swaks", "a mail client that we did not write"),
    program("gsasl", "gsasl", "a client that binds its login to the TLS connection"),
    program("msmtp", "msmtp", "a mail client that speaks SCRAM and shows tokens"),
    program("mutt", "mutt", "a mail client that we did not write"),
    program("s-nail", "s-nail", "a mail client that we did not write"),
    Tool {
        name: "perl-sasl",
        package: "libauthen-sasl-perl libio-socket-ssl-perl",
        proof: Proof::Runs(
            "/usr/bin/perl",
            &["-e", "require Authen::SASL; require IO::Socket::SSL"],
        ),
        purpose: "Net::SMTP: a mail client that we did not write",
    },
    Tool {
        name: "perl-tls",
        package: "libnet-ssleay-perl",
        proof: Proof::Runs("/usr/bin/perl", &["-e", "require Net::SSLeay"]),
        purpose: "swaks speaks TLS with it",
    },
    Tool {
        name: "python3",
        package: "python3",
        // Debian's own, not one that a version manager put in front: it has Debian's modules.
        proof: Proof::Runs("/usr/bin/python3", &["-c", "import smtplib, ssl"]),
        purpose: "smtplib: a mail client that we did not write",
    },
    Tool {
        name: "nodemailer",
        package: "nodejs node-nodemailer",
        proof: Proof::Runs("node", &["-e", "require('/usr/share/nodejs/nodemailer')"]),
        purpose: "runs our sample for Node.js",
    },
    Tool {
        name: "jakarta-mail",
        package: "default-jdk-headless libjakarta-mail-java",
        proof: Proof::Runs(
            "/bin/sh",
            &[
                "-c",
                "(ls /usr/share/java/jakarta-mail.jar && keytool -help && javac -version) > /dev/null",
            ],
        ),
        purpose: "runs our sample for Java",
    },
    program("go", "golang-go", "runs our sample for Go"),
    Tool {
        name: "phpmailer",
        package: "php-cli libphp-phpmailer",
        proof: Proof::Runs("php", &["-r", "require 'libphp-phpmailer/autoload.php';"]),
        purpose: "runs our sample for PHP",
    },
    Tool {
        name: "ruby-smtp",
        package: "ruby",
        proof: Proof::Runs("ruby", &["-e", "require 'net/smtp'"]),
        purpose: "runs our sample for Ruby",
    },
    Tool {
        name: "aiosmtpd",
        package: "python3-aiosmtpd",
        proof: Proof::Runs("/usr/bin/python3", &["-c", "import aiosmtpd"]),
        purpose: "a next hop that we did not write, with faults on demand",
    },
    Tool {
        name: "dkimpy",
        package: "python3-dkim python3-nacl",
        proof: Proof::Runs("/usr/bin/python3", &["-c", "import dkim, nacl"]),
        purpose: "verifies our signatures",
    },
    program("chromedriver", "chromium chromium-driver", "a browser that looks at the status page"),
    program("postfix", "postfix", "a next hop that we did not write; smtp-source and smtp-sink"),
    Tool {
        name: "exim4",
        package: "exim4-daemon-light",
        proof: Proof::Unpacked("exim4"),
        purpose: "a next hop that we did not write, which takes chunks",
    },
    Tool {
        name: "prometheus",
        package: "prometheus",
        proof: Proof::Unpacked("prometheus"),
        purpose: "reads our metrics and rules; promtool lies beside it",
    },
    Tool {
        name: "alertmanager",
        package: "prometheus-alertmanager",
        proof: Proof::Unpacked("prometheus-alertmanager"),
        purpose: "a receiver of our alerts that we did not write",
    },
    program(
        "pebble",
        "pebble",
        "an authority that signs by ACME; its pebble-challtestsrv is its DNS",
    ),
    program("saslpasswd2", "sasl2-bin", "a login at Postfix without another server"),
    Tool {
        name: "sasl-plain",
        package: "libsasl2-modules",
        proof: Proof::Runs("/bin/sh", &["-c", "ls /usr/lib/*/sasl2/libplain.so > /dev/null"]),
        purpose: "AUTH PLAIN at Postfix",
    },
];

/// Returns a tool that is a program which only has to be there.
pub const fn program(name: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { name, package, proof: Proof::Program(name), purpose }
}

impl Tool {
    /// Returns the program to call, or nothing if it is not installed.
    pub fn find(&self) -> Option<PathBuf> {
        match self.proof {
            Proof::Program(name) => {
                let path = env::var_os("PATH").unwrap_or_default();
                // A user's PATH often lacks the system's folders.
                let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
                env::split_paths(&path)
                    .chain(system)
                    .map(|folder| folder.join(name))
                    .find(|file| file.is_file())
            }
            Proof::Runs(program, arguments) => {
                let ended = Command::new(program).args(arguments).stderr(Stdio::null()).status();
                ended.is_ok_and(|status| status.success()).then(|| PathBuf::from(program))
            }
            Proof::Unpacked(name) => ["", UNPACKED]
                .into_iter()
                .flat_map(|root| {
                    ["sbin", "bin"].map(|folder| format!("{root}/usr/{folder}/{name}"))
                })
                .map(PathBuf::from)
                .find(|file| file.is_file()),
        }
    }
}
