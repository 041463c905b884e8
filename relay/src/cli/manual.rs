//! `sallyport man` and `sallyport completions`: the manual pages and what shells complete, both made from the
//! definitions of the arguments. They are made and not kept, so that they never differ from the program.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Arguments;

/// Every key of the configuration with its reason: the page of section 5.
const CONFIGURATION: &str = include_str!("../../../config/sallyport.toml");
/// What the pages of section 1 say of exit codes 0, 1 and 2.
const EXIT_CODES: [&str; 3] =
    ["Done.", "Refused or failed; standard error says why and what to do.", "Wrong usage."];
/// What those of single verbs say.
const OTHER_EXIT_CODES: [(&str, [&str; 3]); 2] = [
    (
        "sallyport-status",
        [
            "With --check: all is well. Else done.",
            "With --check: degraded.",
            "With --check: not serving. Else wrong usage.",
        ],
    ),
    (
        "sallyport-doctor",
        ["It found no fault.", "It found faults; standard output names them.", "Wrong usage."],
    ),
];

/// The files that an operator looks for, unless the configuration names others.
const FILES: [(&str, &str); 5] = [
    ("/etc/sallyport/sallyport.toml", "The configuration."),
    ("/etc/sallyport/users.toml", "Logins and stored keys."),
    ("/var/lib/sallyport/", "Run-time lists and bans, messages, their history."),
    ("/run/sallyport/gate.sock, /run/sallyport/relay.sock", "Where verbs ask both processes."),
    ("/sys/fs/bpf/sallyport/", "The program and its tables, in the kernel."),
];

/// Prints what a shell completes.
pub fn completions(shell: Shell) {
    // A reader that went away is not an error, and the generator would panic.
    let _ = io::stdout().lock().write_all(&script(shell));
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sallyport", &mut script);
    script
}

/// A manual page.
struct Page {
    /// Its name, without the section.
    name: String,
    section: u8,
    text: Vec<u8>,
}

/// Writes every page below `folder`, into `man1` and `man5`.
///
/// # Errors
///
/// If a folder or a page cannot be written.
pub fn manual(folder: &Path) -> io::Result<()> {
    for Page { name, section, text } in pages()? {
        let folder = folder.join(format!("man{section}"));
        let told = |error: io::Error, path: &Path| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(&folder).map_err(|error| told(error, &folder))?;
        let path = folder.join(format!("{name}.{section}"));
        fs::write(&path, text).map_err(|error| told(error, &path))?;
    }
    Ok(())
}

fn pages() -> io::Result<Vec<Page>> {
    let mut whole = Arguments::command();
    // Gives every verb the arguments that all have, and its full name.
    whole.build();
    let mut pages = Vec::new();
    visit(&whole, "", &mut pages)?;
    pages.push(configuration());
    Ok(pages)
}

/// Adds the page of a command and of every verb below it.
fn visit(command: &Command, above: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = match above {
        "" => command.get_name().to_owned(),
        above => format!("{above}-{}", command.get_name()),
    };
    pages.push(Page { text: page(command, &name, above)?, name: name.clone(), section: 1 });
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        visit(verb, &name, pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, above: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut text = head(name, 1).into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        let mut options = Vec::new();
        man.render_options_section(&mut options)?;
        // Three kinds of space at once, where one is meant.
        let options = String::from_utf8_lossy(&options).replace(".br\n\n.br\n", ".sp\n");
        text.extend(options.into_bytes());
    }
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let (_, lines) = examples.split_once('\n').unwrap_or(("", &examples));
        let lines = lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        literal(&mut text, "EXAMPLES", lines);
    }
    section(&mut text, "EXIT STATUS");
    let others = OTHER_EXIT_CODES.iter().find(|(verb, _)| *verb == name);
    for (code, meaning) in others.map_or(EXIT_CODES, |(_, codes)| *codes).iter().enumerate() {
        text.extend(format!(".TP\n{code}\n{}\n", escaped(meaning)).into_bytes());
    }
    if above.is_empty() {
        section(&mut text, "FILES");
        for (path, what) in FILES {
            text.extend(format!(".TP\n{}\n{}\n", escaped(path), escaped(what)).into_bytes());
        }
    }
    section(&mut text, "SEE ALSO");
    let others = match above {
        "" => vec![("sallyport.toml", 5)],
        "sallyport" => vec![("sallyport", 1), ("sallyport.toml", 5)],
        above => vec![(above, 1), ("sallyport", 1), ("sallyport.toml", 5)],
    };
    let others =
        others.iter().map(|(name, section)| format!("\\fB{}\\fR({section})", escaped(name)));
    text.extend(others.collect::<Vec<_>>().join(",\n").into_bytes());
    text.push(b'\n');
    Ok(text)
}

/// Returns the page about the configuration: the file that shows every key.
fn configuration() -> Page {
    let mut text = head("sallyport.toml", 5).into_bytes();
    section(&mut text, "NAME");
    text.extend_from_slice(b"sallyport.toml \\- the configuration of Sallyport\n");
    section(&mut text, "DESCRIPTION");
    let words = "Gate and relay read one file, /etc/sallyport/sallyport.toml unless \\-\\-config names \
                 another. The command\n.B sallyport config check\nnames every problem of a file, with line \
                 and column.\nWhat follows is such a file: every key, with its default or an example, its \
                 unit and its reason.\n";
    text.extend_from_slice(words.as_bytes());
    literal(&mut text, "KEYS", CONFIGURATION.lines());
    section(&mut text, "SEE ALSO");
    text.extend_from_slice(b"\\fBsallyport\\fR(1)\n");
    Page { name: "sallyport.toml".to_owned(), section: 5, text }
}

/// Returns the first line of a page. It has no date, so that the same program makes the same page.
fn head(name: &str, section: u8) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{name}\" {section} \"\" \"sallyport {version}\" Sallyport\n")
}

fn section(text: &mut Vec<u8>, head: &str) {
    text.extend(format!(".SH \"{head}\"\n").into_bytes());
}

/// Adds lines that stand as they are.
fn literal<'a>(text: &mut Vec<u8>, head: &str, lines: impl Iterator<Item = &'a str>) {
    section(text, head);
    text.extend_from_slice(b".nf\n");
    for line in lines {
        text.extend(escaped(line).into_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(b".fi\n");
}

/// Writes a line so that roff shows it as it is: no escape, no command, and hyphens that can be copied.
fn escaped(line: &str) -> String {
    let mut shown = line.replace('\\', "\\e").replace('-', "\\-").replace('…', "...");
    shown = shown.replace('\'', "\\(aq").replace('`', "\\(ga");
    if shown.starts_with('.') {
        shown.insert_str(0, "\\&");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(page: &Page) -> &str {
        str::from_utf8(&page.text).unwrap()
    }

    #[test]
    fn every_verb_for_people_has_its_page_and_each_says_what_a_reader_looks_for() {
        fn names(command: &Command, above: &str, found: &mut Vec<String>) {
            let name = format!("{above}{}", command.get_name());
            let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
            shown.for_each(|verb| names(verb, &format!("{name}-"), found));
            found.push(name);
        }
        let mut expected = vec!["sallyport.toml".to_owned()];
        names(&Arguments::command(), "", &mut expected);
        expected.sort();
        let pages = pages().unwrap();
        let mut found: Vec<_> = pages.iter().map(|page| page.name.clone()).collect();
        found.sort();
        assert_eq!(found, expected);
        for page in pages.iter().filter(|page| page.section == 1) {
            let text = text_of(page);
            for head in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
                let stands = text.contains(&format!(".SH {head}\n"))
                    || text.contains(&format!(".SH \"{head}\"\n"));
                assert!(stands, "{} has no {head}", page.name);
            }
            let is_leaf = !text.contains(".SH SUBCOMMANDS");
            assert!(!is_leaf || text.contains(".SH \"EXAMPLES\"\n.nf\n"), "{}", page.name);
        }
    }

    #[test]
    fn the_page_of_the_configuration_holds_every_line_of_it() {
        let page = configuration();
        let text = text_of(&page);
        for line in CONFIGURATION.lines() {
            assert!(text.contains(&escaped(line)), "{line}");
        }
    }

    #[test]
    fn no_line_is_taken_for_a_command() {
        for (line, shown) in [
            (".hidden", "\\&.hidden"),
            ("'quoted' and `code`", "\\(aqquoted\\(aq and \\(gacode\\(ga"),
            ("a\\nb --x", "a\\enb \\-\\-x"),
        ] {
            assert_eq!(escaped(line), shown);
        }
    }

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            for verb in Arguments::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }
}
