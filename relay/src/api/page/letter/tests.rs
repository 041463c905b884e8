//! Letters as people send them, and as nobody should.

use super::*;
use crate::api::page::structure;

const PICTURE: &str = "iVBORw0KGgo=";

/// A message with text, HTML, a picture of its own and two attachments.
fn whole(html: &str) -> Vec<u8> {
    format!(
        "From: =?utf-8?q?Zo=C3=AB?= <zoe@example.net>\r\nTo: a@example.com, b@example.com\r\n\
         Subject: =?utf-8?b?w4Rw?=\r\n fel\r\nDate: Fri, 2 Jan 2026 03:04:05 +0100\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
         --m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
         --r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
         --a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nwords ä\r\n\
         --a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--a--\r\n\
         --r\r\nContent-Type: image/png\r\nContent-ID: <a+b@example>\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{PICTURE}\r\n--r--\r\n\
         --m\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment;\r\n \
         filename*=utf-8''%E2%80%AEfdp.exe\r\n\r\n%PDF\r\n\
         --m\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\r\n--m--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_message_is_taken_apart_into_words_and_parts() {
    let raw = whole("<p>words</p>");
    let letter = letter(&raw).unwrap();
    assert_eq!(letter.subject, "Äp fel");
    assert_eq!(letter.from, "Zoë <zoe@example.net>");
    assert_eq!(letter.to, "a@example.com, b@example.com");
    assert_eq!(letter.date.as_deref(), Some("2026-01-02T03:04:05+01:00"));
    assert_eq!(letter.text.as_deref().map(str::trim_end), Some("words ä"));
    assert!(letter.has_html && !letter.text_of_html && !letter.text_is_cut);
    assert!(letter.fields.contains(&("Subject".into(), "=?utf-8?b?w4Rw?=  fel".into())));
    let named: Vec<_> = letter.parts.iter().map(|part| (&*part.name, &*part.kind)).collect();
    assert!(named.contains(&("fdp.exe", "application/pdf")), "no name runs backwards: {named:?}");
    for attached in &letter.parts {
        let (name, octets) = part(&raw, attached.number).unwrap();
        assert_eq!((name, octets.len()), (attached.name.clone(), attached.size_bytes));
    }
    assert_eq!(part(&raw, 0), None, "the whole is no part");
    assert_eq!(part(&raw, 999), None);
    assert_eq!(heading(&raw), Heading { subject: letter.subject, from: letter.from });
}

/// Returns what is made of HTML.
fn made_of(html: &str) -> String {
    let made = super::html(&whole(html)).unwrap();
    made.strip_suffix(LINKS_STYLE).unwrap().trim_end().to_owned()
}

#[test]
fn a_picture_of_the_message_stands_where_it_is_named_and_nothing_else_does() {
    let data = format!("data:image/png;base64,{PICTURE}");
    for (html, shown) in [
        ("<img src=\"cid:a+b@example\">", format!("<img src=\"{data}\">")),
        ("<img src='CID:a%2Bb%40example'>", format!("<img src='{data}'>")),
        ("<p style=background:url(cid:a+b@example)>", format!("<p style=background:url({data})>")),
        ("<img src=cid:other@example>", "<img src=cid:other@example>".into()),
        ("cid:", "cid:".into()),
        ("at 12:30 <b>", "at 12:30 <b>".into()),
    ] {
        assert_eq!(made_of(html), shown);
    }
}

#[test]
fn links_frames_metas_and_bases_lose_their_power() {
    for (html, harmless) in [
        ("<LINK rel=preconnect>", "<x-LINK rel=preconnect>"),
        ("<meta http-equiv=refresh>", "<x-meta http-equiv=refresh>"),
        ("<bAsE target=_top>", "<x-bAsE target=_top>"),
        ("<iFrame src=//x></iframe>", "<x-iFrame src=//x></iframe>"),
        ("<object data=//x>", "<x-object data=//x>"),
        ("<a><animate values=//x>", "<a><x-animate values=//x>"),
        ("<animateTransform><set to=//x>", "<x-animateTransform><x-set to=//x>"),
        ("<a href=//x>", "<a x-href=//x>"),
        ("<a b=\"c\"HREF\t\n = '//x'>", "<a b=\"c\"x-HREF\t\n = '//x'>"),
        ("<a/href=x><use xlink:href=y>", "<a/x-href=x><use xlink:x-href=y>"),
        ("<a title=href>href = x", "<a title=href>x-href = x"),
        ("<b>href</b> a = b", "<b>href</b> a = b"),
    ] {
        assert_eq!(made_of(html).replace("\r\n", "\n"), harmless);
    }
}

#[test]
fn where_links_lead_is_told_once_each_and_only_of_the_web() {
    let html = "<a href=\"https://a.example/?b=c&amp;d=e\">x</a><a HREF = 'http://b.example/ '>\
                <a href=https://c.example/>y</a><a href=javascript:alert(1)><a href=mailto:a@b>\
                <a href=\"https://a.example/?b=c&amp;d=e\"><link href=\"https://d.example";
    let wanted = ["https://a.example/?b=c&d=e", "http://b.example/", "https://c.example/"];
    assert_eq!(links(html)[..3], wanted);
    assert_eq!(links(html).len(), 4);
    let many: Vec<_> = (0..200).map(|number| format!("<a href=http://{number}>")).collect();
    assert_eq!(links(&many.concat()).len(), LINKS_MAX.0);
}

/// Each of these names what is looked for again and again. Were the end of a name looked for in all of the rest,
/// this test would not end today.
#[test]
fn hostile_html_is_gone_through_once_however_often_it_names_something() {
    let picture = [1, 2, 3];
    let pictures = BTreeMap::from([("a".to_owned(), ("png", &picture[..]))]);
    for unit in
        ["cid:", "cid:%61", "href=", "href='", "href=http://", "href = \"http://", "<=:", "href  ="]
    {
        let html = unit.repeat((2 << 20) / unit.len());
        let (renamed, told) = (harmless(&html, &pictures), links(&html));
        assert_eq!(renamed.replace("x-href", "href"), html, "{unit}");
        assert!(told.len() < 2 && told.iter().all(|link| link.len() <= LINKS_MAX.1), "{unit}");
    }
    let (before, last) = ("cid:b ".repeat(PLACES_MAX - 1), "cid:b cid:a");
    assert!(harmless(&format!("{before}cid:a"), &pictures).ends_with("data:image/png;base64,AQID"));
    assert!(harmless(&format!("{before}{last}"), &pictures).ends_with("cid:a"), "that is enough");
    let before = "<a href=http://a>".repeat(PLACES_MAX - 1);
    assert_eq!(links(&format!("{before}<a href=http://b>")).len(), 2);
    assert_eq!(links(&format!("{before}<a href=http://a><a href=http://b>")).len(), 1);
}

#[test]
fn text_is_made_of_html_where_there_is_no_other() {
    let raw = b"Content-Type: text/html\r\n\r\n<p>one</p><script>two</script>";
    let letter = letter(raw).unwrap();
    assert!(letter.has_html && letter.text_of_html);
    assert!(letter.text.unwrap().contains("one"));
    let plain = super::letter(b"Subject: x\r\n\r\nonly text").unwrap();
    assert!(!plain.has_html && !plain.text_of_html);
    assert_eq!(html(b"Subject: x\r\n\r\nonly text"), None);
}

#[test]
fn what_is_too_large_is_not_taken_apart_and_long_things_are_cut() {
    assert_eq!(letter(&vec![b'x'; LETTER_MAX + 1]), None);
    assert!(letter(b"").unwrap().fields.is_empty());
    let parts = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\n\r\n".repeat(structure::PARTS_MAX + 2)
    );
    assert_eq!(letter(parts.as_bytes()), None);
    let many = format!("{}\r\n{}", "X: y\r\n".repeat(600), "ä".repeat(TEXT_MAX));
    let many = letter(many.as_bytes()).unwrap();
    assert_eq!(many.fields.len(), FIELDS_MAX.0);
    assert!(many.text_is_cut && many.text.unwrap().len() <= TEXT_MAX);
    let long = format!("Subject: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(letter(long.as_bytes()).unwrap().subject.len(), FIELDS_MAX.1);
}

proptest::proptest! {
    #[test]
    fn no_octets_make_the_reader_panic(octets: Vec<u8>) {
        letter(&octets);
        html(&octets);
        part(&octets, 1);
        heading(&octets);
    }

    #[test]
    fn no_html_makes_the_changes_panic(html in "(<|cid:|href|=|[a-z]{0,4}|[^a-z]|%[0-9a-f]{2}){0,40}") {
        let octets = [1, 2, 3];
        let pictures = BTreeMap::from([("a".to_owned(), ("png", &octets[..]))]);
        harmless(&html, &pictures);
        links(&html);
    }
}
