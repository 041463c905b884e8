//! How well the appliance serves, judged by what both processes say: one judgement for the command line, the
//! health pages and the metrics.

use serde::Serialize;

use super::wire::{GateStatus, RelayStatus, UNGUARDED};

/// How well the appliance serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// All is well.
    Good,
    /// Clients are served, and somebody should look.
    Degraded,
    /// Clients are not served.
    NotServing,
}

impl Health {
    /// Returns the word for it: `good`, `degraded` or `not serving`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Degraded => "degraded",
            Self::NotServing => "not serving",
        }
    }
}

/// How well the appliance serves, and why not better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// How well.
    pub health: Health,
    /// What somebody should look at, a sentence each; none if all is well.
    pub problems: Vec<String>,
}

/// Judges by what the gate's process says (nothing where no gate is configured) and the relay's, or by why
/// they do not.
#[must_use]
pub fn judge(
    gate: Result<Option<&GateStatus>, &str>,
    relay: Result<&RelayStatus, &str>,
) -> Judgement {
    let mut problems = Vec::new();
    let gate = gate.unwrap_or_else(|error| {
        problems.push(error.to_owned());
        None
    });
    if let Err(error) = relay {
        problems.push(error.to_owned());
    }
    if let Some(gate) = gate {
        of_gate(gate, &mut problems);
    }
    let mut serves = false;
    if let Ok(relay) = relay {
        serves = relay.serving && gate.is_none_or(|gate| gate.serving);
        of_relay(relay, &mut problems);
        if !serves {
            problems.push(format!("clients are not accepted ({})", relay.guard));
        }
    }
    let health = match (serves, problems.is_empty()) {
        (false, _) => Health::NotServing,
        (true, false) => Health::Degraded,
        (true, true) => Health::Good,
    };
    Judgement { health, problems }
}

fn of_gate(gate: &GateStatus, problems: &mut Vec<String>) {
    for interface in &gate.interfaces {
        if let Some(problem) = &interface.problem {
            problems.push(format!("gate on {}: {problem}", interface.name));
        }
    }
    problems.extend(gate.problems.iter().map(|problem| format!("gate: {problem}")));
    if gate.mode != "enforce" {
        problems.push(format!("gate: it is in mode {} and lets everybody in", gate.mode));
    }
    problems.extend(gate.bypasses.iter().map(|bypass| format!("gate bypass: {}", bypass.path)));
    // A bypass and a gate that is missing are problems of their own above.
    let open = gate.spikes_by_class().into_iter().filter(|(_, count)| *count > 0);
    let named = open.map(|(class, _)| class).filter(|class| !class.starts_with("gate-"));
    let open: Vec<&str> = named.collect();
    if !open.is_empty() {
        problems.push(format!("open spikes: {}", open.join(", ")));
    }
}

fn of_relay(relay: &RelayStatus, problems: &mut Vec<String>) {
    if relay.guard == UNGUARDED {
        problems.push("UNGUARDED: no filter keeps strangers from the listeners".to_owned());
    }
    let spool = relay.spool.as_ref();
    if let Some(spool) = spool.filter(|spool| spool.free_bytes < spool.reserve_bytes) {
        problems.push(format!(
            "the spool is below its reserve of free space ({} MiB of {} MiB): clients get 452 4.3.1",
            spool.free_bytes >> 20,
            spool.reserve_bytes >> 20
        ));
    } else if !relay.has_room {
        problems.push(match spool {
            Some(_) => "the spool has as many messages as `spool.messages` allows: clients get 452 4.3.1",
            None => "the disk of the spool does not tell its free space: clients get 452 or 451",
        }.to_owned());
    }
    problems.extend(relay.troubled.iter().cloned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> RelayStatus {
        RelayStatus {
            pid: 1,
            serving: true,
            guard: "guarded".to_owned(),
            sessions: 0,
            spool: None,
            has_room: true,
            troubled: Vec::new(),
            sandbox: None,
        }
    }

    fn gate() -> GateStatus {
        let text = r#"{"pid":1,"interfaces":[{"name":"eth0","mode":"native","problem":null}],
            "ports":[2525],"serving":true,"mode":"enforce","observe_until":null,"generation":1,
            "second_door":1,"loopback":true,"confirm_until":null,"shadow":null,"entries":1,"bans":0,
            "counters":{},"spared":0,"counted":[],"talkers":[],"bypasses":[],"refused_per_second":0,
            "spikes":[],"problems":[]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_both_processes_say_makes_one_judgement() {
        let good = gate();
        let observing = GateStatus { mode: "observe".into(), ..gate() };
        let lost = GateStatus { serving: false, ..gate() };
        let mut down = GateStatus { cut_off: true, ..gate() };
        down.interfaces[0].problem = Some("it is switched off".into());
        let shut = RelayStatus { serving: false, guard: "waiting for the gate".into(), ..relay() };
        let unguarded = RelayStatus { guard: UNGUARDED.into(), ..relay() };
        let troubled = RelayStatus { troubled: vec!["route a: it waits".into()], ..relay() };
        let spool = |free_bytes| {
            let text = format!(
                r#"{{"messages":9,"damaged":0,"held":0,"captured":0,"captured_bytes":0,"body_bytes":0,
                "log_bytes":0,"segments":0,"troubled_segments":0,"free_bytes":{free_bytes},
                "reserve_bytes":100,"commits":0,"flushes":0}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let crammed = |spool| RelayStatus { has_room: false, spool, ..relay() };
        let (low, many, unknown) =
            (crammed(Some(spool(99))), crammed(Some(spool(101))), crammed(None));
        let rows = [
            ("the disk is full", Ok(Some(&good)), Ok(&low), Health::Degraded, "below its reserve"),
            (
                "all places are taken",
                Ok(Some(&good)),
                Ok(&many),
                Health::Degraded,
                "spool.messages",
            ),
            ("nobody knows", Ok(Some(&good)), Ok(&unknown), Health::Degraded, "does not tell"),
            ("all is well", Ok(Some(&good)), Ok(&relay()), Health::Good, ""),
            ("no gate is configured", Ok(None), Ok(&unguarded), Health::Degraded, "UNGUARDED"),
            ("the gate is dead", Err("the gate is dead"), Ok(&relay()), Health::Degraded, "dead"),
            ("the relay is dead", Ok(Some(&good)), Err("no relay"), Health::NotServing, "no relay"),
            ("both are", Err("no gate"), Err("no relay"), Health::NotServing, "no gate"),
            ("it observes", Ok(Some(&observing)), Ok(&relay()), Health::Degraded, "observe"),
            ("it is lost", Ok(Some(&lost)), Ok(&relay()), Health::NotServing, "not accepted"),
            ("it waits", Ok(Some(&good)), Ok(&shut), Health::NotServing, "waiting for the gate"),
            ("a link is down", Ok(Some(&down)), Ok(&relay()), Health::Degraded, "gate on eth0: it"),
            ("a route waits", Ok(Some(&good)), Ok(&troubled), Health::Degraded, "route a"),
        ];
        for (name, gate, relay, health, problem) in rows {
            let judgement = judge(gate, relay);
            assert_eq!(judgement.health, health, "{name}");
            let said = judgement.problems.join("\n");
            assert!(
                said.contains(problem) && said.is_empty() == problem.is_empty(),
                "{name}: {said}"
            );
        }
    }
}
