//! The file in `config/` says what the code says, and every problem is named with its place.

use super::*;

const SHIPPED: &str = include_str!("../../../../config/sallyport.toml");

fn read_keys(text: &str) -> std::collections::BTreeMap<String, Presence> {
    let source = Source::new(text);
    assert!(whole(&source, text).is_some(), "{:?}", source.into_parts().0);
    source.keys()
}

/// Parses `text` without the key `table.key`, everywhere that table stands.
fn without(text: &str, name: &str) -> toml::Table {
    fn remove(table: &mut toml::Table, path: &[&str]) {
        match path {
            [] => {}
            [key] => {
                table.remove(*key);
            }
            [first, rest @ ..] => match table.get_mut(*first) {
                Some(toml::Value::Table(inner)) => remove(inner, rest),
                Some(toml::Value::Array(list)) => {
                    list.iter_mut().filter_map(|v| v.as_table_mut()).for_each(|t| remove(t, rest));
                }
                _ => {}
            },
        }
    }
    let mut table: toml::Table = text.parse().unwrap();
    remove(&mut table, &name.split('.').collect::<Vec<_>>());
    table
}

fn parse(table: &toml::Table) -> Result<Config, Vec<Problem>> {
    let mut config = Config::parse(&table.to_string())?;
    config.gate.allow.iter_mut().for_each(|entry| entry.line = 0);
    Ok(config)
}

#[test]
fn the_shipped_file_names_every_key_that_the_code_knows() {
    let written: toml::Table = SHIPPED.parse().unwrap();
    for name in read_keys(SHIPPED).keys() {
        assert_ne!(without(SHIPPED, name), written, "{name} is missing from config/sallyport.toml");
    }
}

#[test]
fn the_shipped_file_shows_the_defaults_of_the_code() {
    let whole = parse(&SHIPPED.parse().unwrap()).unwrap();
    for (name, presence) in read_keys(SHIPPED) {
        let table = without(SHIPPED, &name);
        match presence {
            Presence::Defaulted => assert_eq!(parse(&table).as_ref(), Ok(&whole), "{name}"),
            Presence::Required => {
                let problems = parse(&table).unwrap_err();
                assert!(problems.iter().any(|p| p.message.starts_with(&name)), "{problems:?}");
            }
            // Absence means something else, or is refused by a check of the whole.
            Presence::Optional => assert_ne!(parse(&table).as_ref(), Ok(&whole), "{name}"),
        }
    }
}

#[test]
fn every_key_of_the_shipped_file_has_a_comment_above_it() {
    let mut commented = false;
    for line in SHIPPED.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            commented = true;
        } else if line.contains(" = ") {
            assert!(commented, "no comment above: {line}");
            commented = false;
        }
    }
}

#[test]
fn the_small_example_is_good() {
    let config = Config::parse(include_str!("../../../../config/smarthost.toml")).unwrap();
    assert!(config.routes[0].login.is_some());
}

/// The problems of a small valid file into which a row's lines are put.
fn problems(extra: &str) -> Vec<String> {
    let text = format!(
        "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n{extra}\n\
         [[listener]]\naddress = \"[::]:2525\"\n"
    );
    match Config::parse(&text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn each_problem_is_named_with_place_and_remedy() {
    let gate = "[gate]\ninterfaces = [\"eth0\"]\n";
    let rows: &[(&str, &str)] = &[
        ("", "line 1, column 1: gate.interfaces: name the interfaces to guard"),
        ("[gate]\ninterfaces = [\"a/b\"]", "line 4, column 14: gate.interfaces: \"a/b\" is not"),
        ("[gate]\nrequired = 1", "line 4, column 12: gate.required: expected true or false"),
        (
            "[gate]\nrequird = true",
            "line 4, column 1: gate.requird: no such key; do you mean required?",
        ),
        ("[alerts]\nkep = \"1d\"", "line 4, column 1: alerts.kep: no such key; do you mean keep?"),
        (
            "[alerts]\nprogram = \"/bin/page\"",
            "alerts.program: no such key; known are exec, journal, keep, mail, remind and webhook",
        ),
        ("[gate]\nstate = \"x\"", "line 4, column 9: gate.state: expected an absolute path"),
        (
            "[gate]\non_loss = \"x\"",
            "line 4, column 11: gate.on-loss: expected \"refuse\" or \"second-door\"",
        ),
        (
            "[[gate.allow]]\ncidr = \"10.1.2.3/8\"",
            "line 4, column 8: gate.allow.cidr: 10.1.2.3/8 has host bits set: write 10.0.0.0/8",
        ),
        ("[[gate.allow]]\ntag = \"t\"", "line 3, column 1: gate.allow.cidr: this key is required"),
        ("[limits]\nidle = \"5x\"", "line 4, column 8: limits.idle: \"5x\" is no duration"),
        ("[limits]\nmessage-size = \"1TiB\"", "column 16: limits.message-size: expected a size"),
        (
            "[page]\naddress = \"[::]:9526\"",
            "line 3, column 1: page.viewers: name the logins that may look, or everybody",
        ),
        (
            "[page]\naddress = \"[::1]:0\"",
            "line 4, column 11: page.address: the port must not be 0",
        ),
        ("[page]\naddress = \"[::1]:1\"\nnames = [\"a b\"]", "line 5, column 10: page.names: "),
        ("[history]\nkeep = \"12h\"", "line 4, column 8: history.keep: write 1d or more, or 0d"),
        ("[limits]\nerrors = 0", "limits.errors: 0 is not within 1 to 1000"),
        (
            "[[policy]]\ntag = \"t\"\nsenders = []\nrecipients = [\"<>\"]",
            "line 6, column 15: policy.recipients: expected \"news@example.net\"",
        ),
        (
            "[[policy]]\ntag = \"t\"\nsenders = []\nquota = \"10/min\"",
            "line 6, column 9: policy.quota: a quota is for an hour or a day",
        ),
        (
            "[[policy]]\ntag = \"t\"\nsenders = []\nexpire = \"0s\"",
            "line 6, column 10: policy.expire: mail lives at least a second",
        ),
        (
            "[[policy]]\ntag = \"t\"\nsenders = []\nretry-after = []",
            "line 6, column 15: policy.retry-after: name at least one wait",
        ),
        (
            "[[policy]]\ntag = \"t\"\nsenders = []\nretry-after = [\"1m\", \"1ms\"]",
            "policy.retry-after: a wait is at least a second",
        ),
        (
            "[[policy]]\ntag = \"t\"\nsenders = []\nrecipients-per-message = 3001",
            "policy.recipients-per-message: 3001 is not within 1 to 3000",
        ),
        ("[[policy]]\ntag = \"t\"\nsenders = []\nsessions = 0", "policy.sessions: 0 is not within"),
        ("[limits]\nsessions-per-network = 0", "limits.sessions-per-network: 0 is not within"),
        (
            "[[policy]]\nlogin = \"l\"\nsenders = [\"*\"]\nauto-ban = true",
            "line 6, column 12: policy.auto-ban: a ban shuts out a source, not a login",
        ),
        ("[[policy]]\nsenders = [\"*\"]", "policy.tag: a policy names either a tag or a login"),
        (
            "[[policy]]\ntag = \"t\"\nsenders = [\"x\"]\nroute = \"r\"",
            "line 6, column 9: policy.route: there is no [[route]] with the name \"r\"",
        ),
        ("[[route]]\nname = \"r\"\nhosts = [\"h\"]", "route.hosts: expected a host and a port"),
        (
            "[[route]]\nname = \"r\"\nhosts = [\"a.example:25\", { weight = 2 }]",
            "line 5, column 26: route.hosts: a next hop needs a host, as in { host = ",
        ),
        (
            "[[route]]\nname = \"r\"\nhosts = [{ host = \"a.example:25\", wieght = 2 }]",
            "route.hosts: wieght: no such key; it may have order and weight",
        ),
        (
            "[[route]]\nname = \"r\"\nhosts = [{ host = \"a.example:25\", weight = 0 }]",
            "route.hosts: weight: 0 is not within 1 to 1000",
        ),
        (
            "[[route]]\nname = \"r\"\nhosts = [\"a.example:25\", \"A.example:25\"]",
            "line 5, column 9: route.hosts: a.example:25 is named twice",
        ),
        (
            "[[route]]\nname = \"r\"\nhosts = [\"a.example:25\"]\nrate = \"fast\"",
            "line 6, column 8: route.rate: expected a rate",
        ),
        (
            "[[route]]\nname = \"r\"\nhosts = [\"smtp.example.net:25\"]\ntls = \"none\"",
            "line 6, column 7: route.tls: mail goes to smtp.example.net in the clear",
        ),
        (
            "[[listener]]\naddress = \"[::]:465\"\nclient-certificates = \"required\"",
            "line 5, column 23: listener.client-certificates: name the authority that signs them",
        ),
        (
            "[[dkim]]\ndomain = \"a.example\"\nselector = \"s\"\nkey-file = \"/k\"\n\
             [[dkim]]\ndomain = \"A.example\"\nselector = \"S\"\nkey-file = \"/k\"",
            "line 9, column 12: dkim.selector: \"s\" of a.example is named twice",
        ),
        (
            "[[dkim]]\ndomain = \"a.example\"\nselector = \"s\"\nkey-file = \"k.pem\"",
            "line 6, column 12: dkim.key-file: expected an absolute path",
        ),
        (
            "[tls.acme]\ndirectory = \"http://ca.example/\"",
            "line 4, column 13: tls.acme.directory: expected an address of https",
        ),
        (
            "[tls.acme]\naddress = \"[::]:2525\"",
            "line 4, column 11: tls.acme.address: its port is that of a [[listener]]",
        ),
        ("[[tls.also]]\ncertificate = \"/c\"", "tls.also.key: this key is required"),
        (
            "[[listener]]\naddress = \"[::]:465\"\nproxy = [\"192.0.2.8/24\"]",
            "line 5, column 10: listener.proxy: 192.0.2.8/24 has host bits set: write 192.0.2.0/24",
        ),
        (
            "[[listener]]\naddress = \"[::]:465\"\nxclient = [\"::1\", \"::/0\"]",
            "line 5, column 11: listener.xclient: everybody could choose the address",
        ),
        (
            "[[route]]\nname = \"r\"\nhosts = []\ndomains = [\"192.0.2.1\"]",
            "line 6, column 12: route.domains: expected a domain name",
        ),
        ("hostname = \"twice.example.net\"", "line 3, column 1: duplicate key"),
        ("[gate", "line 3, column"),
    ];
    for (extra, expected) in rows {
        let problems = problems(extra);
        assert!(problems.iter().any(|p| p.contains(expected)), "{extra}: {problems:#?}");
    }
    assert_eq!(problems(gate), Vec::<String>::new());
}

#[test]
fn a_next_hop_without_an_order_has_its_place_in_the_list() {
    let text = "[[route]]\nname = \"r\"\nhosts = [\"a.example:25\", { host = \"b.example:25\" }, \
                { host = \"c.example:25\", order = 2, weight = 7 }, \"d.example:25\"]\n";
    let text = format!(
        "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
         [gate]\ninterfaces = [\"eth0\"]\n[[listener]]\naddress = \"[::]:2525\"\n{text}"
    );
    let config = Config::parse(&text).unwrap();
    let hosts = config.routes[0].hosts.iter();
    let shown: Vec<_> = hosts.map(|host| (&*host.hop.host, host.order, host.weight)).collect();
    let expected = [("a.example", 1, 1), ("b.example", 2, 1), ("c.example", 2, 7)];
    assert_eq!(shown[..3], expected);
    assert_eq!(shown[3], ("d.example", 4, 1));
}

#[test]
fn all_problems_come_in_one_go() {
    let all = problems("[gate]\nstrict = 1\nunknown = 2\n[limits]\nidle = 3\nerrors = \"x\"");
    assert_eq!(all.len(), 5, "{all:#?}");
}

#[test]
fn a_mapped_ipv4_network_becomes_ipv4() {
    assert_eq!(unit::network("::ffff:192.0.2.0/120").unwrap().to_string(), "192.0.2.0/24");
    assert!(unit::network("::ffff:192.0.2.1/120").unwrap_err().contains("192.0.2.0/24"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = Config::parse(&text);
        let _ = unit::network(&text);
        let _ = unit::time(&text);
    }
}
