//! What people read in a chat. Parts of an alert are a peer's words, so nothing of it is read as markup.

use serde_json::{Value, json};

use super::{Message, cut, facts, headline, mark};

/// The most facts that a chat shows: more than any alert of ours has.
const FACTS_MAX: usize = 20;
/// The most facts of one section of Slack's.
const FIELDS_MAX: usize = 10;
/// The longest value of a fact, characters.
const FACT_MAX: usize = 200;

/// Returns a message for an incoming webhook of Slack: blocks, and a text for notifications.
/// (Block Kit: a header has at most 150 characters, a section 3000, ten fields of 2000.)
pub(super) fn slack(message: Message<'_>) -> Value {
    let Message { host, alert, .. } = message;
    let plain = |text: String| json!({ "type": "plain_text", "text": text, "emoji": false });
    let title = cut(&format!("{} {} on {host}", mark(alert), alert.key()), 150);
    let fields: Vec<Value> =
        shown(message).into_iter().map(|(name, value)| plain(format!("{name}: {value}"))).collect();
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(title) }),
        json!({ "type": "section", "text": plain(alert.summary.clone()) }),
    ];
    blocks.extend(
        fields.chunks(FIELDS_MAX).map(|fields| json!({ "type": "section", "fields": fields })),
    );
    if let Some(command) = &alert.command {
        blocks.push(json!({ "type": "section", "text": plain(format!("First: {command}")) }));
    }
    json!({ "text": escaped(&headline(host, alert)), "blocks": blocks })
}

/// Takes the meaning of Slack's three control characters away: without them there is no link and nobody is
/// called.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns a message for a workflow's webhook of Teams: an adaptive card. Its text blocks would read Markdown;
/// text runs do not.
pub(super) fn teams(message: Message<'_>) -> Value {
    let Message { host, alert, .. } = message;
    let line = |text: String, is_title: bool| {
        let weight = if is_title { "Bolder" } else { "Default" };
        json!({
            "type": "RichTextBlock",
            "inlines": [{ "type": "TextRun", "text": text, "weight": weight }],
        })
    };
    let mut body = vec![
        line(format!("{} {} on {host}", mark(alert), alert.key()), true),
        line(alert.summary.clone(), false),
    ];
    body.extend(
        shown(message).into_iter().map(|(name, value)| line(format!("{name}: {value}"), false)),
    );
    body.extend(alert.command.iter().map(|command| line(format!("First: {command}"), false)));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

fn shown(message: Message<'_>) -> Vec<(String, String)> {
    let mut facts = facts(message.alert);
    // The last ones say since when, and until when.
    let hidden = facts.len().saturating_sub(FACTS_MAX);
    facts.drain(..hidden);
    facts.into_iter().map(|(name, value)| (name, cut(&value, FACT_MAX))).collect()
}
