//! Whose certificate clients are to see: the question, and those behind it.

use std::net::SocketAddr;
use std::path::{self, Path};

use anyhow::{Context as _, bail};

use super::draft::{Acme, Draft};
use super::host;
use super::question::{Consent, Interview, Question};
use super::wish::{NONE, try_out};
use crate::acme::Authority;
use crate::cli::args::InitFlags;

/// The word for the certificate that is made here.
const OWN: &str = "own";
/// The word for one by ACME.
const BY_ACME: &str = "acme";

/// Whose certificate clients see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// One that is made here, for these names, unless there is one.
    Own(Vec<String>),
    /// One that the authority of the draft signs, unless there is one. Its terms are agreed to.
    Acme,
    /// One that is there, at the places of the draft.
    Given,
}

/// Asks for the certificate; puts into the draft what of it stands in the configuration.
///
/// # Errors
///
/// As [`Interview::answer`], or if the terms of an authority are not agreed to.
pub fn certificate(
    interview: &mut Interview<'_>,
    draft: &mut Draft,
    flags: &InitFlags,
) -> anyhow::Result<Certificate> {
    let names = || [std::slice::from_ref(&draft.hostname), flags.names.as_slice()].concat();
    let is_there = flags.certificate.is_none() && draft.places.certificate.exists();
    if is_there && !flags.acme {
        return Ok(Certificate::Own(names()));
    }
    let written = |path: Option<&Path>| path.map(|path| path.display().to_string());
    let is_file = |answer: &str| {
        let is_one = Path::new(answer).is_file();
        is_one.then_some(()).ok_or_else(|| format!("there is no file {answer}"))
    };
    let asked = Question {
        flag: "--certificate",
        words: "Certificate: a file (PEM), acme for one of Let's Encrypt, or own for a private authority made here",
        default: Some(OWN.into()),
        check: &|answer| match answer {
            OWN | BY_ACME => Ok(()),
            file => is_file(file),
        },
    };
    let given = written(flags.certificate.as_deref());
    let given = given.or_else(|| flags.acme.then(|| BY_ACME.to_owned()));
    let file = interview.answer(given.as_deref(), &asked)?;
    match file.as_str() {
        OWN => return Ok(Certificate::Own(names())),
        BY_ACME => {
            let names = names();
            return acme(interview, draft, flags, names);
        }
        _ => {}
    }
    let beside = Path::new(&file).with_file_name("privkey.pem");
    let asked = Question {
        flag: "--key",
        words: "Its key, a file (PEM)",
        default: beside.is_file().then(|| beside.display().to_string()),
        check: &is_file,
    };
    let key = interview.answer(written(flags.key.as_deref()).as_deref(), &asked)?;
    draft.places.certificate = path::absolute(file)?;
    draft.places.key = path::absolute(key)?;
    Ok(Certificate::Given)
}

/// Asks what an authority needs, and for its terms.
fn acme(
    interview: &mut Interview<'_>,
    draft: &mut Draft,
    flags: &InitFlags,
    names: Vec<String>,
) -> anyhow::Result<Certificate> {
    let mut acme = Acme {
        directory: flags.acme_directory.clone(),
        ca: flags.acme_ca.as_deref().map(path::absolute).transpose()?,
        names: if names.len() > 1 { names } else { Vec::new() },
        contact: None,
        address: flags
            .acme_address
            .unwrap_or_else(|| SocketAddr::new(host::every_address().ip(), 80)),
    };
    let asked = Question {
        flag: "--acme-contact",
        words: "Where the authority may write to, or none",
        default: Some(NONE.into()),
        check: &|answer| match answer {
            NONE => Ok(()),
            contact => {
                let contact = Some(contact.to_owned());
                try_out(draft, |draft| draft.acme = Some(Acme { contact, ..acme.clone() }))
            }
        },
    };
    let contact = interview.answer(flags.acme_contact.as_deref(), &asked)?;
    acme.contact = Some(contact).filter(|contact| contact != NONE);
    let directory = acme.directory.clone();
    // Files and flags that cannot be used are told by name, before anybody is asked to agree.
    let with = |draft: &mut Draft| draft.acme = Some(Acme { contact: None, ..acme.clone() });
    if let Err(problem) = try_out(draft, with) {
        interview.object(format!("--acme: {problem}"));
        return Ok(Certificate::Acme);
    }
    if !flags.acme_agree_terms && !interview.is_asked() {
        interview.object(format!(
            "--acme-agree-terms is needed: it says that you agree to the terms of {directory}"
        ));
    } else if !flags.acme_agree_terms && interview.is_sound() {
        let terms = Authority::new(&directory, acme.ca.as_deref()).and_then(|one| one.terms());
        let terms = terms.context("--acme: nothing was written")?;
        let terms = terms.map_or_else(|| "the terms".to_owned(), |at| format!("the terms at {at}"));
        if interview.agree(&format!("Agree to {terms}?"), Consent::No)? == Consent::No {
            bail!("without an account at {directory} it signs nothing: nothing was written");
        }
    }
    draft.acme = Some(acme);
    Ok(Certificate::Acme)
}
