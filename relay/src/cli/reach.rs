//! What verbs need that only speak to running processes. A mistake in the configuration must not keep an operator from
//! these: they then go by what can be read of the file, and say so.

use std::path::Path;

use anyhow::Context as _;

use crate::config::{self, Config, Problem, Reach};

/// The problems that are named; `sallyport config check` names all.
const NAMED_MAX: usize = 3;

/// How running processes are found, and the whole configuration if the file is good.
#[derive(Debug)]
pub struct Found {
    /// The sockets and what goes with them.
    pub reach: Reach,
    /// The configuration; none: the file has problems.
    pub config: Option<Config>,
}

/// Reads a configuration file; of one that has problems what running processes are found by, with a warning on standard
/// error. One that cannot be read at all has its defaults, if nobody named it.
///
/// # Errors
///
/// If a file that was named by `--config` cannot be read.
pub fn reach(file: &Path) -> anyhow::Result<Found> {
    let (found, warning) = read(file)?;
    if let Some(warning) = warning {
        eprintln!("{warning}");
    }
    Ok(found)
}

fn read(file: &Path) -> anyhow::Result<(Found, Option<String>)> {
    let name = file.display();
    let (text, problems) = match std::fs::read_to_string(file) {
        Ok(text) => match Config::parse(&text) {
            Ok(config) => {
                let reach = Reach::from(&config);
                return Ok((Found { reach, config: Some(config) }, None));
            }
            Err(problems) => (text, named(file, &problems)),
        },
        Err(error) if file == Path::new(config::DEFAULT_PATH) => {
            (String::new(), vec![format!("{name}: cannot be read: {error}")])
        }
        Err(error) => {
            let problem = format!("{name}: cannot be read (name another with --config)");
            return Err(error).context(problem);
        }
    };
    let reach = Reach::salvaged(&text);
    let warning = warning(&problems, &reach);
    Ok((Found { reach, config: None }, Some(warning)))
}

fn named(file: &Path, problems: &[Problem]) -> Vec<String> {
    let name = file.display();
    let first = problems.iter().take(NAMED_MAX);
    let mut lines: Vec<String> = first.map(|problem| format!("{name}: {problem}")).collect();
    if problems.len() > NAMED_MAX {
        let more = problems.len() - NAMED_MAX;
        lines.push(format!("{name}: and {more} more: sallyport config check {name}"));
    }
    lines
}

/// Says what is wrong with the file, what that means, and what is gone by.
fn warning(problems: &[String], reach: &Reach) -> String {
    let (gate, relay) = (reach.gate.socket.display(), reach.relay.socket.display());
    let mut lines: Vec<_> =
        problems.iter().map(|problem| format!("sallyport: WARNING: {problem}")).collect();
    lines.push(format!(
        "sallyport: WARNING: going on with the sockets {gate} and {relay}, as the file or its defaults have them; with \
         this file no process starts, and none reloads it"
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
                        [gate]\ninterfaces = [\"eth0\"]\nsocket = \"/x/gate.sock\"\n\
                        [relay]\nsocket = \"/x/relay.sock\"\n[[listener]]\naddress = \"[::]:2525\"\n";

    #[test]
    fn a_fault_of_the_file_leaves_the_sockets_that_it_names_and_the_warning_names_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ours, usual) = ("/x/gate.sock", "/run/sallyport/gate.sock");
        let address = "address = \"[::]:2525\"\n";
        for (row, from, to, gate, line) in [
            (
                "a wrong value elsewhere",
                address,
                "address = \"nowhere\"\n",
                ours,
                "line 9, column 11",
            ),
            (
                "a key that nobody knows",
                "[relay]",
                "strikt = true\n[relay]",
                ours,
                "line 6, column 1",
            ),
            (
                "what is required is missing",
                "hostname =",
                "# hostname =",
                ours,
                "hostname: this key",
            ),
            ("a line that is no TOML", address, "address = [::]:2525\n", ours, "line 9, column"),
            ("a string without an end", "\"/x/relay.sock\"", "\"/x/relay.sock", ours, "line 7"),
            ("a wrong path of the socket", "\"/x/gate.sock\"", "\"gate.sock\"", usual, "line 5"),
            ("no path of the socket", "\"/x/gate.sock\"", "7", usual, "line 5, column 10"),
        ] {
            std::fs::write(&file, GOOD.replace(from, to)).unwrap();
            let (found, warning) = read(file.path()).unwrap();
            let warning = warning.unwrap_or_default();
            assert_eq!(found.reach.gate.socket, Path::new(gate), "{row}: {warning}");
            assert!(found.config.is_none(), "{row}");
            assert!(found.reach.gate.required, "{row}: a gate that is missing would not be missed");
            let file = file.path().display().to_string();
            assert!(warning.contains(&file) && warning.contains(line), "{row}: {warning}");
            assert!(warning.contains(gate), "{row}: {warning}");
        }
        std::fs::write(&file, GOOD).unwrap();
        let (found, warning) = read(file.path()).unwrap();
        assert_eq!(warning, None);
        assert_eq!(found.reach.relay.socket, Path::new("/x/relay.sock"));
        assert_eq!(found.reach, Reach::from(&found.config.unwrap()));
    }

    #[test]
    fn a_host_without_a_gate_has_none_either_when_the_fault_is_elsewhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let without = GOOD.replace("interfaces = [\"eth0\"]", "required = false");
        for (row, text, is_required) in [
            ("elsewhere", without.replace("[::]:2525", "x"), false),
            ("in the section of the gate", without.replace("[relay]", "strikt = 1\n[relay]"), true),
            ("in the language", format!("{without}[["), true),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(file.path()).unwrap().0.reach.gate.required, is_required, "{row}");
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = reach(Path::new("/nowhere/sallyport.toml")).unwrap_err();
        assert!(
            error.to_string().starts_with("/nowhere/sallyport.toml: cannot be read"),
            "{error}"
        );
    }
}
