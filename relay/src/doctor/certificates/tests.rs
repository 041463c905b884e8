use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;

fn good() -> Seen {
    Seen {
        from: Timestamp::from_second(1000).unwrap(),
        until: Timestamp::from_second(100_000_000).unwrap(),
        names: vec!["relay.example.net".into()],
        is_in_order: true,
        key: Ok(()),
    }
}

#[test]
fn each_state_of_a_certificate_has_its_cause() {
    let rows: [(&str, Seen, i64, &[&str]); 7] = [
        ("good", good(), 2000, &[]),
        ("expired", good(), 100_000_001, &["certificate-expired"]),
        ("not yet", good(), 999, &["certificate-not-yet-valid"]),
        ("soon over", good(), 99_000_000, &["certificate-ends-soon"]),
        ("nearly over", good(), 99_800_000, &["certificate-overdue"]),
        ("another key", Seen { key: Err("x".into()), ..good() }, 2000, &["key-unfit"]),
        ("out of order", Seen { is_in_order: false, ..good() }, 2000, &["certificate-order"]),
    ];
    for (row, seen, now, wanted) in rows {
        let (file, now) = (Path::new("/x"), Timestamp::from_second(now).unwrap());
        let found = judge(file, file, &seen, now);
        let found: Vec<_> = found.iter().map(|found| found.cause.id()).collect();
        assert_eq!(found, wanted, "{row}");
    }
}

#[test]
fn the_hostname_is_that_of_any_certificate() {
    let named = |name: &str| Ok(Some(Seen { names: vec![name.into()], ..good() }));
    let (right, other) = (|| named("relay.example.net"), || named("other.example.net"));
    let nameless = || Ok(Some(Seen { names: vec![], ..good() }));
    let bad = || Err("x".to_owned());
    for (row, all, is_told) in [
        ("its own", vec![right()], false),
        ("another", vec![other()], true),
        ("none", vec![nameless()], true),
        ("a wildcard", vec![named("*.example.net")], false),
        ("a wildcard too high", vec![named("*.net")], true),
        ("one beside", vec![right(), other()], false),
        ("for the clients' name, and one beside for it", vec![other(), right()], false),
        ("none of two", vec![other(), nameless()], true),
        ("one that may not be read", vec![other(), Ok(None)], false),
        ("one that is broken beside", vec![other(), bad()], true),
        ("a broken one", vec![bad()], false),
    ] {
        let file = Path::new("/x");
        let pairs: Vec<_> = all.into_iter().map(|read| (file, file, read)).collect();
        assert_eq!(misnamed(&pairs, "relay.example.net").is_some(), is_told, "{row}");
    }
}

#[test]
fn a_routes_certificate_is_looked_at_as_one_that_mail_leaves_by() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let causes = || {
        let told = own_certificate("r", &file, &key, Timestamp::now());
        told.findings.iter().map(|found| found.cause.id()).collect::<Vec<_>>()
    };
    assert_eq!(causes(), Vec::<&str>::new(), "that it is not there is told with the files");
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(&file, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    assert_eq!(causes(), ["route-certificate"]);
    params.not_after = rcgen::date_time_ymd(4000, 1, 1);
    fs::write(&file, params.self_signed(&pair).unwrap().pem()).unwrap();
    assert_eq!(causes(), Vec::<&str>::new());
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert_eq!(causes(), ["route-certificate"], "the key is another's");
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(causes(), ["route-certificate"]);
}

#[test]
fn a_chain_and_its_key_are_read() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let own = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["Relay.example.net".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&own, &authority).unwrap();
    let chain = [leaf.der().clone(), authority.der().clone()];
    let key = |pair: &KeyPair| Ok(keys_of(pair.serialize_pem().as_bytes()).unwrap());
    let right = seen(chain.to_vec(), key(&own)).unwrap();
    assert_eq!((right.names, right.is_in_order), (vec!["relay.example.net".to_owned()], true));
    assert_eq!(right.key, Ok(()));
    let [leaf, authority] = chain;
    assert!(!seen(vec![authority, leaf.clone()], key(&own)).unwrap().is_in_order);
    assert!(seen(vec![leaf], key(&KeyPair::generate().unwrap())).unwrap().key.is_err());
    assert!(seen(Vec::new(), key(&own)).is_err());
}

#[test]
fn of_two_keys_the_one_that_fits_counts() {
    let [own, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(Vec::new()).unwrap().self_signed(&own).unwrap();
    let key = |pairs: &[&KeyPair]| {
        let text: String = pairs.iter().map(|pair| pair.serialize_pem()).collect();
        of_pem(leaf.pem().as_bytes(), text.as_bytes()).unwrap().key
    };
    assert_eq!(key(&[&own, &other]), Ok(()));
    assert_eq!(key(&[&other, &own]), Ok(()));
    assert!(key(&[&other]).is_err());
    assert!(key(&[&other, &other, &own]).is_err(), "no third one is tried");
    assert!(key(&[]).is_err());
}

#[test]
fn names_that_somebody_signed_are_told_without_harm_and_not_all_of_them() {
    let names = |count: usize| vec!["a.example".to_owned(); count];
    assert_eq!(listed(&names(0)), "no name");
    assert_eq!(listed(&names(2)), "a.example, a.example");
    let many = listed(&names(NAMES_MAX + 3));
    assert!(many.ends_with("a.example and 3 more"), "{many}");
    assert_eq!(many.matches("a.example").count(), NAMES_MAX);
    let bad = listed(&[format!("\u{1b}[2J\n{}", "x".repeat(9000))]);
    assert!(bad.starts_with("?[2J?xxx") && bad.len() == NAME_MAX, "{bad}");
}

#[test]
fn a_renewal_that_fails_is_found_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.pem");
    assert!(failing(&file).is_none());
    let now = Timestamp::from_second(0).unwrap();
    Failed::note(&file, now, now, "no way to port 80").unwrap();
    let found = failing(&file).unwrap();
    assert_eq!(found.cause.id(), "renewal-fails");
    assert!(found.says.ends_with("since 1970-01-01T00:00:00Z: no way to port 80"), "{found:?}");
    assert!(found.remedy.contains("sallyport tls renew"), "{found:?}");
}
