use super::*;
use crate::config::{RouteProof, Who};

pub(in crate::cli::init) fn usual() -> Draft {
    let path = PathBuf::from;
    Draft {
        hostname: "relay.example.net".into(),
        postmaster: "ops@example.net".into(),
        interfaces: vec!["eth0".into()],
        listen: "[::]:2525".parse().unwrap(),
        login: "app".into(),
        senders: vec!["@example.net".into()],
        allow: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::7/128".parse().unwrap()],
        next: Next::Smarthosts {
            hosts: vec!["smtp.example.net:587".into()],
            ca: None,
            login: Some("relay".into()),
        },
        acme: None,
        user: "sallyport".into(),
        admin_group: "sallyport-admin".into(),
        places: Places {
            config: path("/etc/sallyport/sallyport.toml"),
            certificate: path("/etc/sallyport/tls/fullchain.pem"),
            key: path("/etc/sallyport/tls/key.pem"),
            spool: path("/var/lib/sallyport/spool"),
            state: path("/var/lib/sallyport"),
            sockets: path("/run/sallyport"),
            pins: path("/sys/fs/bpf/sallyport"),
        },
    }
}

#[test]
fn what_is_written_means_what_was_wanted() {
    let (text, config) = usual().config().unwrap();
    assert_eq!(config.hostname, "relay.example.net");
    assert_eq!(config.gate.interfaces, ["eth0"]);
    let networks: Vec<_> = config.gate.allow.iter().map(|entry| entry.cidr).collect();
    assert_eq!(networks, usual().allow);
    assert_eq!(config.policies[0].who, Who::Login("app".into()));
    let route = &config.routes[0];
    assert!(route.default);
    let proof = &route.login.as_ref().unwrap().proof;
    assert_eq!(*proof, RouteProof::Password("/etc/sallyport/secrets/smarthost".into()));
    // Every table says what it is for.
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with('[')) {
        assert!(pair[0].starts_with('#') || pair[1] == "[[gate.allow]]", "{pair:?}");
    }
    assert!(lines.iter().all(|line| line.len() <= 110), "{text}");
}

#[test]
fn what_is_as_everywhere_is_left_out_and_what_is_not_stands_there() {
    let text = usual().text();
    for key in ["pins", "socket", "admin-group", "state", "[relay]", "[history]"] {
        assert!(!text.contains(&format!("\n{key}")), "{key} in\n{text}");
    }
    let mut draft = usual();
    draft.user = "65534".into();
    draft.admin_group = "wheel".into();
    let places = &mut draft.places;
    places.config = "/x/sallyport.toml".into();
    places.state = "/x/state".into();
    places.sockets = "/x/run".into();
    places.pins = "/x/bpf/sallyport".into();
    let (text, config) = draft.config().unwrap();
    assert_eq!(config.relay.user, "65534");
    for (is, wanted) in [
        (&config.relay.users, "/x/users.toml"),
        (&config.relay.socket, "/x/run/relay.sock"),
        (&config.gate.socket, "/x/run/gate.sock"),
        (&config.gate.state, "/x/state/gate"),
        (&config.gate.pins, "/x/bpf/sallyport"),
        (&config.history.path, "/x/state/history"),
    ] {
        assert_eq!(is, Path::new(wanted), "{text}");
    }
    assert_eq!(config.gate.admin_group, "wheel");
}

#[test]
fn an_authority_stands_there_with_what_is_not_usual() {
    let directory = crate::config::acme::DIRECTORY.to_owned();
    let usual_one = Acme {
        directory,
        ca: None,
        names: Vec::new(),
        contact: None,
        address: "[::]:80".parse().unwrap(),
    };
    let draft = Draft { acme: Some(usual_one.clone()), ..usual() };
    let (text, config) = draft.config().unwrap();
    let acme = config.tls.acme.unwrap();
    assert_eq!(acme.names(&config.hostname), ["relay.example.net"]);
    assert!(!text.contains("account = ") && !text.contains("\nnames"), "{text}");
    let other = Acme {
        directory: "https://ca.example/d".into(),
        ca: Some("/x/ca.pem".into()),
        names: vec!["relay.example.net".into(), "mx.example.net".into()],
        contact: Some("ops@example.net".into()),
        address: "0.0.0.0:8080".parse().unwrap(),
    };
    let mut draft = Draft { acme: Some(other.clone()), ..usual() };
    draft.places.config = "/x/sallyport.toml".into();
    let (text, config) = draft.config().unwrap();
    let acme = config.tls.acme.unwrap();
    assert_eq!(
        (&acme.directory, &acme.ca_file, &acme.names),
        (&other.directory, &other.ca, &other.names)
    );
    assert_eq!(acme.contact.map(|contact| contact.to_string()), other.contact, "{text}");
    assert_eq!((acme.address, acme.account), (other.address, "/x/acme/account.json".into()));
    let bad = Draft { acme: Some(Acme { contact: Some("nobody".into()), ..usual_one }), ..usual() };
    assert!(bad.config().unwrap_err().starts_with("tls.acme.contact: "));
}

#[test]
fn without_networks_and_hosts_it_is_whole_too() {
    let draft = Draft { allow: Vec::new(), next: Next::Capture, ..usual() };
    let (text, config) = draft.config().unwrap();
    assert!(config.gate.allow.is_empty() && config.routes[0].capture, "{text}");
}

#[test]
fn nothing_that_is_answered_can_end_its_string() {
    let hostile = "a\"\nhostname = \"b\n#\\";
    for change in [
        (|draft: &mut Draft, text: &str| draft.hostname = text.into()) as fn(&mut Draft, &str),
        |draft, text| draft.login = text.into(),
        |draft, text| draft.senders = vec![text.into()],
        |draft, text| draft.interfaces = vec![text.into()],
        |draft, text| draft.places.spool = text.into(),
    ] {
        let mut draft = usual();
        change(&mut draft, hostile);
        match draft.config() {
            // A login and a folder may be called anything.
            Ok((_, config)) => {
                let login = Who::Login(hostile.into());
                let spool = Path::new(hostile);
                assert!(config.policies[0].who == login || config.spool.path == spool);
            }
            Err(problems) => assert!(!problems.contains("hostname: written twice"), "{problems}"),
        }
    }
}

#[test]
fn a_problem_names_its_key() {
    let draft = Draft { hostname: "not a name".into(), postmaster: "nobody".into(), ..usual() };
    let problems = draft.config().unwrap_err();
    let keys: Vec<_> =
        problems.lines().filter_map(|line| line.split_once(':')).map(|(k, _)| k).collect();
    assert_eq!(keys, ["hostname", "postmaster"], "{problems}");
}
