//! The relay before mail servers of other people: what each of them is given, and what it is not.

#[path = "root_next_hops/extensions.rs"]
mod extensions;
#[path = "root_next_hops/house.rs"]
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use anyhow::{Context as _, Result, ensure};
use relay::demo::stage::RELAY;
use tests::hop::{AIOSMTPD, EXIM, POSTFIX, PUT_OFF, REFUSED, SIZE_MAX_BYTES, Software};
use tests::need;

use crate::extensions::{binary, offers, require_tls, utf8};
use crate::house::{CONNECTIONS, DISTRUSTED, House, SENDER, at_example, is_whole, long, message};

/// Shows that a claim is true.
type Show = fn(&mut House) -> Result<()>;

/// What must be true of every server, in this order.
const CLAIMS: [(&str, Show); 10] = [
    ("a hundred messages arrive once, octet for octet, over few connections", many),
    ("what a server offers is used", offers),
    ("a mailbox in UTF-8 is known by its name", utf8),
    ("octets of all values arrive in an encoding that the server takes", binary),
    ("mail that must not leave TLS is returned where nobody promises that", require_tls),
    ("a refused recipient is reported in the server's words, and the others arrive", refused),
    ("who is put off is tried again, and the others are not sent again", put_off),
    ("a message that is too large is returned, not tried again", too_large),
    ("mail waits for a server whose authority is not trusted", distrusted),
    ("what was on its way when the server ended arrives, and nothing acknowledged twice", cut_off),
];

#[test]
fn postfix_is_served_well() -> Result<()> {
    served_well(&POSTFIX)
}

#[test]
fn exim_is_served_well() -> Result<()> {
    served_well(&EXIM)
}

#[test]
fn aiosmtpd_is_served_well() -> Result<()> {
    served_well(&AIOSMTPD)
}

fn served_well(software: &'static Software) -> Result<()> {
    if !need::root() {
        return Ok(());
    }
    let Some(mut house) = House::open(software)? else { return Ok(()) };
    for (claim, show) in CLAIMS {
        show(&mut house).with_context(|| format!("{}: {claim}", software.name))?;
    }
    let rest = house.server.take()?;
    ensure!(rest.is_empty(), "{}: nobody waited for {rest:?}", software.name);
    Ok(())
}

fn many(house: &mut House) -> Result<()> {
    let edge = format!("{}\r\n.{}\r\n", "x".repeat(998), "y".repeat(997));
    let (small, large) = (long(100 << 10), long(5 << 20));
    let shapes: [(&str, &str); 8] = [
        ("no body", ""),
        ("one octet", "x\r\n"),
        ("an empty line", "\r\n"),
        ("dots", ".\r\n..\r\n...\r\n.a\r\nb.\r\n. \r\n.\r\n"),
        ("blanks and empty lines at the end", "a \r\n\t\r\nFrom here\r\n>From there\r\n\r\n\r\n"),
        ("octets above 127", "Grüße, 你好\r\n"),
        ("the longest lines", &edge),
        ("100 KiB", &small),
    ];
    let mut sent = BTreeMap::new();
    for number in 0..100 {
        let (shape, body) =
            if number % 50 == 49 { ("5 MiB", &*large) } else { shapes[number % shapes.len()] };
        let recipients: Vec<_> =
            (0..=number % 3).map(|guest| at_example(&format!("many-{number}-{guest}"))).collect();
        let text = message(&format!("many-{number}"), body);
        house.submit(&recipients, &text).with_context(|| shape.to_owned())?;
        sent.extend(recipients.into_iter().map(|recipient| (recipient, (shape, text.clone()))));
    }
    let arrived = house.arrive(&sent.keys().cloned().collect::<Vec<_>>())?;
    house.rest()?;
    for taken in arrived {
        let one = sent.remove(&taken.recipient);
        let (shape, text) = one.with_context(|| format!("{} had it already", taken.recipient))?;
        is_whole(&taken, &text).with_context(|| shape.to_owned())?;
    }
    let connections = house.server.connections(RELAY);
    // One that was idle for too long is made anew.
    ensure!(
        (1..=3 * CONNECTIONS).contains(&connections),
        "{connections} connections: {}",
        house.logs()
    );
    Ok(())
}

fn refused(house: &mut House) -> Result<()> {
    let [first, nobody, last] = ["refused-0", "nobody", "refused-1"].map(at_example);
    let text = message("refused", "x\r\n");
    house.submit(&[first.clone(), nobody.clone(), last.clone()], &text)?;
    let arrived = house.arrive(&[first.clone(), last.clone(), SENDER.to_owned()])?;
    house.rest()?;
    assert_eq!(arrived.len(), 3, "{arrived:?}");
    for taken in arrived {
        if taken.recipient != SENDER {
            is_whole(&taken, &text)?;
            continue;
        }
        let report = taken.text.replace("\r\n ", " ").replace("\r\n\t", " ");
        let [code, words] = REFUSED;
        for told in [&*format!("Final-Recipient: rfc822; {nobody}\r\n"), code, words] {
            ensure!(report.contains(told), "{told:?} is not in the report:\n{report}");
        }
        assert_eq!(report.matches("Final-Recipient:").count(), 1, "{report}");
    }
    Ok(())
}

fn put_off(house: &mut House) -> Result<()> {
    let [now, later] = ["now", "later"].map(at_example);
    let text = message("put-off", "x\r\n");
    let id = house.submit(&[now.clone(), later.clone()], &text)?;
    let said = house.waiting(&id, 2)?;
    ensure!(PUT_OFF.iter().all(|words| said.contains(words)), "not the server's words:\n{said}");
    house.server.open_the_door()?;
    let arrived = house.arrive(&[now, later])?;
    house.rest()?;
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    arrived.iter().try_for_each(|taken| is_whole(taken, &text))
}

fn too_large(house: &mut House) -> Result<()> {
    let guest = at_example("too-large");
    let id = house.submit(from_ref(&guest), &message("too-large", &long(SIZE_MAX_BYTES)))?;
    let arrived = house.arrive(&[SENDER.to_owned()])?;
    house.rest()?;
    let [report] = &*arrived else { anyhow::bail!("not one report: {arrived:?}") };
    for words in [&*guest, "Status: 5.3.4"] {
        ensure!(report.text.contains(words), "{words:?} is not in:\n{}", report.text);
    }
    ensure!(report.text.len() < 64 << 10, "the report holds the message");
    assert_eq!(house.ends(&id), [("failed".to_owned(), 1)]);
    Ok(())
}

/// The server would take it in the clear.
fn distrusted(house: &mut House) -> Result<()> {
    let guest = format!("guest@{DISTRUSTED}");
    let id = house.submit(&[guest], &message("distrusted", "x\r\n"))?;
    let said = house.waiting(&id, 2)?;
    ensure!(said.contains("certificate"), "the certificate is not blamed:\n{said}");
    let arrived = house.server.take()?;
    ensure!(arrived.is_empty(), "it was handed over: {arrived:?}");
    ensure!(!house.server.log().contains(DISTRUSTED), "it was named:\n{}", house.logs());
    house.world.stage.command(&["queue", "drop", &id])?;
    house.rest()
}

fn cut_off(house: &mut House) -> Result<()> {
    let large = long(5 << 20);
    let mut sent = BTreeMap::new();
    for number in 0..40 {
        let recipient = at_example(&format!("cut-off-{number}"));
        let is_large = (17..20).contains(&number);
        let text = message(&format!("cut-off-{number}"), if is_large { &large } else { "x\r\n" });
        let id = house.submit(from_ref(&recipient), &text)?;
        sent.insert(recipient, (id, text));
        if number == 19 {
            house.server.stop()?;
        }
    }
    house.server.start_again()?;
    house.rest()?;
    let arrived = house.arrive(&sent.keys().cloned().collect::<Vec<_>>())?;
    let mut numbers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for taken in &arrived {
        is_whole(taken, &sent[&taken.recipient].1)?;
        numbers.entry(&taken.recipient).or_default().insert(&taken.number);
    }
    let (mut again, mut interrupted) = (0, 0);
    for (recipient, numbers) in numbers {
        let id = &sent[recipient].0;
        let ends = house.ends(id);
        let [(end, attempts)] = &ends[..] else { anyhow::bail!("{recipient}: {ends:?}") };
        assert_eq!(end, "delivered", "{recipient}");
        // What was delivered at the first attempt was acknowledged: there is no second copy.
        let is_first = *attempts == 1;
        ensure!(numbers.len() == 1 || !is_first, "{recipient}: {numbers:?}\n{}", house.logs());
        again += numbers.len() - 1;
        interrupted += usize::from(!is_first);
    }
    ensure!(interrupted > 0, "nobody noticed the server's end: {}", house.logs());
    ensure!(again <= CONNECTIONS, "{again} copies too many: {}", house.logs());
    Ok(())
}
