use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::config::{Config, TokenIssuer};

/// A route with a login in `lines`, and its secrets in a folder.
fn login(folder: &TempDir, lines: &str, secrets: &[(&str, &str)]) -> (Arc<Login>, Journal) {
    let (config, journal) = (config(folder, lines, secrets), Journal::memory());
    (Login::of(&config.routes[0], &journal, &Issuers::default()).unwrap(), journal)
}

fn config(folder: &TempDir, lines: &str, secrets: &[(&str, &str)]) -> Config {
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in secrets {
        fs::write(path(name), text).unwrap();
    }
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n\
         [[route]]\nname = 'r'\nhosts = ['localhost:587']\n\
         client-certificate = '/c'\nclient-key = '/k'\n{}\n",
        lines.replace("FOLDER", &folder.path().display().to_string())
    );
    Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// What credentials would show.
fn shown(credentials: &Credentials) -> String {
    let text = |secret: &Secret| String::from_utf8(secret.to_vec()).unwrap();
    match &credentials.proof {
        Proof::Password(password) => format!("password {}", text(password)),
        Proof::Token(token) => format!("token {}", text(token)),
        Proof::Certificate => "certificate".to_owned(),
    }
}

#[tokio::test]
async fn a_secret_is_read_at_each_login_and_others_are_those_that_changed() {
    for (key, kind) in [("password-file", "password"), ("token-file", "token")] {
        let folder = tempfile::tempdir().unwrap();
        let lines = format!("login = {{ user = 'u', {key} = 'FOLDER/secret' }}");
        let (login, _) = login(&folder, &lines, &[("secret", "one\n")]);
        let first = login.credentials().await.unwrap();
        assert_eq!((first.user.as_str(), shown(&first)), ("u", format!("{kind} one")));
        assert_eq!(login.others(&first).await, Ok(None), "the same again");
        let of_first = login.fingerprint().await.unwrap();
        fs::write(folder.path().join("secret"), "two\n").unwrap();
        let others = login.others(&first).await.unwrap().unwrap();
        assert_eq!(shown(&others), format!("{kind} two"));
        assert_ne!(login.fingerprint().await.unwrap(), of_first);
        fs::remove_file(folder.path().join("secret")).unwrap();
        let Err(End::Ours(words)) = login.credentials().await else { panic!("it is gone") };
        assert!(words.starts_with(key), "{words}");
        assert_eq!(login.fingerprint().await, None);
    }
}

#[tokio::test]
async fn a_login_by_certificate_has_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (login, _) = login(&folder, "login = { user = 'u' }", &[]);
    let credentials = login.credentials().await.unwrap();
    assert_eq!(shown(&credentials), "certificate");
    assert_eq!(login.others(&credentials).await, Ok(None));
}

const ISSUED: &str = "login = { user = 'u', token = { url = 'https://localhost:1/token', \
                      client-id = 'us', refresh-token-file = 'FOLDER/refresh' } }";

fn issuer(login: &Login) -> &TokenIssuer {
    match &login.meant.proof {
        RouteProof::Issued(issuer) => issuer,
        RouteProof::Password(_) | RouteProof::Token(_) | RouteProof::Certificate => {
            panic!("the route has an issuer")
        }
    }
}

/// Gives `login` a token of an hour as if its issuer had given it.
async fn grant(login: &Login, token: &str, refresh: Option<&str>) {
    let issuer = issuer(login);
    let former = secrets(issuer).unwrap();
    let by = former.fingerprint();
    let lives = Duration::from_secs(3600);
    let grant = Grant { token: secret(token), lives, refresh: refresh.map(secret) };
    let mut issued = login.issued.lock().await;
    login.take(&mut issued, issuer, former.refresh, by, grant);
}

#[tokio::test]
async fn a_token_is_used_until_shortly_before_its_end_or_until_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (login, _) = login(&folder, ISSUED, &[("refresh", "r1\n")]);
    grant(&login, "t1", None).await;
    let renew_at = login.issued.lock().await.token.as_ref().unwrap().renew_at;
    let left = renew_at - Instant::now();
    assert!((Duration::from_secs(3290)..=Duration::from_secs(3300)).contains(&left), "{left:?}");
    let credentials = login.credentials().await.unwrap();
    assert_eq!(shown(&credentials), "token t1");
    // Nobody listens there: whoever asks for a token sees that it was tried.
    let Err(End::Ours(words)) = login.others(&credentials).await else { panic!("refused") };
    assert!(words.starts_with("https://localhost:1/token cannot be reached"), "{words}");
    let failed = login.issued.lock().await.failed.clone().map(|(_, _, denied)| denied);
    assert_eq!(failed, Some(Denied::Away(words)), "and is not tried again at once");
    assert_eq!(login.credentials().await, Ok(credentials), "the old one goes on for the others");

    login.issued.lock().await.token.as_mut().unwrap().renew_at = Instant::now();
    assert!(matches!(login.credentials().await, Err(End::Ours(_))), "its time is over");
}

#[tokio::test]
async fn a_token_of_other_secrets_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (login, _) = login(&folder, ISSUED, &[("refresh", "r1\n")]);
    grant(&login, "t1", None).await;
    fs::write(folder.path().join("refresh"), "r2\n").unwrap();
    assert!(matches!(login.credentials().await, Err(End::Ours(_))));
}

#[tokio::test]
async fn a_refusal_of_other_secrets_is_not_held_against_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (login, _) = login(&folder, ISSUED, &[("refresh", "r1\n")]);
    let by = login.fingerprint().await.unwrap();
    let refused = Denied::Refused("taken back".to_owned());
    login.issued.lock().await.failed = Some((Instant::now() + PAUSE, by, refused));
    let refused = End::LoginRefused("taken back".to_owned());
    assert_eq!(login.credentials().await, Err(refused));
    fs::write(folder.path().join("refresh"), "r2\n").unwrap();
    // It is asked anew, where nobody listens.
    assert!(matches!(login.credentials().await, Err(End::Ours(_))));
}

#[tokio::test]
async fn a_new_refresh_token_takes_the_place_of_the_old_one_or_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (login, journal) = login(&folder, ISSUED, &[("refresh", "r1\n")]);
    let file = folder.path().join("refresh");
    grant(&login, "t1", Some("r2")).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "r2\n");
    assert_eq!(shown(&login.credentials().await.unwrap()), "token t1");
    assert!(journal.take().is_empty());

    // A folder where the new file should be stands in its way, whoever runs the test.
    fs::create_dir_all(folder.path().join("refresh.new/x")).unwrap();
    grant(&login, "t2", Some("r3")).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "r2\n");
    let rotated = login.issued.lock().await.rotated.as_ref().map(|rotated| rotated.token.clone());
    assert_eq!(rotated, Some(secret("r3")), "it is kept in memory");
    let told = format!("{:?}", journal.take());
    assert!(told.contains("cannot be kept in") && !told.contains("r3"), "{told}");
}

#[tokio::test]
async fn a_login_knows_what_was_given_to_one_with_the_same_issuer_until_the_last_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let issuers = Issuers::default();
    let config = config(&folder, ISSUED, &[("refresh", "r1\n")]);
    let route = &config.routes[0];
    let of = |route| Login::of(route, &Journal::memory(), &issuers).unwrap();
    let before = of(route);
    // The new refresh token cannot be kept: it lives in memory alone.
    fs::create_dir_all(folder.path().join("refresh.new/x")).unwrap();
    grant(&before, "t1", Some("r2")).await;

    let successor = of(route);
    drop(before);
    assert_eq!(shown(&successor.credentials().await.unwrap()), "token t1");
    let rotated = successor.issued.lock().await.rotated.as_ref().map(|known| known.token.clone());
    assert_eq!(rotated, Some(secret("r2")), "the old one would be sent twice");

    let mut other = route.clone();
    let RouteProof::Issued(issuer) = &mut other.login.as_mut().unwrap().proof else {
        panic!("the route has an issuer")
    };
    issuer.client_id = "others".to_owned();
    assert!(of(&other).issued.lock().await.token.is_none(), "that is another issuer's");
    drop(successor);
    assert!(of(route).issued.lock().await.token.is_none());
}

#[test]
fn a_file_is_replaced_whole_and_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("refresh");
    fs::write(&file, "an old one that is longer\nwith more\n").unwrap();
    keep(&file, b"new").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}
