//! Every metric: its name, labels, unit and meaning. The operators' table and what reads metrics are tested
//! against this.

/// What a metric's number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins anew with the process that counts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times by buckets.
    Histogram,
}

impl Kind {
    /// Returns the word that Prometheus has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name; it ends in its unit, and in `_total` if it is a counter.
    pub name: &'static str,
    /// What its number does.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it is: a sentence.
    pub help: &'static str,
}

/// Declares the metrics and the list of all of them.
macro_rules! metrics {
    ($($place:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $place: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them.
        pub const ALL: &[&Metric] = &[$(&$place),*];
    };
}

metrics! {
    BUILD: Gauge "sallyport_build_info" ["version"]
        "1, for the version of the program.";
    HEALTH: Gauge "sallyport_health" ["health"]
        "1 for how the appliance is: good, degraded or not-serving, as status --check says.";

    GATE_UP: Gauge "sallyport_gate_up" []
        "Whether the gate's process answers. The kernel goes on judging without it.";
    GATE_SERVING: Gauge "sallyport_gate_serving" []
        "Whether the gate lets clients be served.";
    GATE_INTERFACE: Gauge "sallyport_gate_interface_up" ["interface", "mode"]
        "Whether the gate's program stands on a configured interface, and how: native, generic or missing.";
    GATE_INTERFACE_OPEN: Gauge "sallyport_gate_interface_open" ["interface"]
        "Whether clients can come by an interface: 0 if it is off, or has no carrier or address; no row if not known.";
    GATE_MODE: Gauge "sallyport_gate_mode" ["mode"]
        "1 for the mode of the gate: enforce, observe or open.";
    GATE_GENERATION: Gauge "sallyport_gate_list_generation" []
        "The number of the list that counts.";
    GATE_SECOND_DOOR: Gauge "sallyport_gate_second_door_sockets" []
        "Listening sockets that the second door stands on.";
    GATE_FRAMES: Counter "sallyport_gate_frames_total" ["door", "interface", "port", "reason"]
        "Frames at the first and the second door, by the reason why they passed or were dropped.";
    GATE_SPARED: Counter "sallyport_gate_frames_spared_total" ["door", "interface", "port"]
        "Frames that passed although they should have been dropped, while the gate observed.";
    GATE_ENTRIES: Gauge "sallyport_gate_entries" ["tag"]
        "Entries of the allowlist; without a tag the label is empty.";
    GATE_CONNECTIONS: Counter "sallyport_gate_connections_total" ["tag"]
        "Connection attempts that entries passed, since the relay started.";
    GATE_OVER_RATE: Counter "sallyport_gate_over_rate_total" ["tag"]
        "Connection attempts that were dropped because an entry's rate was exceeded, since the relay started.";
    GATE_WOULD_DROP: Counter "sallyport_gate_would_drop_total" ["tag"]
        "Connection attempts that the list in shadow would drop, since the relay started.";
    ENTRY_CONNECTIONS: Counter "sallyport_gate_entry_connections_total" ["cidr", "tag"]
        "Connection attempts that an entry passed; for as many entries as metrics.entries says.";
    ENTRY_OVER_RATE: Counter "sallyport_gate_entry_over_rate_total" ["cidr", "tag"]
        "Connection attempts that were dropped because the entry's rate was exceeded; for the same entries.";
    GATE_BANS: Gauge "sallyport_gate_bans" []
        "Bans that are alive.";
    GATE_BYPASSES: Gauge "sallyport_gate_bypass_paths" []
        "Ways around the first door that somebody used within the last hour.";
    SPIKES: Gauge "sallyport_spikes_open" ["class"]
        "Open spikes, by class.";
    ALERTS_OPEN: Gauge "sallyport_alerts_open" ["class", "severity"]
        "Open alerts, by class and severity (warning, critical), silenced ones too; a class without one has no series.";
    ALERT_CHANNEL_UP: Gauge "sallyport_alert_channel_up" ["channel"]
        "Whether a channel of alerts takes what it is told: 0 while something waits that it did not take.";

    SESSIONS: Gauge "sallyport_sessions" []
        "Live sessions.";
    SESSIONS_TOTAL: Counter "sallyport_sessions_total" ["listener"]
        "Connections that got a session, by the listener's address.";
    TURNED_AWAY: Counter "sallyport_sessions_turned_away_total" ["reason"]
        "Connections that got none: source, network, tag or all have as many as they may, or the process ends.";
    SESSIONS_CUT: Counter "sallyport_sessions_cut_total" []
        "Sessions that were cut since nothing admits their source any more.";
    REPLIES: Counter "sallyport_replies_total" ["code"]
        "Replies to clients, by code: 4 and 5 begin refusals.";
    HANDSHAKES: Counter "sallyport_tls_handshakes_total" ["version"]
        "TLS handshakes with clients that succeeded.";
    HANDSHAKES_FAILED: Counter "sallyport_tls_handshake_failures_total" []
        "TLS handshakes with clients that failed or came to no end.";
    LOGINS: Counter "sallyport_logins_total" ["mechanism", "result"]
        "Logins of clients: granted, denied, later (told to come back), crowded (too many sessions).";
    OFFENCES: Counter "sallyport_offences_total" ["offence"]
        "What clients did that no well-behaved one does.";

    ACCEPTED: Counter "sallyport_messages_accepted_total" ["tag"]
        "Messages that were flushed to disk and acknowledged by 250.";
    RECIPIENTS: Counter "sallyport_recipients_accepted_total" ["tag"]
        "Recipients of these messages.";
    RECEIVED_BYTES: Counter "sallyport_received_bytes_total" ["tag"]
        "Octets of these messages.";
    REPEATED: Counter "sallyport_messages_repeated_total" []
        "Messages that came again, since the client had not heard its 250, and were stored once.";
    ACCEPT_SECONDS: Histogram "sallyport_accept_seconds" []
        "From MAIL to the 250 after the message; the client's own time is in it.";

    OUTCOMES: Counter "sallyport_outcomes_total" ["route", "outcome"]
        "What attempts came to, one for each message, route, domain and reply: delivered, deferred, failed, captured.";
    DELIVERY_SECONDS: Histogram "sallyport_delivery_seconds" ["route"]
        "From the beginning of a message's acceptance to the next hop's 250; a wished delay is in it.";
    REPORTS: Counter "sallyport_reports_total" ["kind"]
        "Reports about mail: failure, and the news of others by its word; dropped are those that go nowhere.";
    ROUTE_STANDING: Gauge "sallyport_route_standing" ["route", "standing"]
        "1 for how a route stands: up, degraded (a host is down), down, login-refused or suspended.";
    ROUTE_CONNECTIONS: Gauge "sallyport_route_connections" ["route", "state"]
        "Connections to next hops: busy with a message, or idle.";
    ROUTE_CONNECTIONS_MAX: Gauge "sallyport_route_connections_max" ["route"]
        "Connections that the route may have.";
    ROUTE_MEMORY: Gauge "sallyport_route_messages_in_memory" ["route"]
        "Messages of the route that are in memory, those under way included.";
    ROUTE_WAITING: Gauge "sallyport_route_messages_waiting" ["route"]
        "Messages of the spool that go by the route next, those in memory included.";
    HOP_UP: Gauge "sallyport_next_hop_up" ["route", "host"]
        "Whether a next hop is used: 0 while it is down or being tried again.";
    HOP_LIMIT: Gauge "sallyport_next_hop_messages_max" ["route", "host"]
        "Messages at a time that the next hop gets now; this adapts.";
    HOP_TRANSACTIONS: Counter "sallyport_next_hop_transactions_total" ["route", "host", "result"]
        "Transactions since the configuration was read: carried, put-off, throttled, failed.";

    SPOOL_MESSAGES: Gauge "sallyport_spool_messages" ["state"]
        "Messages in the spool: waiting (or under way), held, captured, damaged.";
    SPOOL_OLDEST: Gauge "sallyport_spool_oldest_message_age_seconds" []
        "The age of the oldest message that is neither held, captured nor damaged; 0 if there is none.";
    SPOOL_BODIES: Gauge "sallyport_spool_body_bytes" []
        "Octets of the messages in the spool.";
    SPOOL_LOG: Gauge "sallyport_spool_log_bytes" []
        "Octets of the spool's files.";
    SPOOL_FREE: Gauge "sallyport_spool_free_bytes" []
        "Free octets of the spool's file system.";
    SPOOL_RESERVE: Gauge "sallyport_spool_reserve_bytes" []
        "Free octets that submissions leave alone: below them clients are told to come back.";
    SPOOL_HAS_ROOM: Gauge "sallyport_spool_has_room" []
        "Whether submissions find room: 0 while clients are told to come back (452, 451).";
    SPOOL_TROUBLED: Gauge "sallyport_spool_troubled_segments" []
        "Files of the spool that a write failed on, or in which something cannot be read.";
    SPOOL_COMMITS: Counter "sallyport_spool_commits_total" []
        "Messages that were committed.";
    FLUSH_SECONDS: Histogram "sallyport_spool_flush_seconds" []
        "How long a flush of the spool took; messages and outcomes share flushes.";

    CERTIFICATE: Gauge "sallyport_certificate_expiry_timestamp_seconds" ["file"]
        "When a certificate of the configuration ends, seconds since 1970.";
    EVENTS: Counter "sallyport_events_total" ["level"]
        "What the relay's process said: error (wake somebody), warn (look today), info, debug.";

    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "CPU time of the relay's process, seconds.";
    PROCESS_OPEN: Gauge "process_open_fds" []
        "Files and sockets that the relay's process has open.";
    PROCESS_MAX: Gauge "process_max_fds" []
        "Files and sockets that it may have open.";
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" []
        "Its virtual memory.";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" []
        "Its memory in use.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When it started, seconds since 1970.";
}

/// Returns the metric that a series belongs to; none if no metric has it.
#[must_use]
pub fn of_series(series: &str) -> Option<&'static Metric> {
    let endings = ["_bucket", "_sum", "_count"];
    let base = endings.iter().find_map(|ending| series.strip_suffix(ending)).unwrap_or(series);
    ALL.iter().copied().find(|metric| match metric.kind {
        Kind::Histogram => base != series && metric.name == base,
        Kind::Counter | Kind::Gauge => metric.name == series,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_follow_the_conventions() {
        for (place, metric) in ALL.iter().enumerate() {
            let Metric { name, kind, help, labels } = metric;
            assert!(name.starts_with("sallyport_") || name.starts_with("process_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(
                name.ends_with("_seconds"),
                *kind == Kind::Histogram || is_time(name),
                "{name}"
            );
            assert!(!["_ms", "_kib", "_millis", "_octets"].iter().any(|unit| name.ends_with(unit)));
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
            assert!(
                labels.iter().all(|label| *label != "le" && !label.starts_with("__")),
                "{name}"
            );
            assert!(!ALL[..place].iter().any(|other| other.name == *name), "{name} stands twice");
        }
    }

    /// Tells whether a gauge is a time, by its name.
    fn is_time(name: &str) -> bool {
        ["_timestamp_seconds", "_age_seconds", "_time_seconds"]
            .iter()
            .any(|end| name.ends_with(end))
    }

    #[test]
    fn a_series_finds_its_metric() {
        assert_eq!(of_series("sallyport_accept_seconds_bucket"), Some(&ACCEPT_SECONDS));
        assert_eq!(of_series("sallyport_sessions"), Some(&SESSIONS));
        assert_eq!(of_series("sallyport_accept_seconds"), None, "a histogram alone is no series");
        assert_eq!(of_series("sallyport_unheard_of"), None);
    }
}
