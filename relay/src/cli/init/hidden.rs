//! A line that the terminal does not show.

use std::io::{self, BufRead};

use anyhow::{Context as _, bail};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// The longest line, octets.
const LINE_MAX: usize = 1024;

/// The terminal as it was; it is put back when this is dropped.
struct Shown(Termios);

impl Drop for Shown {
    fn drop(&mut self) {
        // Where it fails the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Reads a line from the terminal behind standard input, which `input` buffers, without showing it. `ask` is called
/// when nothing is shown any more: who reads the question may type at once.
///
/// # Errors
///
/// If standard input is no terminal, or the line is left by Ctrl-C or Ctrl-D.
pub(super) fn line(
    input: &mut dyn BufRead,
    ask: &mut dyn FnMut() -> io::Result<()>,
) -> anyhow::Result<Zeroizing<String>> {
    let shown = Shown(tcgetattr(io::stdin()).context("the terminal")?);
    let mut hidden = shown.0.clone();
    // Ctrl-C comes as an octet: a signal would end the program before the terminal shows letters again.
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(io::stdin(), OptionalActions::Now, &hidden).context("the terminal")?;
    ask().context("the terminal")?;
    typed(input)
}

fn typed(input: &mut dyn BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    loop {
        let octet = input.fill_buf().context("the terminal")?.first().copied();
        input.consume(usize::from(octet.is_some()));
        match octet {
            None | Some(0x03 | 0x04) => bail!("the input ended: nothing was written"),
            Some(b'\r' | b'\n') => break,
            // Backspace, of either kind; Ctrl-U.
            // A letter may have several octets, of which only the first says so (RFC 3629).
            Some(0x08 | 0x7f) => while line.pop().is_some_and(|octet| octet & 0xc0 == 0x80) {},
            Some(0x15) => line.clear(),
            Some(octet) if line.len() < LINE_MAX => line.push(octet),
            Some(_) => bail!("a line has at most {LINE_MAX} octets: nothing was written"),
        }
    }
    let text =
        std::str::from_utf8(&line).context("what was typed is no UTF-8: nothing was written")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_mended_while_it_is_typed() {
        for (keys, wanted) in [
            ("secret\r", Some("secret")),
            ("secrex\u{7f}t\n", Some("secret")),
            ("\u{8}a\u{8}\u{8}b\n", Some("b")),
            ("a\u{fc}\u{20ac}\u{8}\u{8}b\n", Some("ab")),
            ("wrong\u{15}right\n", Some("right")),
            ("\n", Some("")),
            ("half\u{3}", None),
            ("half\u{4}", None),
            ("half", None),
        ] {
            let line = typed(&mut keys.as_bytes()).ok();
            assert_eq!(line.as_deref().map(String::as_str), wanted, "{keys:?}");
        }
        assert!(typed(&mut "x".repeat(LINE_MAX + 1).as_bytes()).is_err());
    }
}
