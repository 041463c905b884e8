//! The units that we ship, as systemd reads them.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use relay::cli::init::draft::{Draft, Next, Places};
use relay::cli::init::units;
use tests::need;
use tests::systemd::RELAY;

/// Returns the units of `config/`: names and texts.
fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let files = fs::read_dir(folder.join("config")).expect("the folder is there");
    let units = files.flatten().map(|file| file.path());
    let units = units.filter(|path| path.extension().is_some_and(|ending| ending == "service"));
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("it can be read"))
    };
    units.map(read).collect()
}

/// Returns what `systemd-analyze verify` has to say of units that stand side by side; nothing: all is well.
/// The program need not be installed.
fn complaints(analyze: &Path, units: &[(String, String)]) -> String {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut command = Command::new(analyze);
    command.args(["verify", "--man=no"]);
    for (name, text) in units {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(&path, text.replace("/usr/bin/sallyport", "/bin/true")).expect("it is written");
        // What stands beside a unit is read with it.
        if !name.contains('/') {
            command.arg(path);
        }
    }
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { said } else { format!("{}\n{said}", output.status) }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_would_say_so() {
    let Some(analyze) = need::tool("systemd-analyze") else { return };
    let units = shipped();
    assert!(units.len() >= 5, "{units:?}");
    assert_eq!(complaints(&analyze, &units), "");
    let misspelled: Vec<_> = units
        .into_iter()
        .map(|(name, text)| (name, text.replace("KeyringMode=", "KeyringModes=")))
        .collect();
    let said = complaints(&analyze, &misspelled);
    assert_eq!(said.matches("Unknown key").count(), misspelled.len(), "{said}");
}

/// Each unit, and the most that `systemd-analyze security` may call its exposure, in tenths.
///
/// The gate must be root at its start, load programs and set interfaces. Of the relay's 14 ten come from being a
/// server on the network, two from bpf(2), by which it reads the gate's tables, and two from a user namespace in which
/// it knows who asks: where systemd has one, the generator asks for it ([`IN_A_NAMESPACE`]). The renewal is root, for
/// files of root and of the relay's user, and for port 80. The two of the network end before any traffic comes; the
/// first must mount where the host sees it.
const EXPOSURES: [(&str, u8); 5] = [
    ("sallyport-gate.service", 30),
    ("sallyport-relay.service", 14),
    ("sallyport-certificate.service", 22),
    ("sallyport-netns.service", 41),
    ("sallyport-netns-rules.service", 21),
];

/// The most of the relay where it has a user namespace.
const IN_A_NAMESPACE: u8 = 12;

/// Returns what the unit of the relay says where the generator has asked for a user namespace, if systemd knows one.
fn in_a_namespace(analyze: &Path, text: &str) -> Option<String> {
    let output = Command::new(analyze).arg("--version").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version: u32 = said.split_whitespace().nth(1).and_then(|word| word.parse().ok())?;
    let users = match version {
        ..257 => return None,
        257 => "identity",
        258.. => "full",
    };
    Some(text.replacen("\n[Install]", &format!("\nPrivateUsers={users}\n[Install]"), 1))
}

#[test]
fn systemd_calls_no_unit_more_exposed_than_it_must_be() {
    let Some(analyze) = need::tool("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut judged = Vec::new();
    for (name, text) in shipped() {
        let most = EXPOSURES.iter().find(|(unit, _)| *unit == name);
        let (_, most) = most.unwrap_or_else(|| panic!("how exposed may {name} be?"));
        if name == RELAY
            && let Some(text) = in_a_namespace(&analyze, &text)
        {
            judged.push((name.clone(), text, IN_A_NAMESPACE));
        }
        judged.push((name, text, *most));
    }
    for (name, text, most) in judged {
        let path = folder.path().join(&name);
        fs::write(&path, text).expect("it is written");
        let mut command = Command::new(&analyze);
        command.args(["security", "--offline=true", "--no-pager"]);
        command.arg(format!("--threshold={most}")).arg(&path);
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        // Without this line it judged nothing.
        assert!(said.contains(&format!("Overall exposure level for {name}")), "{said}");
        assert!(output.status.success(), "{name}: more than {most} tenths\n{said}");
    }
}

#[test]
fn systemd_reads_what_a_first_set_up_tells_it() {
    let Some(analyze) = need::tool("systemd-analyze") else { return };
    let odd = Path::new("/srv/my \\ \"state\" 5%");
    let draft = Draft {
        hostname: "relay.example.net".into(),
        postmaster: "ops@example.net".into(),
        interfaces: vec!["eth0".into()],
        listen: "[::]:2525".parse().expect("an address"),
        login: "app".into(),
        senders: vec!["@example.net".into()],
        allow: Vec::new(),
        next: Next::Capture,
        acme: None,
        user: "daemon".into(),
        admin_group: "sallyport-admin".into(),
        places: Places {
            config: "/etc/sallyport/sallyport.toml".into(),
            certificate: "/etc/sallyport/tls/fullchain.pem".into(),
            key: "/etc/sallyport/tls/key.pem".into(),
            spool: odd.join("spool"),
            state: odd.to_owned(),
            sockets: odd.join("sockets"),
            pins: "/mnt/bpf/sallyport".into(),
        },
    };
    let (_, meant) = draft.config().expect("it can stand");
    let drop_ins = units::UNITS.into_iter().zip(units::texts(&draft, &meant));
    let named = drop_ins.map(|(unit, text)| (format!("{unit}.service.d/init.conf"), text));
    let named: Vec<_> = named.collect();
    let beside = |change: &dyn Fn(&str) -> String| {
        let changed = named.iter().map(|(name, text)| (name.clone(), change(text)));
        complaints(&analyze, &shipped().into_iter().chain(changed).collect::<Vec<_>>())
    };
    assert_eq!(beside(&str::to_owned), "");
    let said = beside(&|text| text.replacen("\"-/", "\"-", 1));
    assert_eq!(said.matches("is not absolute").count(), named.len(), "{said}");
}
