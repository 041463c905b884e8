//! `[tls]` and what `[[listener]]` says of clients' certificates.

use super::{Section, Table, acme, each, unit, values};
use crate::config::tls::ALSO_MAX;
use crate::config::{Also, ClientCertificates, Listener, Tls};

pub(super) fn tls(table: &Table<'_>, listeners: &[Section<'_, Listener>]) -> Option<Tls> {
    let also = each(table, "also", also);
    if let Some((one_too_many, _)) = also.get(ALSO_MAX) {
        one_too_many.report("certificate", &format!("at most {ALSO_MAX} may be there"));
    }
    let acme = table.optional_table("acme").map(|table| acme::acme(&table, listeners));
    let tls = Tls {
        certificate: table.or("certificate", "/etc/sallyport/tls/fullchain.pem", unit::path),
        key: table.or("key", "/etc/sallyport/tls/key.pem", unit::path),
        client_ca: table.optional("client-ca", unit::path),
        also: values(also)?,
        acme,
    };
    table.finish();
    Some(tls)
}

fn also(table: &Table<'_>) -> Option<Also> {
    let certificate = table.required("certificate", unit::path);
    let key = table.required("key", unit::path);
    Some(Also { certificate: certificate?, key: key? })
}

pub(super) fn client_certificates(listener: &Table<'_>) -> ClientCertificates {
    let ways = &[
        ("none", ClientCertificates::None),
        ("optional", ClientCertificates::Optional),
        ("required", ClientCertificates::Required),
    ];
    listener.or("client-certificates", "none", unit::word(ways))
}

/// Reports every listener that asks for certificates while nobody is named who may sign them.
pub(super) fn check(tls: Option<&Tls>, listeners: &[Section<'_, Listener>]) {
    if tls.is_none_or(|tls| tls.client_ca.is_some()) {
        return;
    }
    for (table, listener) in listeners {
        if listener.as_ref().is_some_and(|listener| listener.client_certificates.asks()) {
            table.report(
                "client-certificates",
                "name the authority that signs them: client-ca in [tls]",
            );
        }
    }
}
