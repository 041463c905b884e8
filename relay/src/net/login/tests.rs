//! Logins by every mechanism, against a file of users that changes.

use zeroize::Zeroizing;

use super::*;
use crate::policy::credential::Hash;
use crate::users::{self, Password};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn shown(login: &str, password: &str) -> Proof {
    acting(login, password, None)
}

fn acting(login: &str, password: &str, acts_as: Option<&str>) -> Proof {
    let password = Zeroizing::new(password.as_bytes().to_vec());
    let acts_as = acts_as.map(str::to_owned);
    Proof::Password(Credentials { login: login.to_owned(), password, acts_as })
}

#[tokio::test]
async fn logins_are_granted_as_the_file_says_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let logins = Logins::start(&path, Journal::memory(), Conduct::without_gate()).unwrap();
    assert_eq!(logins.verify(SOURCE, shown("app", "x")).await, Verdict::Denied);
    let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
    let app = || shown("app", &password);
    let granted = Verdict::Granted("app".to_owned());
    assert_eq!(logins.verify(SOURCE, app()).await, granted);
    assert_eq!(logins.verify(SOURCE, app()).await, granted, "from memory");
    let as_other = acting("app", &password, Some("web"));
    assert_eq!(logins.verify(SOURCE, as_other).await, Verdict::Denied);
    users::remove(&path, "app").unwrap();
    assert_eq!(logins.verify(SOURCE, app()).await, Verdict::Denied, "the memory is dropped");
}

#[tokio::test]
async fn five_failures_make_the_pair_wait_and_are_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
    let journal = Journal::memory();
    let logins = Logins::start(&path, journal.clone(), Conduct::without_gate()).unwrap();
    for _ in 0..5 {
        assert_eq!(logins.verify(SOURCE, shown("app", "wrong")).await, Verdict::Denied);
    }
    assert_eq!(logins.verify(SOURCE, shown("app", &password)).await, Verdict::Later);
    let other = "192.0.2.2".parse().unwrap();
    let granted = Verdict::Granted("app".to_owned());
    assert_eq!(logins.verify(other, shown("app", &password)).await, granted);
    let login = "app".to_owned();
    let cause = "wrong_password";
    assert_eq!(journal.take(), [Event::LoginFailed { source: SOURCE, login, cause, failures: 5 }]);
}

#[tokio::test]
async fn whoever_invents_names_has_a_few_lines_and_others_have_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    users::add(&path, "app", Password::Made).unwrap();
    let journal = Journal::memory();
    let logins = Logins::start(&path, journal.clone(), Conduct::without_gate()).unwrap();
    let fail = async |source: IpAddr, login: String| {
        for _ in 0..5 {
            let proof = Proof::NoKeys { login: login.clone() };
            assert_eq!(logins.verify(source, proof).await, Verdict::Denied);
        }
    };
    for number in 0..100 {
        fail(SOURCE, format!("name-{number}")).await;
    }
    fail("192.0.2.2".parse().unwrap(), "app".to_owned()).await;
    let line = |event| match event {
        Event::LoginFailed { login, cause, .. } => Some((login, cause)),
        _ => None,
    };
    let lines: Vec<_> = journal.take().into_iter().filter_map(line).collect();
    let invented = (0..3).map(|number| (format!("name-{number}"), "unknown_login"));
    let wanted: Vec<_> = invented.chain([("app".to_owned(), "wrong_password")]).collect();
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn keys_of_no_login_look_like_those_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    users::add(&path, "app", Password::Made).unwrap();
    let logins = Logins::start(&path, Journal::memory(), Conduct::without_gate()).unwrap();
    let keys = async |login: &str, hash| {
        let wanted = Wanted { login: login.to_owned(), hash };
        logins.keys(SOURCE, wanted).await.unwrap()
    };
    for hash in [Hash::Sha256, Hash::Sha512] {
        let (real, fake) = (keys("app", hash).await, keys("none", hash).await);
        assert_eq!(real.iterations, fake.iterations);
        assert_eq!(real.salt.len(), fake.salt.len());
        assert_eq!(fake, keys("none", hash).await, "always the same");
        assert_ne!(fake.salt, keys("other", hash).await.salt);
        for keys in [&real.keys, &fake.keys] {
            assert_eq!((keys.stored.len(), keys.server.len()), (hash.octets(), hash.octets()));
        }
    }
}

#[tokio::test]
async fn failures_by_every_mechanism_make_the_pair_wait_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
    let conduct = Conduct::without_gate();
    let logins = Logins::start(&path, Journal::memory(), conduct.clone()).unwrap();
    let no_keys = || Proof::NoKeys { login: "app".to_owned() };
    let keys = |acts_as: Option<&str>| Proof::Keys {
        login: "app".to_owned(),
        acts_as: acts_as.map(str::to_owned),
    };
    assert_eq!(logins.verify(SOURCE, keys(None)).await, Verdict::Granted("app".to_owned()));
    assert_eq!(logins.verify(SOURCE, keys(Some("web"))).await, Verdict::Denied);
    for _ in 0..4 {
        assert_eq!(logins.verify(SOURCE, no_keys()).await, Verdict::Denied);
    }
    assert_eq!(conduct.tallies().take().causes.put_off, 0);
    assert_eq!(logins.verify(SOURCE, shown("app", &password)).await, Verdict::Later);
    assert_eq!(logins.verify(SOURCE, keys(None)).await, Verdict::Later);
    let wanted = Wanted { login: "app".to_owned(), hash: Hash::Sha256 };
    assert_eq!(logins.keys(SOURCE, wanted).await, None);
    // Each is told to the gate once: guessing is not over while it is put off.
    let tally = conduct.tallies().take();
    assert_eq!((tally.causes.put_off, tally.failed.by[&SOURCE], tally.failed.sum()), (3, 3, 3));
    assert_eq!(tally.failure.as_deref(), Some("192.0.2.1 as app, put_off"));
}

#[tokio::test]
async fn a_certificate_grants_its_names_only() {
    let folder = tempfile::tempdir().unwrap();
    let logins = Logins::start(
        &folder.path().join("users.toml"),
        Journal::memory(),
        Conduct::without_gate(),
    )
    .unwrap();
    let certificate = |acts_as: Option<&str>| Proof::Certificate {
        names: vec!["app".to_owned(), "app.example.net".to_owned()],
        acts_as: acts_as.map(str::to_owned),
    };
    for (acts_as, verdict) in [
        (None, Verdict::Granted("app".to_owned())),
        (Some("app.example.net"), Verdict::Granted("app.example.net".to_owned())),
        (Some("web"), Verdict::Denied),
    ] {
        assert_eq!(logins.verify(SOURCE, certificate(acts_as)).await, verdict);
    }
}

#[tokio::test]
async fn a_file_that_is_away_leaves_the_list_in_force_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let journal = Journal::memory();
    let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
    let logins = Logins::start(&path, journal.clone(), Conduct::without_gate()).unwrap();
    std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let granted = Verdict::Granted("app".to_owned());
    assert_eq!(logins.verify(SOURCE, shown("app", &password)).await, granted);
    let told = journal.take();
    assert!(
        matches!(&told[..], [Event::Trouble { problem, .. }] if problem.contains("stays in force")),
        "{told:?}"
    );
}

#[tokio::test]
async fn the_operator_is_told_why_logins_fail_and_their_clients_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let password = users::add(&path, "app", Password::Made).unwrap().unwrap();
    let conduct = Conduct::without_gate();
    let logins = Logins::start(&path, Journal::memory(), conduct.clone()).unwrap();
    let certificate = Proof::Certificate { names: vec!["app".into()], acts_as: Some("web".into()) };
    for (proof, told, words) in [
        (shown("web", "wrong"), ("unknown_login", 1), "192.0.2.1 as web, unknown_login"),
        (shown("app", "wrong"), ("wrong_password", 1), "192.0.2.1 as app, wrong_password"),
        (
            Proof::NoKeys { login: "app".into() },
            ("wrong_password", 1),
            "192.0.2.1 as app, wrong_password",
        ),
        (
            acting("app", &password, Some("web")),
            ("other_login", 1),
            "192.0.2.1 as app, other_login",
        ),
        (certificate, ("other_login", 1), "192.0.2.1 as web, other_login"),
        (shown("no login at all\r\n", "x"), ("unknown_login", 1), "192.0.2.1, unknown_login"),
    ] {
        assert_eq!(logins.verify(SOURCE, proof).await, Verdict::Denied);
        let tally = conduct.tallies().take();
        let causes = tally.causes.named().into_iter().filter(|(_, count)| *count > 0);
        assert_eq!(causes.collect::<Vec<_>>(), [told]);
        assert_eq!(tally.failure.as_deref(), Some(words));
    }
    assert_eq!(
        logins.verify(SOURCE, shown("app", &password)).await,
        Verdict::Granted("app".into())
    );
    assert_eq!(
        conduct.tallies().take().causes.named().iter().map(|(_, count)| count).sum::<u64>(),
        0
    );
}
