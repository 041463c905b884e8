//! `[alerts]`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toml::de::DeValue;

use super::{MINUTE, NAME_MAX, SECOND, Section, Table, each, unit, values};
use crate::config::alerts::{
    Alerts, CHANNELS_MAX, Channel, ChannelKind, Exec, Webhook, WebhookFormat,
};
use crate::config::raw::Presence;
use crate::event::alert::Severity;
use crate::event::pattern::Pattern;

/// The longest address of a webhook, octets.
const URL_MAX: usize = 2048;
/// The longest argument of a command, octets.
const ARGUMENT_MAX: usize = 1024;
/// The most arguments.
const ARGUMENTS_MAX: usize = 64;
/// The most mailboxes of a channel.
const MAILBOXES_MAX: usize = 32;

pub(super) fn alerts(table: &Table<'_>) -> Option<Alerts> {
    let journal = table.or("journal", true, unit::truth);
    let remind = table.or("remind", "4h", unit::duration);
    let keep = table.or("keep", "1d", unit::duration);
    if !remind.is_zero() && remind < MINUTE {
        table.report("remind", "write 1m or more, or 0s to be told once only");
    }
    if keep < MINUTE {
        table.report("keep", "an alert is tried for a minute at least");
    }
    let webhooks = each(table, "webhook", webhook);
    let mails = each(table, "mail", mail);
    let execs = each(table, "exec", exec);
    table.finish();
    let sections = [("webhook", webhooks), ("mail", mails), ("exec", execs)];
    let count: usize = sections.iter().map(|(_, sections)| sections.len()).sum();
    if count > CHANNELS_MAX {
        table.report("webhook", &format!("at most {CHANNELS_MAX} channels may be there"));
    }
    let mut names = BTreeSet::from(["journal".to_owned()]);
    let mut channels = Vec::new();
    for (kind, sections) in sections {
        channels.extend(values(named(kind, sections, &mut names))?);
    }
    let remind = (!remind.is_zero()).then_some(remind);
    Some(Alerts { journal, remind, keep, channels })
}

/// Gives the channels of a kind their names where they have none: `webhook`, `webhook-2` and so on.
fn named<'a>(
    kind: &str,
    mut sections: Vec<Section<'a, Channel>>,
    names: &mut BTreeSet<String>,
) -> Vec<Section<'a, Channel>> {
    for (number, (table, channel)) in sections.iter_mut().enumerate() {
        let Some(channel) = channel else { continue };
        if channel.name.is_empty() {
            channel.name =
                if number == 0 { kind.to_owned() } else { format!("{kind}-{}", number + 1) };
        }
        table.comes_to("name", channel.name.clone());
        if !names.insert(channel.name.clone()) {
            table.report("name", &format!("\"{}\" names another channel too", channel.name));
        }
    }
    sections
}

/// Reads what every channel has, and puts it around what it is.
fn channel(table: &Table<'_>, kind: Option<ChannelKind>) -> Option<Channel> {
    let severities = &[("warning", Severity::Warning), ("critical", Severity::Critical)];
    let name = table.optional("name", unit::short(NAME_MAX)).unwrap_or_default();
    let min_severity = table.or("min-severity", "warning", unit::word(severities));
    let classes = table.optional_list("classes", class);
    table.comes_to("classes", vec![Pattern::everything().to_string()]);
    let classes = classes.unwrap_or_else(|| vec![Pattern::everything()]);
    Some(Channel { name, min_severity, classes, kind: kind? })
}

fn webhook(table: &Table<'_>) -> Option<Channel> {
    let formats = &[
        ("json", WebhookFormat::Json),
        ("slack", WebhookFormat::Slack),
        ("teams", WebhookFormat::Teams),
        ("pagerduty", WebhookFormat::PagerDuty),
        ("alertmanager", WebhookFormat::Alertmanager),
    ];
    let url = table.required("url", web);
    if let Some(url) = &url {
        conceal(table, url);
    }
    let format = table.or("format", "json", unit::word(formats));
    let secret_file = table.optional("secret-file", unit::path);
    let ca_file = table.optional("ca-file", unit::path);
    let authorization_file = table.optional("authorization-file", unit::path);
    let heartbeat = table.optional("heartbeat", unit::duration);
    match (format, &secret_file, heartbeat) {
        (WebhookFormat::PagerDuty, None, _) => {
            table.report("secret-file", "PagerDuty needs the file of its routing key");
        }
        (WebhookFormat::Slack | WebhookFormat::Teams | WebhookFormat::PagerDuty, _, Some(_)) => {
            table.report("heartbeat", "people do not want it: only json and alertmanager do");
        }
        (_, _, Some(every)) if every < 10 * SECOND => {
            table.report("heartbeat", "write 10s or more");
        }
        (_, _, _) => {}
    }
    let hook =
        url.map(|url| Webhook { url, format, secret_file, ca_file, authorization_file, heartbeat });
    channel(table, hook.map(ChannelKind::Webhook))
}

fn mail(table: &Table<'_>) -> Option<Channel> {
    let to = table.list("to", Presence::Required, unit::parsed);
    if to.len() > MAILBOXES_MAX {
        table.report("to", &format!("at most {MAILBOXES_MAX} mailboxes may be there"));
    }
    channel(table, (!to.is_empty()).then_some(ChannelKind::Mail(to)))
}

fn exec(table: &Table<'_>) -> Option<Channel> {
    let command = table.list("command", Presence::Required, unit::short(ARGUMENT_MAX));
    let time_limit = table.or("time-limit", "30s", unit::duration);
    if command.len() > ARGUMENTS_MAX {
        table.report("command", &format!("at most {ARGUMENTS_MAX} arguments may be there"));
    }
    if command.first().is_some_and(|program| !program.starts_with('/')) {
        table.report(
            "command",
            "expected the absolute path of a program, as in [\"/usr/bin/logger\"]",
        );
    }
    if time_limit < SECOND || time_limit > 5 * MINUTE {
        table.report("time-limit", "write 1s to 5m");
    }
    let kind = (!command.is_empty()).then_some(ChannelKind::Exec(Exec { command, time_limit }));
    channel(table, kind)
}

/// Reads a pattern of alerts that there can be.
fn class(value: &DeValue<'_>) -> Result<Pattern, Cow<'static, str>> {
    let pattern: Pattern = unit::parsed(value)?;
    pattern.ensure_meaning()?;
    Ok(pattern)
}

/// Keeps what follows the host of a webhook from people who only look at the configuration: whoever knows it may
/// write there.
fn conceal(table: &Table<'_>, url: &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    if !["", "/"].contains(&&rest[host.len()..]) {
        table.conceal("url", format!("{scheme}://{host}/..."));
    }
}

/// Reads the address of a webhook. Whoever knows it may write there, so `http://` is for a network that is
/// trusted; a check names it.
fn web(value: &DeValue<'_>) -> Result<String, Cow<'static, str>> {
    let written = unit::short(URL_MAX)(value)?;
    let rest = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"));
    let is_fine = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && rest.bytes().all(|b| b.is_ascii_graphic())
            && !rest.contains(['@', '#'])
    });
    if is_fine {
        Ok(written)
    } else {
        Err("expected an address as in \"https://hooks.example.net/sallyport\"".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &str) -> Result<Alerts, String> {
        let text = format!(
            "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
             [gate]\nrequired = false\n[[listener]]\naddress = '[::]:2525'\n{lines}\n"
        );
        Config::parse(&text).map(|config| config.alerts).map_err(|problems| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
        })
    }

    #[test]
    fn channels_have_names_and_take_everything_unless_told_otherwise() {
        let alerts = read(
            "[alerts]\nwebhook = [{ url = 'https://a.example/x' }, { url = 'http://[::1]:9/' }]\n\
             [[alerts.mail]]\nto = ['a@example.net']\nclasses = ['spike-*']\n\
             [[alerts.exec]]\nname = 'pager'\ncommand = ['/bin/true', 'a b']\nmin-severity = 'critical'",
        )
        .unwrap();
        let names: Vec<_> = alerts.channels.iter().map(|channel| &*channel.name).collect();
        assert_eq!(names, ["webhook", "webhook-2", "mail", "pager"]);
        let at = jiff::Timestamp::UNIX_EPOCH;
        let spike = crate::event::wording::noted("spike-refused", "x").warns().at(at);
        let takes: Vec<_> = alerts.channels.iter().map(|channel| channel.takes(&spike)).collect();
        assert_eq!(takes, [true, true, true, false]);
        assert_eq!(read("").unwrap().channels, []);
        assert_eq!(read("[alerts]\nremind = '0s'").unwrap().remind, None);
    }

    #[test]
    fn what_no_channel_can_do_is_refused_with_a_remedy() {
        for (lines, expected) in [
            ("[[alerts.webhook]]", "alerts.webhook.url: this key is required"),
            ("[[alerts.webhook]]\nurl = 'ftp://a/'", "alerts.webhook.url: expected an address"),
            ("[[alerts.webhook]]\nurl = 'https://u@a/'", "alerts.webhook.url: expected"),
            (
                "[[alerts.webhook]]\nurl = 'https://a/'\nformat = 'pagerduty'",
                "secret-file: PagerDuty needs",
            ),
            (
                "[[alerts.webhook]]\nurl = 'https://a/'\nformat = 'slack'\nheartbeat = '5m'",
                "heartbeat: people do not want it",
            ),
            ("[[alerts.webhook]]\nurl = 'https://a/'\nheartbeat = '1s'", "write 10s or more"),
            ("[[alerts.webhook]]\nurl = 'https://a/'\nclasses = ['/']", "expected a class"),
            (
                "[[alerts.webhook]]\nurl = 'https://a/'\nclasses = ['spool-*', 'host-dwn']",
                "line 9, column 23: alerts.webhook.classes: no alert has the class \"host-dwn\": do you mean \"host-down\"?",
            ),
            ("[[alerts.mail]]\nto = ['nobody']", "alerts.mail.to"),
            ("[[alerts.exec]]\ncommand = ['true']", "expected the absolute path"),
            ("[[alerts.exec]]\ncommand = ['/t']\ntime-limit = '1h'", "write 1s to 5m"),
            (
                "[[alerts.mail]]\nname = 'x'\nto = ['a@b.example']\n\
                 [[alerts.exec]]\nname = 'x'\ncommand = ['/t']",
                "alerts.exec.name: \"x\" names another channel too",
            ),
            ("[alerts]\nremind = '1s'", "write 1m or more"),
        ] {
            let problems = read(lines).unwrap_err();
            assert!(problems.contains(expected), "{lines}: {problems}");
        }
    }
}
