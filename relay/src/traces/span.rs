//! From a fact about a message to spans of its trace. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use crate::history::{Became, Fact, Line, Told};
use crate::mail::came::Came;
use crate::mail::context::{SpanId, TraceContext, TraceId};
use crate::mail::envelope::Envelope;
use crate::mail::message::MessageId;

/// The most results of an attempt that its span tells one by one.
const RESULTS_MAX: usize = 16;

/// Something that took a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// Its name in the trace.
    pub id: SpanId,
    /// The span that led to it.
    pub parent: Parent,
    /// What it is.
    pub name: &'static str,
    /// Who speaks to whom.
    pub kind: Kind,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened in it.
    pub moments: Vec<Moment>,
    /// Why it failed; none: it did not.
    pub fault: Option<String>,
}

/// The span that led to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The sender's, which the message names.
    Sender(SpanId),
    /// One of ours.
    Ours(SpanId),
}

/// Who speaks to whom in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client to us.
    Server,
    /// We to a next hop.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

/// Something that happened at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// What.
    pub name: &'static str,
    /// When.
    pub at: Timestamp,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// Returns the spans that a line of the history gives: none if the message belongs to no trace, or its sender
/// does not record it.
pub fn of(hostname: &str, line: &Line) -> Vec<Span> {
    let Some(id) = line.id else { return Vec::new() };
    let about = |trace: Option<TraceContext>| {
        let context = trace.filter(|context| context.is_sampled())?;
        Some(Message { hostname, id, context })
    };
    match &line.fact {
        Fact::Received { came, envelope, size_bytes } => match about(envelope.trace) {
            Some(message) => message.received(came, envelope, *size_bytes, line.at),
            None => Vec::new(),
        },
        Fact::Attempted { number, counted: _, began_at, results, open, trace } => {
            match about(*trace) {
                Some(message) => {
                    vec![message.attempted(*number, *began_at, results, *open, line.at)]
                }
                None => Vec::new(),
            }
        }
        Fact::Report { .. }
        | Fact::Reported { .. }
        | Fact::Carried { .. }
        | Fact::Operated { .. }
        | Fact::Read { .. }
        | Fact::Viewed { .. }
        | Fact::CaptureEnded { .. }
        | Fact::SetAside { .. }
        | Fact::Missed { .. } => Vec::new(),
    }
}

/// A message that belongs to a trace.
struct Message<'a> {
    hostname: &'a str,
    id: MessageId,
    context: TraceContext,
}

impl Message<'_> {
    /// Returns the name of a span of this message: always the same one.
    fn span(&self, what: &str) -> SpanId {
        let text = format!("sallyport {} {} {what}", self.hostname, self.id);
        let hash = digest(&SHA256, text.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_ref()[..8]);
        SpanId(u64::from_be_bytes(id).max(1))
    }

    /// The first message of a session has the session above it. A client that keeps its connection would else
    /// see hours before each message.
    fn received(
        &self,
        came: &Came,
        envelope: &Envelope,
        size_bytes: u64,
        at: Timestamp,
    ) -> Vec<Span> {
        let trace = self.context.trace;
        let mut spans = Vec::new();
        let mut parent = Parent::Sender(self.context.parent);
        if came.earlier == 0 {
            let id = self.span("session");
            spans.push(Span {
                trace,
                id,
                parent,
                name: "session",
                kind: Kind::Server,
                began_at: came.accepted_at,
                ended_at: at,
                attributes: session(came, envelope),
                moments: session_moments(came),
                fault: None,
            });
            parent = Parent::Ours(id);
        }
        let domain = envelope.recipients.first().map(|to| to.domain().to_ascii_lowercase());
        let mut attributes = vec![
            ("sallyport.id", Value::Text(self.id.to_string())),
            ("sallyport.size", Value::Number(size_bytes)),
            ("sallyport.recipients", Value::Number(envelope.recipients.len() as u64)),
            ("sallyport.session.earlier", Value::Number(came.earlier.into())),
        ];
        enter(&mut attributes, "sallyport.domain", domain);
        enter(&mut attributes, "sallyport.login", envelope.login.clone());
        spans.push(Span {
            trace,
            id: self.span("accept"),
            parent,
            name: "accept",
            kind: Kind::Server,
            began_at: envelope.received_at,
            ended_at: at,
            attributes,
            moments: Vec::new(),
            fault: None,
        });
        spans
    }

    fn attempted(
        &self,
        number: u32,
        began_at: Timestamp,
        results: &[Told],
        open: usize,
        at: Timestamp,
    ) -> Span {
        let bad = results.iter().find(|told| match told.became {
            Became::Failed | Became::Deferred => true,
            Became::Delivered | Became::Captured => false,
        });
        let mut attributes = vec![
            ("sallyport.id", Value::Text(self.id.to_string())),
            ("sallyport.attempt", Value::Number(number.into())),
            ("sallyport.open", Value::Number(open as u64)),
        ];
        if let Some(told) = bad.or(results.first()) {
            enter(&mut attributes, "sallyport.route", some(&told.route));
            enter(&mut attributes, "sallyport.next-hop", some(&told.next_hop));
        }
        Span {
            trace: self.context.trace,
            // An attempt at nothing but what is captured does not count, so its number comes again.
            id: self.span(&format!("attempt {number} {began_at}")),
            parent: Parent::Ours(self.span("accept")),
            name: "attempt",
            kind: Kind::Client,
            began_at,
            ended_at: at,
            attributes,
            moments: results.iter().take(RESULTS_MAX).map(|told| result(told, at)).collect(),
            fault: bad.map(|told| told.reply.clone()),
        }
    }
}

fn session(came: &Came, envelope: &Envelope) -> Vec<(&'static str, Value)> {
    let mut attributes = vec![
        ("network.peer.address", Value::Text(came.peer.to_string())),
        ("server.address", Value::Text(came.listener.ip().to_string())),
        ("server.port", Value::Number(came.listener.port().into())),
    ];
    enter(&mut attributes, "client.address", envelope.source.map(|source| source.to_string()));
    if let Some(entry) = came.entry {
        attributes.push(("sallyport.entry", Value::Text(entry.network.to_string())));
        attributes.push(("sallyport.entry.passed", Value::Number(entry.passed)));
        attributes.push(("sallyport.entry.over-rate", Value::Number(entry.over_rate)));
    }
    enter(&mut attributes, "sallyport.tag", envelope.tag.clone());
    enter(&mut attributes, "sallyport.tls", came.tls.clone());
    enter(&mut attributes, "sallyport.server-name", came.server_name.clone());
    enter(&mut attributes, "sallyport.mechanism", came.mechanism.clone());
    enter(&mut attributes, "sallyport.login", envelope.login.clone());
    attributes
}

fn session_moments(came: &Came) -> Vec<Moment> {
    let moments = [("secured", came.secured_at), ("logged-in", came.logged_in_at)];
    let moment =
        |(name, at): (_, Option<_>)| Some(Moment { name, at: at?, attributes: Vec::new() });
    moments.into_iter().filter_map(moment).collect()
}

fn result(told: &Told, at: Timestamp) -> Moment {
    let name = match told.became {
        Became::Delivered => "delivered",
        Became::Deferred => "deferred",
        Became::Failed => "failed",
        Became::Captured => "captured",
    };
    let mut attributes = vec![
        ("sallyport.recipients", Value::Number(told.recipients.len() as u64)),
        ("sallyport.reply", Value::Text(told.reply.clone())),
    ];
    enter(&mut attributes, "sallyport.route", some(&told.route));
    enter(&mut attributes, "sallyport.next-hop", some(&told.next_hop));
    Moment { name, at, attributes }
}

fn enter(attributes: &mut Vec<(&'static str, Value)>, name: &'static str, value: Option<String>) {
    attributes.extend(value.map(|text| (name, Value::Text(text))));
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
