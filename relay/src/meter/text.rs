//! The text format that Prometheus reads (version 0.0.4).
//!
//! Written by hand: the library for it writes OpenMetrics alone, whose counters `promtool check metrics`
//! does not know again, and it holds what it writes in a registry, where most of ours is read at a scrape.

use std::fmt::{Display, Write as _};

use super::catalogue::{Kind, Metric};
use super::histogram::{Histogram, Snapshot};

/// What `Content-Type` says of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics as text.
#[derive(Debug, Default)]
pub struct Text(String);

/// The rows of one metric.
#[derive(Debug)]
pub struct Rows<'a> {
    text: &'a mut String,
    metric: &'a Metric,
    is_begun: bool,
}

impl Text {
    /// Begins a metric; its rows must come now, all of them. One without rows leaves no trace.
    pub fn rows<'a>(&'a mut self, metric: &'a Metric) -> Rows<'a> {
        Rows { text: &mut self.0, metric, is_begun: false }
    }

    /// Writes a metric without labels.
    pub fn one(&mut self, metric: &Metric, value: impl Display) {
        self.rows(metric).row(&[], value);
    }

    /// Writes a histogram, alone of its metric.
    pub fn histogram(&mut self, metric: &Metric, labels: &[&str], histogram: &Histogram) {
        self.rows(metric).histogram(labels, histogram);
    }

    /// Returns the text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Rows<'_> {
    /// Writes a row; labels are in the order of the metric's.
    pub fn row(&mut self, labels: &[&str], value: impl Display) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.begin();
        self.line("", labels, None, value);
    }

    /// Writes one row for each of some states: 1 for the one that holds, 0 for the others. The state is the
    /// last label.
    pub fn states(&mut self, labels: &[&str], states: &[&str], holds: &str) {
        for state in states {
            let labels: Vec<&str> = labels.iter().copied().chain([*state]).collect();
            self.row(&labels, u8::from(*state == holds));
        }
    }

    /// Writes the rows of a histogram.
    pub fn histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        debug_assert_eq!(self.metric.kind, Kind::Histogram, "{}", self.metric.name);
        self.begin();
        let Snapshot { buckets, count, sum_seconds } = histogram.snapshot();
        for (bound, below) in buckets {
            self.line("_bucket", labels, Some(&bound.to_string()), below);
        }
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, sum_seconds);
        self.line("_count", labels, None, count);
    }

    fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            let Metric { name, kind, help, .. } = self.metric;
            let kind = kind.word();
            // Writing to a text does not fail.
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
    }

    fn line(&mut self, ending: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        let (text, metric) = (&mut *self.text, self.metric);
        let _ = write!(text, "{}{ending}", metric.name);
        let pairs = metric.labels.iter().copied().zip(labels.iter().copied());
        let pairs = pairs.chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (name, label) in pairs {
            let _ = write!(text, "{before}{name}=\"");
            escape(text, label);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// Writes a label's value so that it ends where it ends.
fn escape(text: &mut String, label: &str) {
    for c in label.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::catalogue::{ACCEPTED, GATE_MODE, SESSIONS};

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut text = Text::default();
        text.rows(&ACCEPTED).row(&["a\"} 1\nb\\"], 7);
        let text = text.into_string();
        let row = text.lines().last().unwrap();
        assert_eq!(row, r#"sallyport_messages_accepted_total{tag="a\"} 1\nb\\"} 7"#);
    }

    #[test]
    fn a_metric_is_named_once_and_only_if_it_has_rows() {
        let mut text = Text::default();
        text.rows(&ACCEPTED);
        text.one(&SESSIONS, 3);
        text.rows(&GATE_MODE).states(&[], &["enforce", "observe"], "observe");
        let text = text.into_string();
        assert!(text.starts_with("# HELP sallyport_sessions "), "{text}");
        assert!(
            text.contains("\n# TYPE sallyport_sessions gauge\nsallyport_sessions 3\n"),
            "{text}"
        );
        let modes =
            "sallyport_gate_mode{mode=\"enforce\"} 0\nsallyport_gate_mode{mode=\"observe\"} 1\n";
        assert!(text.ends_with(modes), "{text}");
    }
}
