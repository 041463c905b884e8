//! The manual pages and completions that the product makes of its own arguments, read by the programs of others
//! that they are for.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::need;
use tests::world::program;

/// Has the product write its pages; returns them.
fn pages(folder: &TempDir) -> Result<Vec<PathBuf>> {
    let mut command = Command::new(program()?);
    let made = command.arg("man").arg(folder.path()).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut pages = Vec::new();
    for section in ["man1", "man5"] {
        for page in fs::read_dir(folder.path().join(section))? {
            pages.push(page?.path());
        }
    }
    ensure!(pages.len() > 30, "only {} pages", pages.len());
    Ok(pages)
}

#[test]
fn mandoc_finds_nothing_wrong_with_any_page() -> Result<()> {
    let Some(mandoc) = need::tool("mandoc") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let pages = pages(&folder)?;
    // Its "style" and "base" advice is about other dialects; a page has no date, so that builds are the same.
    let output =
        Command::new(mandoc).args(["-T", "lint", "-W", "warning"]).args(&pages).output()?;
    let found = String::from_utf8_lossy(&output.stdout);
    let found: Vec<&str> = found.lines().filter(|line| !line.contains("missing date")).collect();
    ensure!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
    Ok(())
}

#[test]
fn a_page_reads_as_it_was_meant() -> Result<()> {
    let Some(mandoc) = need::tool("mandoc") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    pages(&folder)?;
    let read = |page: &str| -> Result<String> {
        let mut command = Command::new(&mandoc);
        let shown = command.args(["-T", "ascii"]).arg(folder.path().join(page)).output()?;
        // Bold is a letter, a step back and the letter again.
        let mut text = String::new();
        for letter in String::from_utf8(shown.stdout)?.chars() {
            match letter {
                '\u{8}' => _ = text.pop(),
                letter => text.push(letter),
            }
        }
        Ok(text)
    };
    let page = read("man1/sallyport-allow-add.1")?;
    for wanted in [
        "sallyport allow add",
        "--ttl",
        "\n       sallyport allow add 192.0.2.0/24 2001:db8:5::/48 --tag billing --ttl 8h --note",
        "EXIT STATUS",
        "sallyport-allow(1)",
    ] {
        ensure!(page.contains(wanted), "{wanted:?} is not in:\n{page}");
    }
    let page = read("man5/sallyport.toml.5")?;
    ensure!(page.contains("hostname = \"relay.example.net\""), "{page}");
    Ok(())
}

#[test]
fn every_shell_can_read_its_completions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (shell, look) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let Some(tool) = need::tool(shell) else { continue };
        let script = Command::new(program()?).args(["completions", shell]).output()?;
        ensure!(script.status.success() && !script.stdout.is_empty(), "{shell}");
        let file = folder.path().join(shell);
        fs::write(&file, &script.stdout)?;
        let read = Command::new(tool).arg(look).arg(&file).output()?;
        let said = String::from_utf8_lossy(&read.stderr);
        ensure!(read.status.success() && said.is_empty(), "{shell}: {said}");
    }
    Ok(())
}

#[test]
fn bash_completes_a_verb_of_a_verb() -> Result<()> {
    let Some(bash) = need::tool("bash") else { return Ok(()) };
    let script = Command::new(program()?).args(["completions", "bash"]).output()?;
    let script = String::from_utf8(script.stdout)?;
    let asked = "COMP_WORDS=(sallyport queue re); COMP_CWORD=2; _sallyport sallyport re queue; \
                 echo \"${COMPREPLY[*]}\"";
    let said = Command::new(bash).args(["--norc", "-c", &format!("{script}\n{asked}")]).output()?;
    let said = String::from_utf8(said.stdout).context("what bash completes")?;
    assert_eq!(said.trim(), "retry release");
    Ok(())
}
