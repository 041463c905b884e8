//! `[[policy]]`: every key and its bounds.

use super::route::check_waits;
use super::{GIB, KIB, NAME_MAX, SECOND, TAG_MAX, size};
use crate::config::raw::{Presence, Table};
use crate::config::{Policy, RECIPIENTS_MAX, Who, unit};

/// Reads one `[[policy]]`.
pub(super) fn policy(table: &Table<'_>) -> Option<Policy> {
    let tag = table.optional("tag", unit::short(TAG_MAX));
    let login = table.optional("login", unit::short(NAME_MAX));
    let senders = table.list("senders", Presence::Required, unit::sender);
    let recipients = table.optional_list("recipients", unit::address);
    let rate = table.optional("rate", unit::rate);
    let quota = table.optional("quota", unit::quota);
    let message_size_bytes = table.optional("message-size", unit::size(KIB..=GIB));
    let recipients_per_message =
        table.optional("recipients-per-message", unit::count(1..=RECIPIENTS_MAX)).map(size);
    let sessions = table.optional("sessions", unit::count(1..=100_000)).map(size);
    let retry_after = table.optional_list("retry-after", unit::duration);
    let expire = table.optional("expire", unit::duration);
    let delay_report = table.optional("delay-report", unit::duration);
    let route = table.optional("route", unit::short(NAME_MAX));
    let priority = table.optional("priority", unit::priority);
    let capture = table.optional("capture", unit::truth);
    let auto_ban = table.optional("auto-ban", unit::truth);
    if login.is_some() && auto_ban.is_some() {
        table.report("auto-ban", "a ban shuts out a source, not a login: write it for a tag");
    }
    if let Some(waits) = &retry_after {
        check_waits(table, "retry-after", waits);
        if waits.is_empty() {
            table.report("retry-after", "name at least one wait, or leave the key out");
        }
    }
    if expire.is_some_and(|expire| expire < SECOND) {
        table.report("expire", "mail lives at least a second");
    }
    let who = match (tag, login) {
        (Some(tag), None) => Who::Tag(tag),
        (None, Some(login)) => Who::Login(login),
        (Some(_), Some(_)) | (None, None) => {
            table.report("tag", "a policy names either a tag or a login");
            return None;
        }
    };
    Some(Policy {
        who,
        senders,
        recipients,
        rate,
        quota,
        message_size_bytes,
        recipients_per_message,
        sessions,
        retry_after,
        expire,
        delay_report,
        route,
        priority,
        capture,
        auto_ban,
    })
}
