//! A relay that somebody has taken over: it shuts itself in as the relay does, by the same call and the same
//! configuration, and then tries what must fail and what must work, in a thread that it starts afterwards.
//!
//! `captive CONFIG PIN…` prints a line for each: its name, a tab, and `done` or the number of the error. Where the
//! configuration turns the sandbox off, what it alone would refuse is done.

#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, ToSocketAddrs as _, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;
use relay::appliance::load::load;
use relay::appliance::privilege;
use relay::appliance::sandbox::{self, Grounds, Role};
use relay::config::{Config, Sandbox};
use relay::gate::View;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mount::{MountFlags, mount};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Signal, getppid, kill_process};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let file = arguments.next().context("which configuration?")?;
    let pins: Vec<PathBuf> = arguments.collect();
    privilege::become_relay()?;
    let config = load(&file)?;
    // What was open before stays open: it is tried with.
    let namespace = File::open("/proc/self/ns/net")?;
    let held = sandbox::enter(Grounds::of_relay(&config, &file), Role::Relay, config.sandbox)?;
    println!("sandbox\t{held}");
    std::thread::spawn(move || {
        must_fail(&config, &file, &pins, &namespace);
        must_work(&config, &file);
    })
    .join()
    .ok()
    .context("the tries ended early")
}

fn told<T>(name: &str, tried: io::Result<T>) {
    match tried {
        Ok(_) => println!("{name}\tdone"),
        Err(error) => match error.raw_os_error() {
            Some(number) => println!("{name}\t{number}"),
            None => println!("{name}\t{error}"),
        },
    }
}

fn must_fail(config: &Config, file: &Path, pins: &[PathBuf], namespace: &File) {
    for pin in pins {
        // Without flags: for reading and writing, as whoever would change it must.
        let name = |what: &str| format!("!{what} {}", pin.display());
        told(&name("change"), aya::maps::MapData::from_pin(pin).map_err(number));
        told(&name("hold"), aya::programs::links::PinnedLink::from_pin(pin).map_err(number));
        told(&name("replace"), fs::remove_file(pin));
    }
    let beside = file.parent().and_then(Path::parent).unwrap_or(file);
    let state = &config.gate.state;
    for (name, path) in [
        ("shadow", Path::new("/etc/shadow")),
        ("the gate's entries", &state.join("allow.jsonl")),
        ("another's file that everybody may read", &beside.join("everybodys")),
        ("a program", Path::new("/usr/bin/env")),
        ("the parent's environment", &PathBuf::from(format!("/proc/{}/environ", parent()))),
        ("a device", Path::new("/dev/zero")),
    ] {
        told(&format!("!read {name}"), File::open(path));
    }
    told("!list the root folder", fs::read_dir("/"));
    told("!list the gate's folder", fs::read_dir(state));
    told("!list the configuration's folder", fs::read_dir(beside));
    let write = |path: &Path| OpenOptions::new().write(true).open(path);
    told("!write the configuration", write(file));
    told("!write the logins", write(&config.relay.users));
    told("!write the gate's entries", write(&state.join("allow.jsonl")));
    told("!write beside", File::create(beside.join("new")));
    let everybodys = Path::new("/var/tmp").join(format!("sallyport-{}", std::process::id()));
    told("!write where everybody may", File::create(&everybodys));
    let _ = fs::remove_file(&everybodys);
    let program = config.spool.path.join("program");
    told("make a program", fs::write(&program, "#!/bin/sh\n"));
    let mode = fs::Permissions::from_mode(0o4755);
    told("!have others execute it as this user", fs::set_permissions(&program, mode));
    let _ = fs::remove_file(&program);
    told("!write a pin's folder", File::create(config.gate.pins.join("new")));
    // Whoever is traced, or another program, would not go on here.
    if config.sandbox != Sandbox::Off {
        told("!be traced", nix::sys::ptrace::traceme().map_err(io::Error::from));
        told("!execute", Err::<(), _>(Command::new("/bin/true").exec()));
    }
    told("!start a process", Command::new("/bin/true").spawn());
    told("!bind another port", TcpListener::bind("127.0.0.1:0"));
    told("!bind the guarded port", TcpListener::bind(config.listeners[0].address));
    let raw = |family, kind, protocol| socket(family, kind, protocol).map_err(io::Error::from);
    told(
        "!open a raw socket",
        raw(AddressFamily::INET, SocketType::RAW, Some(rustix::net::ipproto::ICMP)),
    );
    let multipath = Some(rustix::net::ipproto::MPTCP);
    told("!speak multipath TCP", raw(AddressFamily::INET, SocketType::STREAM, multipath));
    told("!open a packet socket", raw(AddressFamily::PACKET, SocketType::RAW, None));
    told("!open another family", raw(AddressFamily::VSOCK, SocketType::STREAM, None));
    let parent_pid = Pid::from_raw(parent().cast_signed());
    told("!trace the parent", nix::sys::ptrace::attach(parent_pid).map_err(io::Error::from));
    let signal = getppid().map(|parent| kill_process(parent, Signal::WINCH));
    told("!signal the parent", signal.unwrap_or(Ok(())).map_err(io::Error::from));
    let mounted = mount("none", "/mnt", "tmpfs", MountFlags::empty(), None);
    told("!mount", mounted.map_err(io::Error::from));
    told("!leave for new users", unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from));
    told("!enter a network", setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
    told("!make memory a file", memfd_create("x", MemfdFlags::empty()).map_err(io::Error::from));
    told(
        "!become root",
        nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).map_err(io::Error::from),
    );
    let loaded = aya::Ebpf::load(aya::include_bytes_aligned!(env!("SALLYPORT_MEASURE")));
    told("!load a program", loaded.map_err(number));
    told(
        "!link to another file",
        std::os::unix::fs::symlink("/etc/shadow", config.spool.path.join("s")).map_err(missing),
    );
}

/// A call that nobody here has a use for is missing, which must be as good as refused.
fn missing(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) {
        return rustix::io::Errno::PERM.into();
    }
    error
}

/// Returns what the kernel said beneath.
fn number<E: std::error::Error + 'static>(error: E) -> io::Error {
    let mut beneath: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = beneath {
        if let Some(said) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(said);
        }
        beneath = error.source();
    }
    io::Error::other(error.to_string())
}

fn parent() -> u32 {
    getppid().map_or(0, |parent| parent.as_raw_nonzero().get().cast_unsigned())
}

fn must_work(config: &Config, file: &Path) {
    told("read the configuration", fs::read(file));
    told("read the logins", fs::read(&config.relay.users));
    told("read the certificate", fs::read(&config.tls.certificate));
    told("read names of hosts", fs::read("/etc/hosts"));
    told("resolve", ("localhost", 25).to_socket_addrs());
    let spooled = config.spool.path.join("captive.new");
    told("make a file in the spool", fs::write(&spooled, "x"));
    told("rename it", fs::rename(&spooled, config.spool.path.join("captive")));
    told("list the spool", fs::read_dir(&config.spool.path));
    told("remove it", fs::remove_file(config.spool.path.join("captive")));
    let view = View::open(&config.gate.pins).map_err(|error| io::Error::other(error.to_string()));
    told("look into the tables", view);
    told("ask the gate", UnixStream::connect(&config.gate.socket));
    let metrics = config.metrics.as_ref().map(|metrics| TcpListener::bind(metrics.address));
    told("bind the port of the metrics", metrics.unwrap_or_else(|| Err(io::Error::other("none"))));
    // Nothing forbids it: names are asked for so.
    told("bind a UDP port", UdpSocket::bind("127.0.0.1:0"));
    told("start a thread", std::thread::Builder::new().spawn(|| ()));
}
