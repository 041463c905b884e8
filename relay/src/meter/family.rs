//! Counts by labels, with a limit on how many rows there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::catalogue::Metric;
use super::histogram::Histogram;
use super::text::Text;

/// The label of what is counted beyond the limit of rows.
pub const OTHER: &str = "other";

/// Between two labels of a row: no label has it, since none of ours is binary.
const BETWEEN: char = '\0';

/// Counters by labels.
#[derive(Debug)]
pub struct Counts {
    most: usize,
    rows: Mutex<BTreeMap<String, u64>>,
}

impl Counts {
    /// Returns counters with at most so many rows, and one more for all others.
    pub fn up_to(most: usize) -> Self {
        Self { most, rows: Mutex::default() }
    }

    /// Has rows stand at 0 before anything is counted in them: whoever scrapes sees the first one as growth.
    pub fn expecting(self, rows: &[&[&str]]) -> Self {
        for labels in rows {
            self.add(labels, 0);
        }
        self
    }

    /// Adds one to a row.
    pub fn count(&self, labels: &[&str]) {
        self.add(labels, 1);
    }

    /// Adds to a row.
    pub fn add(&self, labels: &[&str], more: u64) {
        let mut rows = lock(&self.rows);
        let key = key(labels);
        if let Some(count) = rows.get_mut(&key) {
            *count += more;
        } else {
            let key = if rows.len() < self.most { key } else { others(labels) };
            *rows.entry(key).or_default() += more;
        }
    }

    /// Writes all rows.
    pub fn write(&self, text: &mut Text, metric: &Metric) {
        let mut rows = text.rows(metric);
        for (key, count) in lock(&self.rows).iter() {
            rows.row(&labels(key), *count);
        }
    }
}

/// Histograms by one label.
#[derive(Debug)]
pub struct Times {
    most: usize,
    bounds: &'static [f64],
    rows: Mutex<BTreeMap<String, Histogram>>,
}

impl Times {
    /// Returns histograms with these bounds, for at most so many labels, and one more for all others.
    pub fn up_to(most: usize, bounds: &'static [f64]) -> Self {
        Self { most, bounds, rows: Mutex::default() }
    }

    /// Adds a time.
    pub fn observe(&self, label: &str, time: Duration) {
        let mut rows = lock(&self.rows);
        let is_known = rows.contains_key(label) || rows.len() < self.most;
        let label = if is_known { label } else { OTHER };
        rows.entry(label.to_owned()).or_insert_with(|| Histogram::of(self.bounds)).observe(time);
    }

    /// Writes all of them.
    pub fn write(&self, text: &mut Text, metric: &Metric) {
        let mut all = text.rows(metric);
        for (label, histogram) in lock(&self.rows).iter() {
            all.histogram(&[label], histogram);
        }
    }
}

fn key(labels: &[&str]) -> String {
    let mut key = String::new();
    for (place, label) in labels.iter().enumerate() {
        if place > 0 {
            key.push(BETWEEN);
        }
        key.extend(label.chars().filter(|c| *c != BETWEEN));
    }
    key
}

fn others(labels: &[&str]) -> String {
    key(&vec![OTHER; labels.len()])
}

fn labels(key: &str) -> Vec<&str> {
    key.split(BETWEEN).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::catalogue::{DELIVERY_SECONDS, LOGINS};

    #[test]
    fn rows_beyond_the_limit_are_counted_together() {
        let counts = Counts::up_to(2);
        for (mechanism, result) in
            [("PLAIN", "granted"), ("LOGIN", "denied"), ("X", "denied"), ("Y", "a\0b"), ("X", "z")]
        {
            counts.count(&[mechanism, result]);
        }
        counts.add(&["PLAIN", "granted"], 4);
        let mut text = Text::default();
        counts.write(&mut text, &LOGINS);
        let text = text.into_string();
        let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rows,
            [
                r#"sallyport_logins_total{mechanism="LOGIN",result="denied"} 1"#,
                r#"sallyport_logins_total{mechanism="PLAIN",result="granted"} 5"#,
                r#"sallyport_logins_total{mechanism="other",result="other"} 3"#,
            ]
        );
    }

    #[test]
    fn times_beyond_the_limit_are_counted_together() {
        let times = Times::up_to(1, &[1.0]);
        for label in ["a", "b", "c", "a"] {
            times.observe(label, Duration::from_millis(500));
        }
        let mut text = Text::default();
        times.write(&mut text, &DELIVERY_SECONDS);
        let text = text.into_string();
        assert!(text.contains("_count{route=\"a\"} 2\n"), "{text}");
        assert!(text.contains("_count{route=\"other\"} 2\n"), "{text}");
    }
}
