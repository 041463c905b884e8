//! The stage of the demo, for tests: the product in a relay host of its own, clients and a next hop
//! on the other end of its wire.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::{CLIENT, GUARDED, LOGIN, NAME, Stage};
use relay::hosts::{PrivateBpf, private_bpf};
use tempfile::TempDir;

/// A stage with the product serving on it, and the folder that holds its files.
pub struct World {
    /// The stage; it ends before its folder.
    pub stage: Stage,
    /// The BPF file system in the folder; it must go before that can be removed.
    pub bpf: PrivateBpf,
    /// Everything that the product and its next hop write.
    pub folder: TempDir,
}

impl World {
    /// Sets the stage and starts the product.
    ///
    /// # Errors
    ///
    /// If either fails; the product's log is in the error.
    pub fn serving() -> Result<Self> {
        let mut world = Self::set()?;
        world.stage.start()?;
        Ok(world)
    }

    /// Sets the stage; the product is not started.
    ///
    /// # Errors
    ///
    /// If the stage cannot be set.
    pub fn set() -> Result<Self> {
        Self::set_for(&program()?)
    }

    /// Sets the stage for a product of one's own, which is not started.
    ///
    /// # Errors
    ///
    /// If the stage cannot be set.
    pub fn set_for(program: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir()?;
        // The relay and the next hop are users of their own and must pass.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let bpf = private_bpf(&folder.path().join("bpf"))?;
        let stage = Stage::set(folder.path(), program)?;
        Ok(Self { stage, bpf, folder })
    }

    /// Returns curl as the client whom the gate admits, with a login: it sends the mail in `file` to
    /// customer@example.com over TLS that it verifies.
    #[must_use]
    pub fn curl(&self, program: &Path, file: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["--silent", "--show-error", "--ssl-reqd", "--cacert"]);
        command.arg(self.folder.path().join("tls/ca.pem"));
        command.args(["--resolve", &format!("{NAME}:{}:{}", GUARDED.port(), GUARDED.ip())]);
        command.args(["--interface", &CLIENT.to_string()]);
        command.args(["--user", &format!("{LOGIN}:{}", self.stage.password)]);
        command.args(["--mail-from", "billing@example.net", "--mail-rcpt", "customer@example.com"]);
        command.arg("--upload-file").arg(file);
        command.arg(format!("smtp://{NAME}:{}", GUARDED.port()));
        command
    }

    /// Returns a command that knows the relay by its name: in a mount namespace of its own, with a file of hosts of
    /// its own.
    ///
    /// # Errors
    ///
    /// If that file cannot be written.
    pub fn by_name(&self, program: &Path) -> Result<Command> {
        let hosts = self.folder.path().join("hosts");
        std::fs::write(&hosts, format!("{} {NAME}\n", GUARDED.ip()))?;
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script]).arg(hosts).arg(program);
        Ok(command)
    }

    /// Runs a client of others in the world and returns what it printed.
    ///
    /// # Errors
    ///
    /// If it fails; what it and the product said is in the error.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        let Output { status, stdout, stderr } = self
            .stage
            .world
            .within(|| command.output())?
            .with_context(|| format!("{command:?}"))?;
        let said = String::from_utf8_lossy(&stdout).into_owned();
        let log = self.stage.log();
        let complained = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{command:?}: {status}\n{said}\n{complained}\nproduct:\n{log}");
        Ok(said)
    }
}

/// Returns the product under test.
///
/// # Errors
///
/// If it was not built: `cargo xtask test` builds it.
pub fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SALLYPORT_BIN") {
        return Ok(named.into());
    }
    let test = std::env::current_exe()?;
    let beside = test.ancestors().nth(2).context("the folder of the test")?.join("sallyport");
    ensure!(beside.exists(), "{} is missing: run `cargo build` first", beside.display());
    Ok(beside)
}
