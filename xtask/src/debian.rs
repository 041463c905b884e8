//! Debian's packages, fetched from the mirror that the system is configured with, and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::caller::{answer, run};

/// Where Debian keeps the keys of its archive. A system without the file trusts what apt's own
/// configuration trusts; either way an unsigned list is an error.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of the archive: apt with lists, caches and sources of its own, and the system's proxy settings
/// and keys. The system's package sources and lists stay as they are.
pub struct Suite {
    folder: PathBuf,
    name: &'static str,
}

impl Suite {
    /// Reads the suite's lists into `folder`, which belongs to it.
    ///
    /// # Errors
    ///
    /// If apt knows no Debian mirror, or the mirror has no such suite with a signature that holds.
    pub fn read(folder: PathBuf, name: &'static str) -> Result<Self> {
        let mirror = configured_mirror()?;
        for part in ["lists/partial", "cache/archives/partial", "state", "sources"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mut source = format!("Types: deb\nURIs: {mirror}\nSuites: {name}\nComponents: main\n");
        if Path::new(KEYRING).is_file() {
            source.extend(["Signed-By: ", KEYRING, "\n"]);
        }
        fs::write(folder.join("sources/suite.sources"), source)?;
        let suite = Self { folder, name };
        eprintln!("xtask: reading {name} at {mirror} (signatures checked)");
        answer(suite.command("apt-get").args(["update", "--error-on=any"]))?;
        Ok(suite)
    }

    /// Returns the newest version of a package for which `is_wanted`.
    ///
    /// # Errors
    ///
    /// If the suite has none.
    pub fn version(&self, package: &str, is_wanted: impl Fn(&str) -> bool) -> Result<String> {
        let listed = answer(self.command("apt-cache").args(["madison", package]))?;
        let versions = listed.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
        let version = versions.map(str::to_owned).find(|version| is_wanted(version));
        version.with_context(|| format!("{} has no {package} that is wanted", self.name))
    }

    /// Returns the packages that one needs, by the names before any alternative.
    ///
    /// # Errors
    ///
    /// If apt does not know it.
    pub fn needs(&self, package: &str) -> Result<Vec<String>> {
        let told = answer(self.command("apt-cache").args(["depends", "--important", package]))?;
        let needs = told.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(needs.map(str::to_owned).collect())
    }

    /// Fetches a version of a package, whose hash must be the list's, and unpacks it into `target`.
    ///
    /// # Errors
    ///
    /// If it cannot be fetched or unpacked.
    pub fn unpack(&self, package: &str, version: &str, target: &Path) -> Result<()> {
        eprintln!("xtask: fetching {package} {version} from {}", self.name);
        // One that an earlier run left would be taken for this one.
        for left in packages(&self.folder)? {
            fs::remove_file(left)?;
        }
        answer(self.command("apt-get").args(["download", &format!("{package}={version}")]))?;
        let file = packages(&self.folder)?.pop().context("apt-get download left no package")?;
        run(Command::new("dpkg-deb").arg("-x").args([file.as_path(), target]))?;
        Ok(fs::remove_file(file)?)
    }

    /// Removes what was read and fetched.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn forget(self) -> Result<()> {
        Ok(fs::remove_dir_all(self.folder)?)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // apt leaves a downloaded package in the folder it is called from.
        command.current_dir(&self.folder).stdin(Stdio::null());
        let at = |part: &str| self.folder.join(part).display().to_string();
        for setting in [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", at("sources")),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::Lists={}", at("lists")),
            "Dir::State::Status=/dev/null".to_owned(),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            // Root's apt would drop to a user who cannot write in this cache.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["-o", &setting]);
        }
        command
    }
}

/// Returns the packages in a folder.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    Ok(files.filter(is_package).collect())
}

/// Asks apt for the Debian mirror that the system is configured to use.
///
/// # Errors
///
/// If this system has no apt, or apt no mirror of Debian.
pub fn configured_mirror() -> Result<String> {
    mirror("/debian")?.context("apt is configured with no Debian mirror")
}

/// Asks apt for the mirror of Debian's security updates.
///
/// # Errors
///
/// If this system has no apt.
pub fn security_mirror() -> Result<Option<String>> {
    mirror("/debian-security")
}

fn mirror(end: &str) -> Result<Option<String>> {
    let asked = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let targets = answer(Command::new("apt-get").args(asked))?;
    let found = targets.lines().find(|address| address.trim_end_matches('/').ends_with(end));
    Ok(found.map(str::to_owned))
}
