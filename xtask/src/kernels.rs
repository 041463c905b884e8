//! `cargo xtask kernels`: the package on kernels that other hosts run, each in a machine under QEMU.
//!
//! A kernel is Debian's, unpacked below the user's cache and not installed: its image, and the few modules that a
//! machine of `tests/src/machine` loads.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::artifact;
use crate::bench::FOLDER;
use crate::caller::{answer, as_root, cargo, code, is_root, run, status, top};
use crate::debian::Suite;
use crate::install;
use crate::module::depends;
use crate::package;
use crate::setup::setup;
use crate::test::Tools;
use crate::tool::{Proof, Tool};

/// A kernel: the name to ask for it, and the suite whose newest it is.
struct Kernel {
    name: &'static str,
    suite: &'static str,
}

const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye" },
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "trixie" },
    Kernel { name: "newest", suite: "trixie-backports" },
];

/// The package that needs the newest kernel of a suite.
const NEWEST: &str = "linux-image-amd64";
/// What a machine loads, where its kernel has it not built in; dependencies come by themselves.
const MODULES: [&str; 6] =
    ["virtio_pci", "virtio_net", "virtio_blk", "crc32c_generic", "ext4", "veth"];
/// The programs of others that it takes, beside those that building takes.
const TOOLS: [Tool; 3] = [
    tool("qemu-system-x86_64", "qemu-system-x86", "machines"),
    tool("qemu-img", "qemu-utils", "their disks"),
    tool("ip", "iproute2", "their wire"),
];

const fn tool(name: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { name, package, proof: Proof::Program(name), purpose }
}

/// Which program is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// That of the Debian package of this checkout.
    Package,
    /// What `cargo build` makes: the same source, without optimization.
    Debug,
}

/// Tries the kernels with these names, all if there is none, and writes what was found into the folder of the
/// benches.
///
/// # Errors
///
/// If a name is unknown, or something cannot be fetched, built or started. A kernel on which something does not
/// happen is in the exit code.
pub fn kernels(tools: Tools, tried: Tried, names: &[&str]) -> Result<ExitCode> {
    if let Some(name) = names.iter().find(|name| KERNELS.iter().all(|one| one.name != **name)) {
        let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        bail!("no kernel {name}: there are {}", known.join(", "));
    }
    ensure!(cfg!(target_arch = "x86_64"), "the machines are made for x86-64 alone");
    let place = setup()?;
    if tools == Tools::Install {
        // One after the other: Debian's QEMU may take away what brought another version of qemu-img.
        for tool in &TOOLS {
            install::install(std::slice::from_ref(tool))?;
        }
    }
    let missing: Vec<_> = TOOLS.iter().filter(|tool| tool.find().is_none()).collect();
    ensure!(missing.is_empty(), "missing: {}; or give --install", install::by_hand(&missing));

    let cache = place.root.parent().context("the place has a parent")?.join("kernels");
    fs::create_dir_all(&cache)?;
    let asked = KERNELS.iter().filter(|kernel| names.is_empty() || names.contains(&kernel.name));
    let mut arguments = vec![busybox(&cache, tools)?];
    for kernel in asked {
        arguments.push(kernel.fetch(&cache, tools)?);
    }
    eprintln!("kernels: building");
    let unpacked = Scratch::make(&cache)?;
    let trial = ["build", "--package", "tests", "--example", "kernels"];
    let (sallyport, built) = match tried {
        Tried::Package => {
            let folder = top().join(package::FOLDER);
            fs::create_dir_all(&folder)?;
            let (made, _) = package::debian_package(&place, &folder)?;
            run(Command::new("dpkg-deb").arg("-x").args([made.as_path(), unpacked.0.as_path()]))?;
            (unpacked.0.join("usr/bin/sallyport"), artifact::build(cargo().args(trial))?)
        }
        Tried::Debug => {
            // In one build, so that both are made of the same parts.
            let both = trial.into_iter().chain(["--package", "relay", "--bin", "sallyport"]);
            let built = artifact::build(cargo().args(both))?;
            (artifact::find(&built, "sallyport")?.executable.clone(), built)
        }
    };
    let trial = &artifact::find(&built, "kernels")?.executable;
    fs::create_dir_all(FOLDER)?;
    if !is_root() {
        eprintln!("kernels: the wire of the machines needs root: running by sudo");
    }
    let variables = [("SALLYPORT_BIN", sallyport.as_os_str())];
    Ok(code(status(as_root(trial, &variables).arg(FOLDER).args(arguments))?))
}

/// Returns Debian's busybox, linked statically.
fn busybox(cache: &Path, tools: Tools) -> Result<PathBuf> {
    let program = cache.join("busybox");
    if !program.is_file() {
        permitted(tools, "busybox-static")?;
        let scratch = Scratch::make(cache)?;
        let suite = Suite::read(scratch.0.join("apt"), "bookworm")?;
        let version = suite.version("busybox-static", |_| true)?;
        suite.unpack("busybox-static", &version, &scratch.0)?;
        fs::copy(scratch.0.join("bin/busybox"), &program)?;
    }
    Ok(program)
}

impl Kernel {
    /// Returns the folder of the kernel, which is filled if that is permitted: `vmlinuz`, `modules/` in the order
    /// in which they are loaded, and `package`, which is written last.
    fn fetch(&self, cache: &Path, tools: Tools) -> Result<PathBuf> {
        let folder = cache.join(self.name);
        if folder.join("package").is_file() && tools == Tools::Skip {
            return Ok(folder);
        }
        permitted(tools, self.name)?;
        let scratch = Scratch::make(cache)?;
        let suite = Suite::read(scratch.0.join("apt"), self.suite)?;
        let needs = suite.needs(NEWEST)?;
        let image = needs.iter().find(|name| name.starts_with("linux-image-"));
        let image = image.with_context(|| format!("{} has no {NEWEST}", self.suite))?;
        let version = suite.version(image, |_| true)?;
        let about = format!("{image} {version}\n");
        if fs::read_to_string(folder.join("package")).is_ok_and(|known| known == about) {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let unpacked = scratch.0.join("unpacked");
        suite.unpack(image, &version, &unpacked)?;
        // Newer kernels come in parts.
        for part in suite.needs(image)? {
            if part.starts_with("linux-binary-") || part.starts_with("linux-modules-") {
                suite.unpack(&part, &version, &unpacked)?;
            }
        }
        fs::create_dir_all(folder.join("modules"))?;
        let (images, modules) = (find(&unpacked, "vmlinuz")?, find(&unpacked, ".ko")?);
        let image = images.first().context("the package has no vmlinuz")?;
        fs::copy(image, folder.join("vmlinuz"))?;
        let busybox = cache.join("busybox");
        let mut loaded = Vec::new();
        for module in MODULES {
            load(module, &modules, &busybox, &folder.join("modules"), &mut loaded)?;
        }
        fs::write(folder.join("package"), about)?;
        Ok(folder)
    }
}

/// Puts a module behind those that it depends on. One that is not among `modules` is built in.
fn load(
    name: &str,
    modules: &[PathBuf],
    busybox: &Path,
    folder: &Path,
    loaded: &mut Vec<String>,
) -> Result<()> {
    let name = name.replace('-', "_");
    if loaded.contains(&name) {
        return Ok(());
    }
    let is_it = |path: &&PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.split_once('.').is_some_and(|(stem, _)| stem.replace('-', "_") == name)
    };
    let Some(file) = modules.iter().find(is_it) else { return Ok(()) };
    let content = if file.extension().is_some_and(|extension| extension == "xz") {
        let mut command = Command::new(busybox);
        let output = command.args(["xz", "-dc"]).stdin(File::open(file)?).output()?;
        ensure!(output.status.success(), "{} is not decompressed", file.display());
        output.stdout
    } else {
        fs::read(file)?
    };
    for needed in depends(&content) {
        load(&needed, modules, busybox, folder, loaded)?;
    }
    fs::write(folder.join(format!("{:02}-{name}.ko", loaded.len())), content)?;
    loaded.push(name);
    Ok(())
}

/// Lists the files below a folder whose names have `part` in them.
fn find(folder: &Path, part: &str) -> Result<Vec<PathBuf>> {
    let listed = answer(
        Command::new("find")
            .arg(folder)
            .args(["-type", "f", "-name", &format!("*{part}*")])
            .stdin(Stdio::null()),
    )?;
    Ok(listed.lines().map(PathBuf::from).collect())
}

fn permitted(tools: Tools, what: &str) -> Result<()> {
    match tools {
        Tools::Install => Ok(()),
        Tools::Skip => bail!("{what} is not in the cache: give --install, and it is fetched"),
    }
}

/// A folder of the cache that is gone in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make(cache: &Path) -> Result<Self> {
        let folder = cache.join("scratch");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next one removes what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}
