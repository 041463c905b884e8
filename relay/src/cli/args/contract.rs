//! The verbs that other programs and checks call by these names, as the design of the product lists them.

use clap::{CommandFactory as _, Parser as _};

use super::Arguments;

/// Verbs and flags that must stay.
const LINES: &str = "\
    run --config F
    gate --config F
    relay --config F
    config check F
    config show --config F
    allow add 192.0.2.0/24 2001:db8::/32 --tag T --ttl 8h --note N
    allow remove 192.0.2.0/24
    allow apply F --dry-run --confirm-within 60s
    ban add 192.0.2.7 --ttl 1h --note N
    ban remove 192.0.2.0/24
    explain 192.0.2.7 --port 2525
    status --check
    queue show 06G3T7K9Q2M4X
    queue retry 06G3T7K9Q2M4X
    queue hold --sender a --older 2h
    queue release --recipient b
    queue drop --domain example.com
    user add app
    user remove app
    user passwd app
    alert test
    alert silence route-suspended --for 1h
    alert replay F
    init
    tls init
    trace 06G3T7K9Q2M4X
    route suspend R
    route resume R
    spool check
    spool compact
    mode enforce
    mode observe --for 1h
    detach
    reload
    audit --since 7d
    doctor
    demo";

/// Verbs that list something.
const LISTINGS: &str = "\
    config show
    allow list
    ban list
    explain 192.0.2.7
    status
    queue list
    queue show 06G3T7K9Q2M4X
    user list
    alert list
    alert test
    alert replay F
    trace 06G3T7K9Q2M4X
    route list
    spool check
    spool compact
    audit
    doctor";

fn read(line: &str) {
    let words = ["sallyport"].into_iter().chain(line.split_whitespace());
    if let Err(error) = Arguments::try_parse_from(words) {
        panic!("{line}: {error}");
    }
}

#[test]
fn every_verb_that_other_programs_call_is_there() {
    LINES.lines().for_each(read);
    #[cfg(feature = "xdp")]
    read("selftest");
    #[cfg(feature = "tui")]
    read("top");
}

#[test]
fn every_verb_that_lists_something_prints_json() {
    LISTINGS.lines().for_each(|line| read(&format!("{line} --json")));
}

/// Tells whether a shell would put names of files in the place of something in a command.
fn is_expanded(command: &str) -> bool {
    let is_bare = |(place, part): (usize, &str)| place % 2 == 0 && part.contains(['*', '?']);
    let command = command.split(" #").next().unwrap_or_default();
    command.replace('"', "'").split('\'').enumerate().any(is_bare)
}

#[test]
fn no_command_that_is_to_be_copied_holds_a_star_that_a_shell_expands() {
    fn visit(command: &clap::Command, lines: &mut Vec<String>) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        lines.extend(text.lines().map(str::to_owned));
        command.get_subcommands().for_each(|inner| visit(inner, lines));
    }
    let mut lines = Vec::new();
    visit(&Arguments::command(), &mut lines);
    for text in [
        include_str!("../../../../README.md"),
        include_str!("../../../../config/docs/alerts.md"),
        include_str!("../../../../config/docs/operating.md"),
    ] {
        lines.extend(text.lines().map(str::to_owned));
    }
    let is_command = |line: &&String| {
        let line = line.trim_start();
        line.starts_with("sallyport ") || line.starts_with("sudo sallyport ")
    };
    let commands: Vec<_> = lines.iter().filter(is_command).collect();
    assert!(commands.len() > 100, "{}", commands.len());
    let expanded: Vec<_> = commands.iter().filter(|command| is_expanded(command)).collect();
    assert!(expanded.is_empty(), "{expanded:?}");
    assert!(is_expanded("sallyport alert silence --remove host-down/*"));
}
