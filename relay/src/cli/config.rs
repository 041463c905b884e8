//! `sallyport config check|show`.

use std::path::Path;

use anyhow::bail;

use super::print::{self, Output};
use crate::appliance::load::{load, shown};
use crate::doctor::files;
use crate::net::signing::Keys;

/// `sallyport config check [FILE]`: names every problem of a file, and the files that the relay reads. If none is
/// `named` it is that of `--config`.
///
/// # Errors
///
/// As [`load`], or with every key for DKIM that cannot be used.
pub fn check(named: Option<&Path>, by_flag: &Path) -> anyhow::Result<()> {
    let file = named.unwrap_or(by_flag);
    let config = load(file)?;
    let keys = Keys::load(&config);
    let problems: Vec<&str> = keys.problems().collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    print::say(format!("{}: good", file.display()));
    for caution in config.cautions() {
        print::say(format!("note: {caution}"));
    }
    for line in files::lines(&config) {
        print::say(line);
    }
    Ok(())
}

/// `sallyport config show`: prints every key of a file with what it comes to, and where that is from.
///
/// # Errors
///
/// As [`load`].
pub fn show(file: &Path, output: Output) -> anyhow::Result<()> {
    let shown = shown(file)?;
    match output {
        Output::Json => print::json(&shown.json()),
        Output::Text => {
            let name = file.display();
            print::say(format!(
                "# {name}: every key, and the line where it stands, or that it is the default"
            ));
            print::say(shown.toml().trim_end());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_names_every_signing_key_that_cannot_be_used() {
        let text = "hostname = \"relay.example.net\"\npostmaster = \"ops@example.net\"\n\
            [gate]\ninterfaces = [\"eth0\"]\n[[listener]]\naddress = \"[::]:2525\"\n";
        let key = |domain: &str| {
            format!(
                "[[dkim]]\ndomain = \"{domain}\"\nselector = \"s\"\nkey-file = \"/nowhere/{domain}\"\n"
            )
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        check(None, file.path()).unwrap();
        check(Some(file.path()), Path::new("/nowhere")).unwrap();
        check(Some(Path::new("/nowhere")), file.path()).unwrap_err();
        std::fs::write(&file, format!("{text}{}{}", key("a.example"), key("b.example"))).unwrap();
        let problems = check(None, file.path()).unwrap_err().to_string();
        for domain in ["a.example", "b.example"] {
            let named = format!("the DKIM key of {domain}, /nowhere/{domain}: ");
            assert!(problems.lines().any(|line| line.starts_with(&named)), "{problems}");
        }
    }
}
