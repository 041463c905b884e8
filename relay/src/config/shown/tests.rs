use super::*;
use crate::config::Config;

const SHIPPED: &str = include_str!("../../../../config/sallyport.toml");
const SMALL: &str = include_str!("../../../../config/smarthost.toml");

/// Reads a file; the lines in which it declares entries are of no interest.
fn meant(text: &str) -> Config {
    let mut config = Config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    config.gate.allow.iter_mut().for_each(|entry| entry.line = 0);
    config
}

/// The files of this repository, and a small one that has all the tables that may be empty or absent; no address of a
/// webhook in them has more than a host.
fn files() -> [String; 3] {
    let all = "hostname = 'a.example'\npostmaster = 'b@a.example'\n\
               [gate]\ninterfaces = ['eth0']\non_loss = 'second-door'\n[[gate.allow]]\ncidr = '::1/128'\n\
               [[listener]]\naddress = '[::]:0x'\n[oauth]\nkeys = '/k'\nissuer = 'i'\naudience = 'a'\n[tls.acme]\n\
               [[route]]\nname = 'a \"b\" \\ c'\nhosts = [ # one\n 'a.example:25', # and two\n \
               { host = '[::1]:25', weight = 0x10 }]\nlogin = { user = 'u', password-file = '/p' }\n\
               [metrics]\naddress = '[::1]:1'\n[traces]\nendpoint = 'http://a/b'\n[page]\naddress = '[::1]:2'\n\
               [retry]\nafter = []\n\
               [alerts]\nwebhook = [{ url = 'https://a.example' }, { url = 'https://b.example/' }]\n\
               [[alerts.mail]]\nto = ['a@a.example']\n[[alerts.exec]]\ncommand = ['/x']\nclasses = []\n";
    [
        SHIPPED.replace("https://hooks.example.net/sallyport", "https://hooks.example.net/"),
        SMALL.to_owned(),
        all.replace("0x'", "2525'"),
    ]
}

#[test]
fn what_is_shown_of_a_file_is_the_same_configuration_when_it_is_read_again() {
    for text in files() {
        let shown = Config::shown(&text).unwrap().toml();
        assert_eq!(meant(&shown), meant(&text), "{shown}");
        // Nothing is left to a default any more.
        let again = Config::shown(&shown).unwrap();
        let left = |origin: &Origin| matches!(origin, Origin::Default(_));
        let keys = again.sections.iter().flat_map(|section| &section.keys);
        let left: Vec<_> = keys.filter(|(_, origin)| left(origin)).map(|(key, _)| key).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Returns the path of every key of a table that has a value.
fn paths(table: &toml::Table, path: &str, all: &mut Vec<String>) {
    for (key, value) in table {
        let path = format!("{path}.{key}");
        match value {
            Value::Table(inner) => paths(inner, &path, all),
            Value::Array(list) if list.iter().any(Value::is_table) && key != "hosts" => {
                let tables = list.iter().filter_map(Value::as_table).enumerate();
                tables.for_each(|(number, inner)| paths(inner, &format!("{path}.{number}"), all));
            }
            _ => all.push(path),
        }
    }
}

#[test]
fn every_key_that_the_shipped_file_names_is_shown() {
    let (mut named, mut shown) = (Vec::new(), Vec::new());
    paths(&SHIPPED.parse().unwrap(), "", &mut named);
    paths(&Config::shown(SHIPPED).unwrap().toml().parse().unwrap(), "", &mut shown);
    let missing: Vec<_> = named.iter().filter(|path| !shown.contains(path)).collect();
    assert!(named.len() > 150 && missing.is_empty(), "{missing:?}");
}

#[test]
fn each_value_says_where_it_comes_from_and_a_secret_is_not_shown() {
    let text = "hostname = 'a.example'\npostmaster = 'b@a.example'\ngate = { required = false }\n\
                listener = [{ address = '[::]:2525' }]\n[alerts]\n\
                webhook = [{ url = 'https://hooks.example/s3cret?t=s3cret', secret-file = '/key' }]\n";
    let shown = Config::shown(text).unwrap();
    let written = shown.toml();
    for line in [
        "hostname = \"a.example\"                       # line 1",
        "sandbox = \"best-effort\"                      # default",
        "[gate]",
        "required = false                             # line 3",
        "# interfaces is not set",
        "on-loss = \"refuse\"                           # default",
        "# no [[gate.allow]]",
        "[[listener]]",
        "# no [metrics]",
        "[[alerts.webhook]]",
        "url = \"https://hooks.example/...\"            # line 6; the rest of it is a secret",
        "secret-file = \"/key\"                         # line 6",
        "name = \"webhook\"                             # default",
    ] {
        assert!(written.lines().any(|one| one == line), "{line}\n{written}");
    }
    let json = shown.json();
    assert_eq!(json["gate"]["required"], json!({"value": false, "from": "file", "line": 3}));
    assert_eq!(json["gate"]["on-loss"], json!({"value": "refuse", "from": "default"}));
    assert_eq!(json["gate"]["interfaces"], json!({"value": null, "from": "absent"}));
    assert_eq!(json["listener"][0]["address"]["value"], json!("[::]:2525"));
    assert_eq!((&json["metrics"], &json["route"]), (&json!(null), &json!([])));
    assert_eq!(json["alerts"]["webhook"][0]["url"]["concealed"], json!(true));
    for text in [written, json.to_string()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
