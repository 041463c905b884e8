//! Builds the kernel program and hands its bytes to the relay, if the feature `xdp` is on.
//!
//! aya-build calls cargo once more, for the BPF target. That inner build needs the toolchain
//! that `cargo xtask setup` made, and `RUSTC_BOOTSTRAP`, which lets the pinned stable compiler
//! build `core`. aya-build reads that variable from its own environment, where it must not be:
//! the relay itself is built by a plain stable compiler. So this program runs itself once more,
//! as a child whose environment is the inner build's, and once more as the wrapper of that build's
//! compiler: aya-build has no way to give the compiler a flag.

#![forbid(unsafe_code)]

#[cfg(feature = "xdp")]
#[path = "../xtask/src/place.rs"]
mod place;

#[cfg(not(feature = "xdp"))]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}

#[cfg(feature = "xdp")]
fn main() -> std::process::ExitCode {
    match kernel::build() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(reason) => {
            // Cargo shows this below its own line about a build script that failed.
            eprintln!("\nerror: {reason}\n");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "xdp")]
mod kernel {
    use std::env;
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::io::{BufRead as _, BufReader};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::place::{Place, pinned_rust};

    /// Set for the child alone.
    const CHILD: &str = "SALLYPORT_BUILDS_KERNEL";

    /// The kernel program's binary, and what it is measured with.
    const OBJECT: &str = "sallyport-gate";
    const MEASURE: &str = "sallyport-measure";

    /// What the kernel program is made of, beside its own package.
    const SOURCES: [&str; 6] = [
        "build.rs",
        "../relay-common",
        "../relay-ebpf",
        "../Cargo.toml",
        "../rust-toolchain.toml",
        "../xtask/src/place.rs",
    ];

    /// Kernels on x86-64 and arm64 read words at any address. Without this the compiler reads each byte of an
    /// address in a frame by itself, which takes more time than looking it up.
    const FEATURE: &str = "allows-misaligned-mem-access";

    /// Builds the program in a child, or is that child, or the wrapper of its compiler.
    pub fn build() -> Result<(), String> {
        let arguments: Vec<OsString> = env::args_os().skip(1).collect();
        match (env::var_os(CHILD), arguments.split_first()) {
            (None, _) => outer(),
            (Some(_), None) => inner(),
            (Some(_), Some((compiler, arguments))) => compile(compiler, arguments),
        }
    }

    /// Runs the compiler with the feature, and without the names of this machine's folders, if it compiles for
    /// the kernel.
    fn compile(compiler: &OsString, arguments: &[OsString]) -> Result<(), String> {
        let mut command = Command::new(compiler);
        command.args(arguments);
        let mut targets = arguments.windows(2).filter(|pair| pair[0] == "--target");
        if targets.any(|pair| pair[1].to_string_lossy().starts_with("bpf")) {
            command.arg(format!("-Ctarget-feature=+{FEATURE}"));
            for folder in folders()? {
                let mut mapped = folder.into_os_string();
                mapped.push("=/");
                mapped.push(variable("CARGO_PKG_NAME")?);
                command.arg("--remap-path-prefix").arg(mapped);
            }
        }
        let mut child =
            command.stderr(Stdio::piped()).spawn().map_err(told("the compiler does not run"))?;
        let said = child.stderr.take().expect("invariant: it is piped");
        for line in BufReader::new(said).lines() {
            let line = line.map_err(told("the compiler cannot be heard"))?;
            // That LLVM knows the feature and this compiler does not is no news.
            if !line.contains(FEATURE) && !line.contains("warning emitted") {
                eprintln!("{line}");
            }
        }
        let status = child.wait().map_err(told("the compiler cannot be waited for"))?;
        std::process::exit(status.code().unwrap_or(1))
    }

    /// Returns where the crate that is compiled lies, by each name that the compiler may see: as cargo has it, as
    /// the file system has it (the source of `core` lies behind a link), and where the compiler runs. The same
    /// source shall give the same object in every folder: names of them would stand in its debug information and,
    /// longer or shorter, in its read-only data.
    fn folders() -> Result<Vec<PathBuf>, String> {
        let named = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        let real = fs::canonicalize(&named).map_err(told("a crate has no folder"))?;
        let here = env::current_dir().map_err(told("the compiler runs nowhere"))?;
        // Of two that match, the last counts.
        let mut folders = vec![here, real, named];
        folders.dedup();
        Ok(folders)
    }

    fn inner() -> Result<(), String> {
        let package = aya_build::Package {
            name: "relay-ebpf",
            root_dir: "../relay-ebpf",
            ..aya_build::Package::default()
        };
        aya_build::build_ebpf([package], aya_build::Toolchain::Custom(pinned_rust()))
            .map_err(|error| format!("the kernel program was not built: {error:#}"))
    }

    fn outer() -> Result<(), String> {
        for source in SOURCES {
            println!("cargo:rerun-if-changed={source}");
        }
        let place = Place::of(&variable("RUSTC")?)?;
        // A missing file makes cargo ask again next time, so a setup is noticed.
        println!("cargo:rerun-if-changed={}", place.stamp().display());
        if !place.stamp().is_file() {
            return Err(format!(
                "the kernel program cannot be built: its toolchain is not in {}. Run `cargo \
                 xtask setup` once (about a minute), or build without the gate: `cargo build \
                 --no-default-features`.",
                place.root.display()
            ));
        }
        let search = variable("PATH")?;
        let search = [place.programs()].into_iter().chain(env::split_paths(&search));
        let search =
            env::join_paths(search).map_err(|error| format!("PATH cannot be extended: {error}"))?;
        let shared = Shared::lock()?;
        let own = env::current_exe().map_err(told("no name of my own"))?;
        let output = Command::new(&own)
            .env(CHILD, "1")
            .env("OUT_DIR", &shared.folder)
            .env("RUSTC_BOOTSTRAP", "1")
            // aya-build takes RUSTC away; cargo reads this one as its configuration.
            .env("CARGO_BUILD_RUSTC", place.rustc())
            .env("CARGO_BUILD_RUSTC_WRAPPER", &own)
            .env("CARGO_TERM_QUIET", "true")
            .env("PATH", search)
            .env_remove("RUSTC_WRAPPER")
            .stderr(Stdio::inherit())
            .output()
            .map_err(told("the build script cannot run itself"))?;
        // Quiet as the inner cargo is, what it says is a warning or an error.
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if line != "cargo:warning=" {
                println!("{line}");
            }
        }
        if !output.status.success() {
            return Err("the inner build did not succeed; what it said stands above".to_owned());
        }
        let _gate = shared.hand_over(OBJECT)?;
        // For the build script of the tests; no part of the product.
        let measure = shared.hand_over(MEASURE)?;
        println!("cargo::metadata=measure={}", measure.display());
        Ok(())
    }

    /// One build of the kernel program for all profiles and for clippy: each of them gives this
    /// program another `OUT_DIR`, and the object is the same in all.
    struct Shared {
        folder: PathBuf,
        // Builds of two profiles may run at once; the lock ends with the value.
        _lock: File,
    }

    impl Shared {
        fn lock() -> Result<Self, String> {
            let own = PathBuf::from(variable("OUT_DIR")?);
            // target/<profile>/build/<package>/out
            let target = own.ancestors().nth(4).ok_or("OUT_DIR lies in no build folder")?;
            let folder = target.join("sallyport-kernel");
            fs::create_dir_all(&folder).map_err(told("the build folder cannot be written"))?;
            let lock = File::create(folder.join("lock")).map_err(told("no lock file"))?;
            lock.lock().map_err(told("the lock cannot be taken"))?;
            Ok(Self { folder, _lock: lock })
        }

        /// Copies the object to this build's own `OUT_DIR`.
        fn hand_over(&self, object: &str) -> Result<PathBuf, String> {
            let own = PathBuf::from(variable("OUT_DIR")?).join(object);
            fs::copy(self.folder.join(object), &own)
                .map_err(told("relay-ebpf did not give every binary"))?;
            Ok(own)
        }
    }

    /// Puts what was tried in front of why it failed.
    fn told(tried: &str) -> impl Fn(std::io::Error) -> String {
        move |error| format!("{tried}: {error}")
    }

    fn variable(name: &str) -> Result<OsString, String> {
        env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
    }
}
