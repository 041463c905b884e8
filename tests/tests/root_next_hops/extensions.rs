//! What a client asks for, and what servers of other people offer or lack.

use std::slice::from_ref;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::hop::eventually;

use crate::house::{House, SENDER, at_example, is_whole, message};

pub fn offers(house: &mut House) -> Result<()> {
    for mark in house.server.software.marks {
        // Some write the line when the connection ends.
        let seen = || Ok(house.server.log().contains(mark).then_some(()));
        eventually(mark, seen).with_context(|| house.logs())?;
    }
    Ok(())
}

/// All three servers offer SMTPUTF8.
pub fn utf8(house: &mut House) -> Result<()> {
    let guest = at_example("grüße");
    let text = message("utf8", "x\r\n").replace("Subject: utf8", "Subject: Grüße, 你好");
    house.submit_with("BODY=8BITMIME SMTPUTF8", from_ref(&guest), &text)?;
    let arrived = house.arrive(from_ref(&guest))?;
    house.rest()?;
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    arrived.iter().try_for_each(|taken| is_whole(taken, &text))
}

/// No server offers BINARYMIME.
pub fn binary(house: &mut House) -> Result<()> {
    let guest = at_example("binary");
    let body = "\0a line\nand\ranother\u{7f}ü\r\n.\r\n";
    let text = message("binary", body).replace(
        "Content-Type: text/plain; charset=utf-8",
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary",
    );
    house.submit_binary(from_ref(&guest), &text)?;
    let arrived = house.arrive(from_ref(&guest))?;
    house.rest()?;
    let [taken] = &*arrived else { anyhow::bail!("not one copy: {arrived:?}") };
    let (header, encoded) = taken.text.split_once("\r\n\r\n").context("no body")?;
    ensure!(header.contains("\r\nContent-Transfer-Encoding: base64"), "{header}");
    let octets =
        STANDARD.decode(encoded.replace("\r\n", "")).with_context(|| encoded.to_owned())?;
    assert_eq!(octets.escape_ascii().to_string(), body.as_bytes().escape_ascii().to_string());
    Ok(())
}

/// No server offers REQUIRETLS (RFC 8689).
pub fn require_tls(house: &mut House) -> Result<()> {
    let guest = at_example("require-tls");
    let id = house.submit_with("REQUIRETLS", &[guest], &message("require-tls", "x\r\n"))?;
    let ended = || Ok(house.ends(&id).into_iter().next());
    let (end, _) = eventually("the end", ended).with_context(|| house.logs())?;
    assert_eq!(end, "failed");
    house.rest()?;
    for taken in house.server.take()? {
        ensure!(taken.recipient == SENDER, "it was handed over: {taken:?}");
        ensure!(taken.text.contains("Status: 5.7.30"), "another report: {}", taken.text);
    }
    Ok(())
}
