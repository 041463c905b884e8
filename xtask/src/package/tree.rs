//! The tree of files that a host gets: what package and archive hold, and nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Source, VERSION};
use crate::caller::{answer, run};

/// Files and folders of the checkout, and where they lie on a host.
const COPIES: [(&str, &str); 17] = [
    ("config/sysusers.d/sallyport.conf", "usr/lib/sysusers.d/sallyport.conf"),
    ("config/tmpfiles.d/sallyport.conf", "usr/lib/tmpfiles.d/sallyport.conf"),
    ("config/generator.sh", GENERATOR),
    ("config/netns/netns.sh", "usr/lib/sallyport/netns.sh"),
    ("config/netns/netns.conf", "usr/share/doc/sallyport/config/netns/netns.conf"),
    ("config/netns/nftables.conf", "usr/share/doc/sallyport/config/netns/nftables.conf"),
    ("config/netns/unit.conf", "usr/share/doc/sallyport/config/netns/unit.conf"),
    ("config/container", "usr/share/doc/sallyport/config/container"),
    ("config/prometheus/alerts.yml", "usr/share/sallyport/prometheus/alerts.yml"),
    ("config/prometheus/scrape.yml", "usr/share/sallyport/prometheus/scrape.yml"),
    ("config/grafana", "usr/share/sallyport/grafana"),
    // README's own links lead to these.
    ("README.md", "usr/share/doc/sallyport/README.md"),
    ("CHANGELOG.md", "usr/share/doc/sallyport/CHANGELOG.md"),
    ("config/docs", "usr/share/doc/sallyport/config/docs"),
    ("config/sallyport.toml", "usr/share/doc/sallyport/config/sallyport.toml"),
    ("config/smarthost.toml", "usr/share/doc/sallyport/config/smarthost.toml"),
    ("config/debian/lintian-overrides", "usr/share/lintian/overrides/sallyport"),
];

/// What tells systemd of the relay's unit what depends on the host.
const GENERATOR: &str = "usr/lib/systemd/system-generators/sallyport-generator";

/// What lies elsewhere, for those who follow a link in README: links to files, since cargo-deb would copy what lies
/// behind a link to a folder.
const LINKS: [&str; 3] =
    ["prometheus/alerts.yml", "prometheus/scrape.yml", "grafana/sallyport.json"];

/// Shells, and where each looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/sallyport"),
    ("zsh", "usr/share/zsh/vendor-completions/_sallyport"),
    ("fish", "usr/share/fish/vendor_completions.d/sallyport.fish"),
];

const UNITS: &str = "usr/lib/systemd/system";
const MANUAL: &str = "usr/share/man";

/// Lays out the tree and returns its top.
///
/// # Errors
///
/// If a file cannot be read or written, or the program does not write its pages.
pub fn lay(source: &Source, binary: &Path) -> Result<PathBuf> {
    let tree = source.tree();
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let program = tree.join("usr/bin/sallyport");
    copy(binary, &program)?;
    for (from, to) in COPIES {
        copy(&source.top.join(from), &tree.join(to))?;
    }
    for name in LINKS {
        let link = tree.join("usr/share/doc/sallyport/config").join(name);
        fs::create_dir_all(link.parent().context("a link lies in a folder")?)?;
        symlink(Path::new("../../../../sallyport").join(name), link)?;
    }
    for unit in units(source)? {
        let name = unit.file_name().context("a unit has a name")?;
        copy(&unit, &tree.join(UNITS).join(name))?;
    }
    run(Command::new(&program).arg("man").arg(tree.join(MANUAL)))?;
    for folder in fs::read_dir(tree.join(MANUAL))? {
        for page in fs::read_dir(folder?.path())? {
            compress(&page?.path())?;
        }
    }
    for (shell, to) in COMPLETIONS {
        write(&tree.join(to), &answer(Command::new(&program).args(["completions", shell]))?)?;
    }
    let changes = tree.join("usr/share/doc/sallyport/changelog.Debian");
    write(&changes, &changelog(source.epoch)?)?;
    compress(&changes)?;
    modes(&tree)?;
    for executed in [program, tree.join(GENERATOR)] {
        fs::set_permissions(executed, fs::Permissions::from_mode(0o755))?;
    }
    Ok(tree)
}

/// Returns the units of the product: its services, and whatever starts them.
fn units(source: &Source) -> Result<Vec<PathBuf>> {
    let mut units = Vec::new();
    for entry in fs::read_dir(source.top.join("config"))? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("service" | "timer" | "socket" | "target")) {
            units.push(path);
        }
    }
    ensure!(units.len() >= 2, "config holds no units of gate and relay");
    Ok(units)
}

/// Copies a file, or all that is in a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let told = || format!("{} to {}", from.display(), to.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(told)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let above = to.parent().with_context(told)?;
    fs::create_dir_all(above).with_context(told)?;
    fs::copy(from, to).with_context(told)?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let above = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(above)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Puts a compressed file in the place of a plain one, without its name and time (Debian's policy, section 12.1).
fn compress(path: &Path) -> Result<()> {
    run(Command::new("gzip").args(["-9", "--no-name", "--force", "--"]).arg(path))
}

/// Gives every file and folder the mode that all users can read, whatever the mask of the caller is.
fn modes(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            modes(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Returns Debian's changelog (deb-changelog(5)): it says what the package is made of, CHANGELOG.md what changed.
fn changelog(epoch: u64) -> Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "--rfc-email", "--date", &format!("@{epoch}")]).env("LC_ALL", "C");
    let date = answer(date.stdin(Stdio::null()))?;
    Ok(format!(
        "sallyport ({VERSION}-{}) unstable; urgency=medium\n\n  \
         * Version {VERSION}: see /usr/share/doc/sallyport/CHANGELOG.md.\n\n \
         -- {}  {}\n",
        super::debian::REVISION,
        super::debian::MAINTAINER,
        date.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::top;

    #[test]
    fn everything_that_is_copied_is_in_the_checkout() {
        for (from, _) in COPIES {
            assert!(top().join(from).exists(), "{from}");
        }
        let source = Source { top: top(), epoch: 0 };
        let units = units(&source).unwrap();
        for name in [
            "sallyport-gate.service",
            "sallyport-relay.service",
            "sallyport-certificate.service",
            "sallyport-certificate.timer",
            "sallyport-netns.service",
        ] {
            assert!(units.contains(&top().join("config").join(name)), "{name}");
        }
    }

    #[test]
    fn the_changelog_has_the_date_of_the_commit() {
        let text = changelog(1_700_000_000).unwrap();
        assert!(text.starts_with(&format!("sallyport ({VERSION}-1) unstable; ")), "{text}");
        assert!(text.ends_with("  Tue, 14 Nov 2023 22:13:20 +0000\n"), "{text}");
    }
}
