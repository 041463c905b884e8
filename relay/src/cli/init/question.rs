//! Questions: what a flag says is not asked; what is asked on a terminal has a default where there is one, and is
//! asked again until the answer can be used.

use std::io::{self, BufRead, Write};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// Where answers come from that no flag gives.
pub enum Answers<'a> {
    /// From somebody at a terminal.
    Asked {
        /// What is typed.
        input: &'a mut dyn BufRead,
        /// Where the questions stand.
        output: &'a mut dyn Write,
    },
    /// From nobody: the defaults count.
    Defaults,
}

/// A question.
#[derive(Clone)]
pub struct Question<'a> {
    /// The flag that answers it.
    pub flag: &'static str,
    /// The words.
    pub words: &'static str,
    /// What an empty answer means; none: it is asked again.
    pub default: Option<String>,
    /// Says what is wrong with an answer.
    pub check: &'a dyn Fn(&str) -> Result<(), String>,
}

/// A set of questions, and what was answered to nobody's satisfaction.
pub struct Interview<'a> {
    answers: Answers<'a>,
    problems: Vec<String>,
}

impl<'a> Interview<'a> {
    /// Begins.
    #[must_use]
    pub const fn new(answers: Answers<'a>) -> Self {
        Self { answers, problems: Vec::new() }
    }

    /// Tells whether somebody is asked.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self.answers, Answers::Asked { .. })
    }

    /// Returns the answer to a question: what the flag says, if it does.
    ///
    /// # Errors
    ///
    /// If the terminal goes away, or ends its input. What is wrong with flags, or missing, [`Interview::end`]
    /// tells.
    pub fn answer(
        &mut self,
        given: Option<&str>,
        question: &Question<'_>,
    ) -> anyhow::Result<String> {
        if let Some(given) = given {
            if let Err(problem) = (question.check)(given) {
                self.problems.push(format!("{}: {problem}", question.flag));
            }
            return Ok(given.to_owned());
        }
        let Answers::Asked { input, output } = &mut self.answers else {
            return Ok(self.default(question));
        };
        loop {
            let offered = question.default.as_ref().map(|default| format!(" [{default}]"));
            write!(output, "{}{}: ", question.words, offered.unwrap_or_default())?;
            output.flush()?;
            let typed = line(*input)?;
            let typed = match (typed.trim(), &question.default) {
                ("", Some(default)) => default.clone(),
                (typed, _) => typed.to_owned(),
            };
            match (question.check)(&typed) {
                Ok(()) => return Ok(typed),
                Err(problem) => writeln!(output, "  {problem}")?,
            }
        }
    }

    /// Returns the answers to a question that may have several, separated by commas or spaces.
    ///
    /// # Errors
    ///
    /// As [`Interview::answer`].
    pub fn list(
        &mut self,
        given: &[String],
        question: &Question<'_>,
    ) -> anyhow::Result<Vec<String>> {
        self.list_or(given, question, "")
    }

    /// As [`Interview::list`], where one word is an answer of its own that goes with no other.
    ///
    /// # Errors
    ///
    /// As [`Interview::answer`].
    pub fn list_or(
        &mut self,
        given: &[String],
        question: &Question<'_>,
        alone: &str,
    ) -> anyhow::Result<Vec<String>> {
        let given = (!given.is_empty()).then(|| given.join(" "));
        let each = |answer: &str| {
            let all = words(answer);
            if all.is_empty() {
                return (question.check)("");
            }
            if all.len() > 1 && all.iter().any(|one| one == alone) {
                return Err(format!("\"{alone}\" goes with nothing else"));
            }
            all.iter().try_for_each(|one| (question.check)(one))
        };
        let question = Question { check: &each, ..question.clone() };
        Ok(words(&self.answer(given.as_deref(), &question)?))
    }

    /// Asks something that is answered by yes or no; nobody says `otherwise`.
    ///
    /// # Errors
    ///
    /// As [`Interview::answer`].
    pub fn agree(&mut self, what: &str, otherwise: Consent) -> anyhow::Result<Consent> {
        let Answers::Asked { input, output } = &mut self.answers else { return Ok(otherwise) };
        let hint = match otherwise {
            Consent::Yes => "Y/n",
            Consent::No => "y/N",
        };
        loop {
            write!(output, "{what} [{hint}]: ")?;
            output.flush()?;
            match line(*input)?.trim().to_ascii_lowercase().as_str() {
                "" => return Ok(otherwise),
                "y" | "yes" => return Ok(Consent::Yes),
                "n" | "no" => return Ok(Consent::No),
                _ => writeln!(output, "  y or n")?,
            }
        }
    }

    /// Asks for what nobody may read over a shoulder, with `hidden` to ask and to read it; none without a terminal.
    ///
    /// # Errors
    ///
    /// As [`Interview::answer`].
    pub fn secret(
        &mut self,
        words: &str,
        hidden: Hidden,
    ) -> anyhow::Result<Option<Zeroizing<String>>> {
        let Answers::Asked { input, output } = &mut self.answers else { return Ok(None) };
        loop {
            let mut ask = || {
                write!(output, "{words}: ")?;
                output.flush()
            };
            let typed = hidden(*input, &mut ask);
            writeln!(output)?;
            let typed = typed?;
            if !typed.is_empty() {
                return Ok(Some(typed));
            }
        }
    }

    /// Notes something that stands in the way.
    pub fn object(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Tells whether nothing stands in the way so far.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Tells everything that stands in the way.
    ///
    /// # Errors
    ///
    /// With every flag that is missing or wrong, one a line.
    pub fn end(&mut self) -> anyhow::Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        bail!("{}\nnothing was written", self.problems.join("\n"))
    }

    fn default(&mut self, question: &Question<'_>) -> String {
        let Some(default) = &question.default else {
            self.problems.push(format!("{} is needed", question.flag));
            return String::new();
        };
        if let Err(problem) = (question.check)(default) {
            let flag = question.flag;
            self.problems.push(format!("{flag} is needed: \"{default}\" cannot be it: {problem}"));
        }
        default.clone()
    }
}

/// Hides what is typed, then calls its second argument to ask, then reads a line.
pub type Hidden =
    fn(&mut dyn BufRead, &mut dyn FnMut() -> io::Result<()>) -> anyhow::Result<Zeroizing<String>>;

/// Whether something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It is.
    Yes,
    /// It is not.
    No,
}

fn words(answer: &str) -> Vec<String> {
    let separators = |c: char| c == ',' || c.is_whitespace();
    answer.split(separators).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Reads a line; the end of the input is an end of the interview.
fn line(input: &mut dyn BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if input.read_line(&mut line).context("the terminal")? == 0 {
        bail!("the input ended: nothing was written");
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question<'a>(
        default: Option<&str>,
        check: &'a dyn Fn(&str) -> Result<(), String>,
    ) -> Question<'a> {
        Question { flag: "--colour", words: "Colour", default: default.map(str::to_owned), check }
    }

    fn colour(answer: &str) -> Result<(), String> {
        let is_one = ["red", "blue"].contains(&answer);
        is_one.then_some(()).ok_or_else(|| format!("\"{answer}\" is no colour"))
    }

    /// Types `typed` and returns what `ask` returns, and what stood on the terminal.
    fn typing<T>(typed: &str, ask: impl FnOnce(&mut Interview<'_>) -> T) -> (T, String) {
        let (mut input, mut output) = (typed.as_bytes(), Vec::new());
        let answers = Answers::Asked { input: &mut input, output: &mut output };
        let answered = ask(&mut Interview::new(answers));
        (answered, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_wrong_answer_is_asked_again_and_an_empty_one_is_the_default() {
        let asked = question(Some("red"), &colour);
        let (answer, shown) = typing("green\n blue \n", |i| i.answer(None, &asked));
        assert_eq!(answer.unwrap(), "blue");
        assert_eq!(shown, "Colour [red]:   \"green\" is no colour\nColour [red]: ");
        assert_eq!(typing("\n", |i| i.answer(None, &asked)).0.unwrap(), "red");
        let bare = question(None, &colour);
        assert_eq!(typing("\nred\n", |i| i.answer(None, &bare)).0.unwrap(), "red");
        let (ended, _) = typing("green\n", |i| i.answer(None, &asked));
        assert!(ended.unwrap_err().to_string().contains("nothing was written"));
    }

    #[test]
    fn a_list_is_separated_by_commas_or_spaces_and_each_is_checked() {
        let asked = question(None, &colour);
        let (answer, shown) = typing("red, green\nred,blue  red\n", |i| i.list(&[], &asked));
        assert_eq!(answer.unwrap(), ["red", "blue", "red"]);
        assert!(shown.contains("\"green\" is no colour"), "{shown}");
    }

    #[test]
    fn a_word_that_stands_alone_is_refused_beside_others() {
        let asked = question(None, &colour);
        let (answer, shown) = typing("red blue\nred\n", |i| i.list_or(&[], &asked, "red"));
        assert_eq!(answer.unwrap(), ["red"]);
        assert!(shown.contains("\"red\" goes with nothing else"), "{shown}");
        let mut interview = Interview::new(Answers::Defaults);
        interview.list_or(&["red".into(), "blue".into()], &asked, "red").unwrap();
        assert!(interview.end().unwrap_err().to_string().contains("goes with nothing else"));
    }

    #[test]
    fn yes_and_no_have_a_default_too() {
        for (typed, otherwise, wanted) in [
            ("\n", Consent::Yes, Consent::Yes),
            ("\n", Consent::No, Consent::No),
            ("what\nYES\n", Consent::No, Consent::Yes),
            ("n\n", Consent::Yes, Consent::No),
        ] {
            assert_eq!(typing(typed, |i| i.agree("Now?", otherwise)).0.unwrap(), wanted, "{typed}");
        }
    }

    #[test]
    fn without_a_terminal_flags_and_defaults_count_and_all_that_is_missing_is_named() {
        let mut interview = Interview::new(Answers::Defaults);
        let asked = question(Some("red"), &colour);
        assert_eq!(interview.answer(Some("blue"), &asked).unwrap(), "blue");
        assert_eq!(interview.answer(None, &asked).unwrap(), "red");
        assert!(interview.end().is_ok());
        interview.answer(Some("green"), &asked).unwrap();
        interview.answer(None, &question(None, &colour)).unwrap();
        interview.answer(None, &question(Some("grey"), &colour)).unwrap();
        let said = interview.end().unwrap_err().to_string();
        let wanted = "--colour: \"green\" is no colour\n--colour is needed\n--colour is needed: \"grey\" cannot be it: \
                      \"grey\" is no colour\nnothing was written";
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_secret_is_read_by_whoever_hides_it() {
        let hidden: Hidden = |input, ask| {
            ask()?;
            Ok(Zeroizing::new(line(input)?.trim().to_owned()))
        };
        let (secret, shown) = typing("\nx y\n", |i| i.secret("Password", hidden));
        assert_eq!(secret.unwrap().unwrap().as_str(), "x y");
        assert_eq!(shown, "Password: \nPassword: \n");
    }
}
