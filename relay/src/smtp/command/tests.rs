//! Lines in, commands or the reply's reason out.

use proptest::prelude::*;

use super::*;

fn read(line: &str) -> Result<Command, ArgumentError> {
    let (verb, rest) = Verb::split(line.as_bytes());
    Command::read(verb, rest, Extensions::NONE)
}

fn mail_from(sender: &str, parameters: MailParameters) -> Command {
    let sender = match sender {
        "" => ReversePath::Null,
        _ => ReversePath::Mailbox(sender.parse().unwrap()),
    };
    Command::Mail { sender, parameters }
}

fn mailbox_of(text: &str) -> Command {
    rcpt_to(Recipient::Mailbox(text.parse().unwrap()))
}

fn rcpt_to(recipient: Recipient) -> Command {
    Command::Rcpt { recipient, parameters: RcptParameters::default() }
}

fn chunk(size_bytes: u64, more: More) -> Command {
    Command::Bdat(Chunk { size_bytes, more })
}

#[test]
fn commands_are_read_in_any_case_and_addresses_keep_theirs() {
    let none = MailParameters::default;
    let auth = |initial: Option<&str>| Command::Auth {
        mechanism: "PLAIN".to_owned(),
        initial: initial.map(|initial| initial.to_owned().into()),
    };
    for (line, command) in [
        ("EHLO client.example.net", Command::Ehlo("client.example.net".to_owned())),
        ("ehlo [192.0.2.1]", Command::Ehlo("[192.0.2.1]".to_owned())),
        ("EHLO [IPv6:2001:db8::1]", Command::Ehlo("[IPv6:2001:db8::1]".to_owned())),
        ("HELO web_1", Command::Helo("web_1".to_owned())),
        ("mail from:<Joe@Example.NET>", mail_from("Joe@Example.NET", none())),
        ("MAIL FROM:<>", mail_from("", none())),
        (
            "MAIL FROM:<a@example.net> SIZE=5",
            mail_from("a@example.net", MailParameters { size_bytes: Some(5), ..none() }),
        ),
        (r#"RCPT TO:<"a> SIZE=1"@example.net>"#, mailbox_of(r#""a> SIZE=1"@example.net"#)),
        (r#"RCPT TO:<"a\">"@example.net>"#, mailbox_of(r#""a\">"@example.net"#)),
        ("Rcpt To:<PostMaster>", rcpt_to(Recipient::Postmaster)),
        ("AUTH plain", auth(None)),
        ("AUTH PLAIN =", auth(Some("="))),
        ("AUTH PLAIN AGEAYg==", auth(Some("AGEAYg=="))),
        ("DATA", Command::Data),
        (
            "xclient proto=smtp",
            Command::Xclient(Announcement {
                protocol: Some(crate::smtp::xclient::Protocol::Smtp),
                ..Announcement::default()
            }),
        ),
        ("DATA  ", Command::Data),
        ("BDAT 5", chunk(5, More::Follows)),
        ("bdat 0 last", chunk(0, More::Last)),
        ("BDAT 18446744073709551615", chunk(u64::MAX, More::Follows)),
        ("NOOP anything at all", Command::Noop),
        ("VRFY joe", Command::Vrfy),
    ] {
        assert_eq!(read(line), Ok(command), "{line}");
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_reason() {
    use ArgumentError::{Address, Off, Parameter, SourceRoute, Syntax, UnknownVerb, Utf8, Value};
    for (line, error) in [
        ("", UnknownVerb),
        (" EHLO x", UnknownVerb),
        ("FOO", UnknownVerb),
        ("EHLO", Syntax),
        ("EHLO ", Syntax),
        ("EHLO a b", Syntax),
        ("EHLO a..b", Syntax),
        ("EHLO [192.0.2]", Syntax),
        ("EHLO (x)", Syntax),
        ("STARTTLS now", Syntax),
        ("DATA x", Syntax),
        ("RSET x", Syntax),
        ("QUIT x", Syntax),
        ("VRFY", Syntax),
        ("EXPN list", Off),
        ("BDAT", Syntax),
        ("BDAT ", Syntax),
        ("BDAT -1", Syntax),
        ("BDAT +1", Syntax),
        ("BDAT 5x", Syntax),
        ("BDAT 0x5", Syntax),
        ("BDAT 5 FIRST", Syntax),
        ("BDAT 5 LAST LAST", Syntax),
        ("BDAT  5", Syntax),
        ("BDAT 18446744073709551616", Syntax),
        ("MAIL", Syntax),
        ("MAIL FROM", Syntax),
        ("MAIL FROM:", Syntax),
        ("MAIL FROM: <a@example.net>", Syntax),
        ("MAIL FROM:a@example.net", Syntax),
        ("MAIL FROM:<a@example.net", Syntax),
        ("MAIL FROM:<a@example.net>SIZE=1", Syntax),
        ("MAIL FROM:<a@example.net> X=1", Parameter),
        ("MAIL FROM:<a@example.net> SIZE=x", Value),
        ("MAIL FROM:<a>", Address),
        ("MAIL FROM:<a@b@c>", Address),
        ("MAIL FROM:<ü@example.net>", Utf8),
        ("MAIL FROM:<<a@example.net>>", Syntax),
        ("RCPT TO:<>", Address),
        ("RCPT TO:<@a,@b:c@example.net>", SourceRoute),
        ("RCPT TO:<a@example.net.>", Address),
        ("RCPT TO:<a!b>", Address),
        ("RCPT TO:<a@example.net> NOTIFY=NEVER", Parameter),
        ("AUTH", Syntax),
        ("AUTH PLAIN a b", Syntax),
        ("AUTH PL/AIN", Syntax),
        ("AUTH ABCDEFGHIJKLMNOPQRSTU", Syntax),
    ] {
        assert_eq!(read(line), Err(error), "{line}");
    }
}

#[test]
fn an_address_in_utf8_goes_with_smtputf8() {
    let read = |line: &str| {
        let (verb, rest) = Verb::split(line.as_bytes());
        Command::read(verb, rest, Extensions::ALL)
    };
    let sent = read("MAIL FROM:<ü@bücher.example> SMTPUTF8").expect("a command");
    assert!(matches!(sent, Command::Mail { sender: ReversePath::Mailbox(_), .. }));
    assert_eq!(read("MAIL FROM:<ü@example.net> BODY=8BITMIME"), Err(ArgumentError::Utf8));
    let named = read("RCPT TO:<ü@example.net> ORCPT=utf-8;ü@example.net").expect("a command");
    assert!(matches!(named, Command::Rcpt { recipient: Recipient::Mailbox(_), .. }));
}

#[test]
fn octets_that_are_no_utf8_are_refused_as_such() {
    for (line, error) in [
        (&b"MAIL FROM:<\xff@example.net>"[..], ArgumentError::Syntax),
        (b"FOO \xff", ArgumentError::UnknownVerb),
        (b"EXPN \xff", ArgumentError::Off),
    ] {
        let (verb, rest) = Verb::split(line);
        assert_eq!(Command::read(verb, rest, Extensions::ALL), Err(error), "{line:?}");
    }
}

proptest! {
    #[test]
    fn no_line_panics_and_an_accepted_path_is_written_back_unchanged(
        start in prop_oneof![
            Just(""), Just("MAIL FROM:<"), Just("RCPT TO:<"), Just("AUTH "), Just("EHLO "),
            Just("BDAT "),
        ],
        end in "\\PC{0,60}",
    ) {
        let line = format!("{start}{end}");
        if let Ok(
            Command::Mail { sender: ReversePath::Mailbox(address), .. }
            | Command::Rcpt { recipient: Recipient::Mailbox(address), .. },
        ) = read(&line)
        {
            let path = format!("<{address}>");
            prop_assert!(line.contains(&path));
            let again = Ok(rcpt_to(Recipient::Mailbox(address)));
            prop_assert_eq!(read(&format!("RCPT TO:{path}")), again);
        }
    }
}
