//! Lists of parameters in, what they mean out.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use ArgumentError::{Parameter, Priority as BadPriority, Syntax, Value};

fn mail(text: &str) -> Result<MailParameters, ArgumentError> {
    MailParameters::read(text, Extensions::ALL)
}

#[test]
fn known_parameters_are_read_in_any_order_and_case() {
    let read = mail("body=8bitmime SIZE=1000 AUTH=e+3Dmc2@example.com").unwrap();
    let auth = ReversePath::Mailbox("e=mc2@example.com".parse().unwrap());
    let expected = MailParameters {
        size_bytes: Some(1000),
        body: Some(Body::EightBit),
        auth: Some(auth),
        ..MailParameters::default()
    };
    assert_eq!(read, expected);
    assert_eq!(mail("AUTH=<>").unwrap().auth, Some(ReversePath::Null));
}

#[test]
fn parameters_of_reports_and_times_say_what_they_mean() {
    let read = mail("RET=hdrs ENVID=a+2Bb HOLDFOR=90 BY=-10;nt MT-PRIORITY=-9").unwrap();
    assert_eq!(read.report, Some(Return::Headers));
    assert_eq!(read.envelope_id.as_deref(), Some("a+b"));
    assert_eq!(read.hold, Some(Hold::For(Duration::from_secs(90))));
    let by = DeliverBy { seconds: -10, mode: ByMode::Notify, trace: true };
    assert_eq!(read.by, Some(by));
    assert_eq!(read.priority.map(i8::from), Some(-9));
    let read = mail("HOLDUNTIL=2026-11-25T10:00:00Z BY=+60;R SMTPUTF8 REQUIRETLS").unwrap();
    assert_eq!(read.hold, Some(Hold::Until("2026-11-25T10:00:00Z".parse().unwrap())));
    let by = DeliverBy { seconds: 60, mode: ByMode::Return, trace: false };
    assert_eq!(read.by, Some(by));
    assert_eq!((read.utf8, read.require_tls), (Some(Utf8), Some(RequireTls)));
    assert_eq!(mail("BODY=BINARYMIME").unwrap().body, Some(Body::Binary));
}

#[test]
fn a_size_of_twenty_digits_counts_as_the_largest_number() {
    assert_eq!(mail("SIZE=99999999999999999999").unwrap().size_bytes, Some(u64::MAX));
}

#[test]
fn bad_values_doubles_and_unknown_names_are_told_apart() {
    let long_auth = format!("AUTH={}@example.net", "a".repeat(500));
    let long_id = format!("ENVID={}", "a".repeat(101));
    for (text, error) in [
        ("SIZE=abc", Value),
        ("SIZE=", Value),
        ("SIZE", Value),
        ("SIZE=-1", Value),
        ("SIZE=100000000000000000000", Value),
        ("SIZE=1 SIZE=1", Value),
        ("BODY=9BIT", Value),
        ("BODY=7BIT BODY=7BIT", Value),
        ("AUTH=a+3db@example.net", Value),
        ("AUTH=a+3", Value),
        ("AUTH=a=b@example.net", Value),
        ("AUTH=", Value),
        (&long_auth, Value),
        ("SMTPUTF8=yes", Value),
        ("SMTPUTF8 SMTPUTF8", Value),
        ("REQUIRETLS=1", Value),
        ("RET=BOTH", Value),
        ("RET=FULL RET=FULL", Value),
        ("ENVID=", Value),
        ("ENVID=a=b", Value),
        ("ENVID=a+0Ab", Value),
        (&long_id, Value),
        ("HOLDFOR=604801", Value),
        ("HOLDFOR=1000000000", Value),
        ("HOLDFOR=-1", Value),
        ("HOLDUNTIL=tomorrow", Value),
        ("HOLDUNTIL=2026-11-25 10:00:00Z", Value),
        ("HOLDUNTIL=2026-11-25T10:00:00", Value),
        ("HOLDFOR=1 HOLDUNTIL=2026-11-25T10:00:00Z", Value),
        ("BY=60", Value),
        ("BY=60;X", Value),
        ("BY=0;R", Value),
        ("BY=-5;R", Value),
        ("BY=1000000000;N", Value),
        ("BY=--5;N", Value),
        ("MT-PRIORITY=10", BadPriority),
        ("MT-PRIORITY=+1", BadPriority),
        ("MT-PRIORITY=-0", BadPriority),
        ("MT-PRIORITY=01", BadPriority),
        ("MT-PRIORITY", BadPriority),
        ("MT-PRIORITY=1 MT-PRIORITY=1", Value),
        ("FOO=1", Parameter),
        ("NOTIFY=NEVER", Parameter),
        ("", Syntax),
        ("SIZE=1 ", Syntax),
        ("SIZE=1  BODY=7BIT", Syntax),
        ("=1", Syntax),
    ] {
        assert_eq!(mail(text), Err(error), "{text}");
    }
}

#[test]
fn what_is_not_offered_is_not_known() {
    for text in [
        "SMTPUTF8",
        "REQUIRETLS",
        "RET=FULL",
        "ENVID=a",
        "HOLDFOR=1",
        "HOLDUNTIL=2026-11-25T10:00:00Z",
        "BY=1;N",
        "MT-PRIORITY=1",
    ] {
        assert_eq!(MailParameters::read(text, Extensions::NONE), Err(Parameter), "{text}");
    }
    assert_eq!(MailParameters::read("BODY=BINARYMIME", Extensions::NONE), Err(Value));
    for text in ["NOTIFY=NEVER", "ORCPT=rfc822;a@example.net"] {
        assert_eq!(RcptParameters::read(text, Extensions::NONE), Err(Parameter), "{text}");
    }
}

#[test]
fn wishes_for_a_recipient_are_read() {
    let read = |text| RcptParameters::read(text, Extensions::ALL);
    let on = |success, failure, delay| Some(Notify::On { success, failure, delay });
    for (text, notify) in [
        ("NOTIFY=NEVER", Some(Notify::Never)),
        ("NOTIFY=success", on(true, false, false)),
        ("NOTIFY=DELAY,FAILURE", on(false, true, true)),
    ] {
        assert_eq!(read(text).unwrap().notify, notify, "{text}");
    }
    let original = read("ORCPT=rfc822;a+2Bb@example.net").unwrap().original.unwrap();
    assert_eq!((original.kind.as_str(), original.address.as_str()), ("rfc822", "a+b@example.net"));
    let long = format!("ORCPT=rfc822;{}", "a".repeat(494));
    for (text, error) in [
        ("NOTIFY=", Value),
        ("NOTIFY=NEVER,FAILURE", Value),
        ("NOTIFY=FAILURE,FAILURE", Value),
        ("NOTIFY=NEVER NOTIFY=NEVER", Value),
        ("ORCPT=a@example.net", Value),
        ("ORCPT=;a@example.net", Value),
        ("ORCPT=rfc822;", Value),
        ("ORCPT=rfc822;a+0Db", Value),
        (&long, Value),
        ("SIZE=1", Parameter),
    ] {
        assert_eq!(read(text), Err(error), "{text}");
    }
}

proptest! {
    #[test]
    fn no_list_panics(text in "(SIZE|BODY|AUTH|RET|ENVID|BY|HOLDFOR|HOLDUNTIL|ORCPT|NOTIFY|MT-PRIORITY|[ -~]{0,5})?=?[ -~]{0,30}") {
        let _ = mail(&text);
        let _ = RcptParameters::read(&text, Extensions::ALL);
    }
}
