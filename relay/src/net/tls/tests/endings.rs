//! When the time of a certificate is worth knowing, and when it wakes somebody.

use super::*;
use crate::acme::failed::Failed;
use crate::config::acme::Acme;
use crate::event::alert::Severity;

/// A certificate of 90 days.
fn of_ninety_days(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 4, 1);
}

/// A certificate of six days.
fn of_six_days(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 1, 7);
}

fn acme() -> Acme {
    Acme {
        directory: "https://ca.example/directory".into(),
        ca_file: None,
        names: Vec::new(),
        contact: None,
        address: "[::]:80".parse().unwrap(),
        account: "/nowhere".into(),
    }
}

#[test]
fn a_certificate_that_nothing_renews_is_told_in_time() {
    let time = |text: &str| -> Timestamp { text.parse().unwrap() };
    let warning = Some(Severity::Warning);
    let critical = Some(Severity::Critical);
    for (row, life, now, wanted) in [
        ("in its last third", of_ninety_days as fn(&mut _), "2026-03-17T23:59:59Z", None),
        ("in its last two weeks", of_ninety_days, "2026-03-18T00:00:01Z", warning),
        ("in its last three days", of_ninety_days, "2026-03-29T00:00:01Z", critical),
        ("over", of_ninety_days, "2026-04-01T00:00:01Z", critical),
        ("not begun", of_ninety_days, "2025-12-31T23:59:59Z", critical),
        ("a short one in its last third", of_six_days, "2026-01-05T11:59:59Z", None),
        ("a short one in its last quarter", of_six_days, "2026-01-05T12:00:01Z", warning),
        ("a short one in its last tenth", of_six_days, "2026-01-06T09:36:01Z", critical),
    ] {
        let files = Files::new();
        files.show(&files.authority.sign(&[NAME], life));
        let found = files.load().unwrap().endings(time(now));
        let found: Vec<_> = found.into_iter().map(|ending| ending.severity).collect();
        assert_eq!(found, wanted.into_iter().collect::<Vec<_>>(), "{row}");
    }
}

#[test]
fn a_renewal_that_fails_again_and_again_is_told_with_its_reason() {
    let mut files = Files::new();
    files.show(&files.authority.sign(&[NAME], of_ninety_days));
    let other = files.authority.sign(&["other.example"], of_ninety_days);
    files.also("other", &other);
    let since: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    let hours = |hours: i64| since + jiff::SignedDuration::from_hours(hours);
    Failed::note(&files.config.tls.certificate, since, hours(1), "no way to port 80").unwrap();
    let told = |files: &Files, now| {
        let found = files.load().unwrap().endings(now);
        found.into_iter().map(|ending| ending.problem).collect::<Vec<_>>()
    };
    assert_eq!(told(&files, hours(30)), [""; 0], "nobody orders it any more");
    files.config.tls.acme = Some(acme());
    assert_eq!(told(&files, hours(29)), [""; 0], "not yet");
    let [problem] = &told(&files, hours(30))[..] else { panic!("one") };
    let words = "the certificate ends at 2026-04-01T00:00:00Z and is not renewed yet; its renewal fails since \
                 2026-03-02T00:00:00Z: no way to port 80";
    assert!(problem.ends_with(words), "{problem}");
    let found = told(&files, "2026-04-02T00:00:00Z".parse().unwrap());
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert!(first.contains("expired at") && first.ends_with(": no way to port 80"), "{first}");
    assert!(second.contains("other.pem: the certificate expired at"), "{second}");
    assert!(!second.contains("port 80"), "{second}");
    Failed::forget(&files.config.tls.certificate).unwrap();
    assert_eq!(told(&files, hours(30)), [""; 0]);
}
