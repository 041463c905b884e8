//! `--install`: brings the tools that are missing, and no service with them.

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use crate::caller::{as_root, is_root, run};
use crate::tool::{TOOLS, Tool};

/// Installs Debian's packages of the missing tools.
///
/// # Errors
///
/// If this is no Debian, the packages cannot be installed, a tool is missing afterwards, or
/// something has begun to listen on the mail port.
pub fn install() -> Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| tool.find().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("install: with Debian's packages{}:", if is_root() { "" } else { ", through sudo" });
    for tool in &missing {
        eprintln!("  {:<10} {:<20} {}", tool.name, tool.package, tool.purpose);
    }
    let served = mail_port_is_open()?;
    let quiet: [(&str, &OsStr); 2] =
        [("DEBIAN_FRONTEND", OsStr::new("noninteractive")), ("RUNLEVEL", OsStr::new("1"))];
    let mut shell = as_root("sh", &quiet);
    shell
        .args(["-c", SCRIPT, "install"])
        .args(missing.iter().flat_map(|tool| tool.package.split(' ')));
    run(shell.stdin(std::process::Stdio::null()))
        .with_context(|| format!("not installed; by hand: {}", by_hand(&missing)))?;

    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| tool.find().is_none()).collect();
    if !missing.is_empty() {
        bail!("still missing after the installation: {}", by_hand(&missing));
    }
    ensure!(
        served || !mail_port_is_open()?,
        "the installation started a mail server on this host: stop it (`postfix stop`)"
    );
    Ok(())
}

/// Returns the line that installs these tools.
pub fn by_hand(tools: &[&Tool]) -> String {
    let packages: Vec<&str> = tools.iter().map(|tool| tool.package).collect();
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
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
