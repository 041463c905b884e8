use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};

use super::*;

/// The message of RFC 8463, appendix A.3.
const HEADER: &str = "From: Joe SixPack <joe@football.example.com>\r\n\
    To: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\n\
    Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n";
const BODY: &[u8] = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

fn body_hash(body: &[u8]) -> [u8; 32] {
    let mut hash = BodyHash::default();
    hash.push(body);
    hash.finish()
}

fn signer(algorithm: Algorithm) -> Signer<'static> {
    let at = Timestamp::from_second(1_528_637_909).unwrap();
    Signer { domain: "football.example.com", selector: "brisbane", algorithm, at }
}

#[test]
fn the_example_of_rfc_8463_has_the_hash_and_the_signature_of_the_rfc() {
    let hash = STANDARD.encode(body_hash(BODY));
    assert_eq!(hash, "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    // The field of the RFC, whose tags stand in another order and form than ours.
    let field = format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
         d=football.example.com; i=@football.example.com;\r\n \
         q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
         subject : date : message-id : from : subject : date;\r\n bh={hash};\r\n b="
    );
    let fields: Vec<&str> = HEADER.split_inclusive("\r\n").collect();
    let mut input: Vec<u8> =
        fields.iter().flat_map(|field| header::relaxed(field.as_bytes())).collect();
    let own = header::relaxed(field.as_bytes());
    input.extend_from_slice(own.strip_suffix(b"\r\n").unwrap());
    let seed = STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let digest = digest::digest(&digest::SHA256, &input);
    assert_eq!(
        STANDARD.encode(key.sign(digest.as_ref())),
        "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
    );
}

#[test]
fn a_field_is_well_formed_and_its_lines_are_short() {
    let draft = Draft::new(signer(Algorithm::RsaSha256), HEADER.as_bytes(), body_hash(BODY));
    let field = draft.signed(&[0xa5; 512]);
    for line in field.strip_suffix("\r\n").unwrap().split("\r\n") {
        assert!(line.len() <= 78 && line.is_ascii() && !line.contains('\r'), "{line:?}");
        assert!(!line.trim().is_empty(), "a line of space alone would end some headers");
    }
    let (name, value) = field.split_once(':').unwrap();
    assert_eq!(name, "DKIM-Signature");
    let tags: Vec<(String, String)> = value
        .split(';')
        .map(|tag| tag.split_once('=').unwrap())
        .map(|(name, value)| (name.trim().to_owned(), value.split_whitespace().collect()))
        .collect();
    let names: Vec<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["v", "a", "c", "d", "s", "t", "h", "bh", "b"], "and never l=");
    assert_eq!(tags[8].1, STANDARD.encode([0xa5; 512]));
    assert!(tags[6].1.starts_with("from:from:sender:reply-to:to:to:cc:subject:subject:"));
}

#[test]
fn what_is_signed_changes_with_every_signed_octet_and_with_nothing_else() {
    let input = |header: &str, body: &[u8]| {
        Draft::new(signer(Algorithm::RsaSha256), header.as_bytes(), body_hash(body)).input
    };
    let as_sent = input(HEADER, BODY);
    let with = |field: &str| format!("{field}\r\n{HEADER}");
    let rows = [
        ("as sent", HEADER.to_owned(), BODY, true),
        ("a trace", with("Received: from x"), BODY, true),
        ("folded anew", HEADER.replace("Is dinner", "Is\r\n  dinner"), BODY, true),
        ("another subject", HEADER.replace("dinner", "supper"), BODY, false),
        ("a second From", with("From: eve@example.org"), BODY, false),
        ("a second Subject", with("Subject: pay"), BODY, false),
        ("a Reply-To", with("Reply-To: eve@example.org"), BODY, false),
        ("a Content-Type", with("Content-Type: text/html"), BODY, false),
        ("text below", HEADER.to_owned(), b"Hi.\r\nBuy.\r\n", false),
    ];
    for (row, header, body, alike) in rows {
        assert_eq!(input(&header, body) == as_sent, alike, "{row}");
    }
}

#[test]
fn both_algorithms_sign_what_their_public_keys_verify() {
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let draft = Draft::new(signer(Algorithm::Ed25519Sha256), HEADER.as_bytes(), body_hash(BODY));
    let public = UnparsedPublicKey::new(&ED25519, ed25519.public_key());
    let signature = ed25519.sign(draft.digest().as_ref());
    public.verify(draft.digest().as_ref(), signature.as_ref()).unwrap();

    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let draft = Draft::new(signer(Algorithm::RsaSha256), HEADER.as_bytes(), body_hash(BODY));
    let mut signature = vec![0; rsa.public_modulus_len()];
    let padding = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
    let random = aws_lc_rs::rand::SystemRandom::new();
    rsa.sign(padding, &random, draft.input(), &mut signature).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa.public_key());
    public.verify(draft.input(), &signature).unwrap();
}

#[test]
fn the_closest_domain_signs_and_none_for_authors_that_it_does_not_cover() {
    let domains = ["example.net", "billing.example.net", "example.org"];
    let rows: &[(&str, &[&str], Option<&str>)] = &[
        ("the domain", &["a@example.net"], Some("example.net")),
        ("in capitals", &["a@EXAMPLE.NET"], Some("example.net")),
        ("a name below", &["a@shop.example.net"], Some("example.net")),
        ("the closest", &["a@x.billing.example.net"], Some("billing.example.net")),
        ("another that ends alike", &["a@notexample.net"], None),
        ("a name above", &["a@net"], None),
        ("two authors", &["a@billing.example.net", "b@example.net"], Some("example.net")),
        ("two authors of two domains", &["a@example.net", "b@example.org"], None),
        ("a literal", &["a@[192.0.2.1]"], None),
        ("no author", &[], None),
    ];
    for (row, authors, expected) in rows {
        let authors: Vec<Address> = authors.iter().map(|author| author.parse().unwrap()).collect();
        assert_eq!(signing_domain(domains.into_iter(), &authors), *expected, "{row}");
    }
}
