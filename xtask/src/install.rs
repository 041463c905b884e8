//! `--install`: brings the tools that are missing, and no service with them.

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use crate::caller::{as_root, is_root, run};
use crate::tool::{Proof, Tool, UNPACKED};

/// Installs Debian's packages of those of `tools` that are missing.
///
/// # Errors
///
/// If this is no Debian, the packages cannot be installed, a tool is missing afterwards, or
/// something has begun to listen on the mail port.
pub fn install(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| tool.find().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("install: with Debian's packages{}:", if is_root() { "" } else { ", through sudo" });
    for tool in &missing {
        eprintln!("  {:<10} {:<20} {}", tool.name, tool.package, tool.purpose);
    }
    let served = mail_port_is_open()?;
    let (unpacked, whole) = apart(&missing);
    let in_vain = || format!("not installed; by hand: {}", by_hand(&missing));
    if !whole.is_empty() {
        play(SCRIPT, "install", &whole).with_context(in_vain)?;
    }
    if !unpacked.is_empty() {
        let script = UNPACK.replace("TEMPLATES", TEMPLATES);
        play(&script, UNPACKED, &unpacked).with_context(in_vain)?;
    }

    let missing: Vec<&Tool> = tools.iter().filter(|tool| tool.find().is_none()).collect();
    if !missing.is_empty() {
        bail!("still missing after the installation: {}", by_hand(&missing));
    }
    ensure!(
        served || !mail_port_is_open()?,
        "the installation started a mail server on this host: stop it (`postfix stop`)"
    );
    Ok(())
}

/// Returns the packages to unpack, and those to install.
fn apart(tools: &[&Tool]) -> (Vec<&'static str>, Vec<&'static str>) {
    let (unpacked, whole): (Vec<&Tool>, Vec<&Tool>) =
        tools.iter().partition(|tool| matches!(tool.proof, Proof::Unpacked(_)));
    let packages =
        |tools: Vec<&Tool>| tools.iter().flat_map(|tool| tool.package.split(' ')).collect();
    (packages(unpacked), packages(whole))
}

/// Runs a script as root, with its `$0` and its other words.
fn play(script: &str, zeroth: &str, words: &[&str]) -> Result<()> {
    let quiet: [(&str, &OsStr); 2] =
        [("DEBIAN_FRONTEND", OsStr::new("noninteractive")), ("RUNLEVEL", OsStr::new("1"))];
    let mut shell = as_root("sh", &quiet);
    run(shell.args(["-c", script, zeroth]).args(words).stdin(std::process::Stdio::null()))
}

/// Returns the lines that install these tools.
pub fn by_hand(tools: &[&Tool]) -> String {
    let (unpacked, whole) = apart(tools);
    let mut lines = Vec::new();
    if !whole.is_empty() {
        lines.push(format!("apt-get install --no-install-recommends {}", whole.join(" ")));
    }
    for package in unpacked {
        lines.push(format!("apt-get download {package} && dpkg-deb -x {package}_*.deb {UNPACKED}"));
        if package == "prometheus-alertmanager" {
            lines.push(format!("ln -s {UNPACKED}/{TEMPLATES} /{TEMPLATES}"));
        }
    }
    lines.join("; ")
}

/// Installs "$@" so that no service is started, now or at the next boot: Debian's scripts ask
/// policy-rc.d before they start one, and a postfix that comes new is disabled for the next boot.
const SCRIPT: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
fi
case " $* " in
*" postfix "*)
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections ;;
esac
apt-get install -qq -y --no-install-recommends "$@" > /dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@" > /dev/null
}
case " $* " in
*" postfix "*) update-rc.d postfix disable > /dev/null ;;
esac
"#;

/// Where Debian's Alertmanager looks for its templates, without which it does not start.
const TEMPLATES: &str = "usr/share/prometheus/alertmanager";

/// Unpacks "$@" below "$0", brings the libraries that they need (but for those of web pages), and takes the set-user-ID bits away: root starts
/// what needs root. A link leads from where Alertmanager looks for its templates to where they are.
const UNPACK: &str = r#"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq "$@" > /dev/null 2>&1 || {
    apt-get update -qq
    apt-get download -qq "$@" > /dev/null
}
mkdir -p "$0"
for package in *.deb; do
    libraries=$(dpkg-deb -f "$package" Depends | grep -oE '\blib[a-z0-9.+-]+' | grep -v ^libjs- | sort -u)
    apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $libraries > /dev/null
    dpkg-deb -x "$package" "$0"
done
find "$0" -type f -perm /6000 -exec chmod a-s {} +
templates=TEMPLATES
if [ -e "$0/$templates" ] && [ ! -e /$templates ]; then
    mkdir -p /${templates%/*}
    ln -s "$0/$templates" /$templates
fi
"#;

/// Tells whether anything on this host listens on port 25. The packages bring one server, and
/// that is its port.
fn mail_port_is_open() -> Result<bool> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().context("/proc/net/tcp has a line without address")?;
            // Port 25 in hexadecimal; state 0A is LISTEN.
            if local.ends_with(":0019") && fields.nth(1) == Some("0A") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
