//! `tests/rfc` is complete and true: every rule of an RFC that concerns a submission server, and
//! every line of the list of what clients and scanners test, has tests that exist, or a reason.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tests::named::{self, top};

/// The RFCs that a submission server is held to here.
const RFCS: [u16; 22] = [
    1870, 2034, 2852, 2920, 3030, 3207, 3461, 4616, 4865, 4954, 5321, 5802, 6376, 6409, 6531, 6710,
    7628, 7677, 8314, 8689, 9266, 9422,
];

/// How many behaviours of a submission relay clients and scanners are known to test.
const BEHAVIOURS: usize = 106;

/// The least that a reason says.
const REASON_MIN: usize = 20;

/// One RFC.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    title: String,
    rule: Vec<Rule>,
}

/// What an RFC says MUST be, in our words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    section: String,
    says: String,
    state: State,
    test: Option<String>,
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// A test shows it.
    Kept,
    /// We do otherwise, on purpose or not yet.
    Deviates,
    /// It is for others: clients, registries, or an extension that is not offered.
    NotOurs,
}

/// The behaviours that clients and scanners test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Behaviours {
    title: String,
    line: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: usize,
    says: String,
    #[serde(default)]
    tests: Vec<String>,
    why: Option<String>,
}

fn read<T: DeserializeOwned>(name: &str) -> Result<T> {
    let path = top().join("tests/rfc").join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| name.to_owned())
}

/// Says what is wrong with a rule.
fn judge(rule: &Rule) -> Result<()> {
    let numbers = rule.section.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    ensure!(numbers && !rule.section.is_empty(), "{} is no section", rule.section);
    ensure!(rule.says.len() > REASON_MIN && rule.says.ends_with('.'), "says nothing");
    let has_reason = rule.why.as_ref().is_some_and(|why| why.len() > REASON_MIN);
    match rule.state {
        State::Kept => ensure!(rule.test.is_some() && rule.why.is_none(), "kept by which test?"),
        State::Deviates | State::NotOurs => ensure!(has_reason, "{:?}, and why?", rule.state),
    }
    rule.test.as_deref().map_or(Ok(()), named::find)
}

#[test]
fn every_rule_has_a_living_test_or_a_reason() -> Result<()> {
    let (mut problems, mut rules) = (Vec::new(), 0);
    for number in RFCS {
        let ledger: Ledger = read(&format!("rfc{number}.toml"))?;
        ensure!(!ledger.title.is_empty() && !ledger.rule.is_empty(), "RFC {number} is empty");
        let mut said = BTreeSet::new();
        for rule in &ledger.rule {
            rules += 1;
            let at = format!("RFC {number}, section {}: {}", rule.section, rule.says);
            problems.extend(judge(rule).err().map(|error| format!("{at}\n  {error:#}")));
            ensure!(said.insert(&rule.says), "{at}\n  said twice");
        }
    }
    ensure!(problems.is_empty(), "{} of {rules}:\n{}", problems.len(), problems.join("\n"));
    ensure!(rules >= 150, "the ledger has lost rules: {rules} are left");
    Ok(())
}

#[test]
fn every_behaviour_that_clients_test_has_a_living_test_or_a_reason() -> Result<()> {
    let behaviours: Behaviours = read("conformance.toml")?;
    ensure!(!behaviours.title.is_empty(), "without a title");
    let numbers: Vec<usize> = behaviours.line.iter().map(|line| line.number).collect();
    ensure!(numbers == (1..=BEHAVIOURS).collect::<Vec<_>>(), "the numbers are {numbers:?}");
    let mut problems = Vec::new();
    for line in &behaviours.line {
        let at = format!("{}: {}", line.number, line.says);
        let reason = line.why.as_ref().map(|why| why.len() > REASON_MIN);
        let is_kept = !line.tests.is_empty() && reason != Some(false) || reason == Some(true);
        if line.says.len() <= REASON_MIN || !is_kept {
            problems.push(format!("{at}\n  neither test nor reason"));
        }
        for test in &line.tests {
            problems.extend(named::find(test).err().map(|error| format!("{at}\n  {error:#}")));
        }
    }
    ensure!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
    Ok(())
}

#[test]
fn the_folder_holds_these_files_and_no_others() -> Result<()> {
    let mut expected: BTreeSet<PathBuf> =
        RFCS.iter().map(|number| format!("rfc{number}.toml").into()).collect();
    expected.insert("conformance.toml".into());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(top().join("tests/rfc"))? {
        let path = PathBuf::from(entry?.file_name());
        if path.extension().is_some_and(|ending| ending == "toml") {
            found.insert(path);
        }
    }
    ensure!(found == expected, "there are {found:?}");
    Ok(())
}

#[test]
fn a_test_that_is_gone_ignored_or_no_test_is_found() {
    let text = "fn helper() {}\n\n#[test]\nfn lives() {}\n\n#[test]\n#[ignore = \"slow\"]\nfn sleeps() {}\n\n\
                #[tokio::test]\nasync fn waits() {}\n";
    assert!(named::is_a_test(text, "lives") && named::is_a_test(text, "waits"));
    for name in ["helper", "sleeps", "gone", "live"] {
        assert!(!named::is_a_test(text, name), "{name}");
    }
    for name in ["PENDING", "gone.smtp", "relay/src/lib.rs gone", "relay/src/gone.rs gone"] {
        assert!(named::find(name).is_err(), "{name}");
    }
}

#[test]
fn a_rule_without_its_test_or_reason_is_found() {
    let rule = |state: &str, rest: &str| {
        let text = format!("section = \"1\"\nsays = \"Something has to be so.\"\n{state}\n{rest}");
        toml::from_str::<Rule>(&text).map_err(anyhow::Error::from).and_then(|rule| judge(&rule))
    };
    let why = "why = \"a reason that is long enough\"";
    assert!(rule("state = \"deviates\"", why).is_ok());
    assert!(rule("state = \"kept\"", why).is_err());
    assert!(rule("state = \"kept\"", "test = \"PENDING the others\"").is_err());
    assert!(rule("state = \"not-ours\"", "").is_err());
    assert!(rule("state = \"not-ours\"", "why = \"no\"").is_err());
    assert!(rule("state = \"kept\"", "text = \"unknown\"").is_err());
}
