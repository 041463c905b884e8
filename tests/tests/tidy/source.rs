//! Reads Rust only as far as the rules need: which text is code, and which words it has.

/// Returns `text` with comments, strings and character literals blanked out, line for line.
pub fn code(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !after_word => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let step = match rest {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a literal such as `r#"…"#`, `b"…"` or `br"…"`, or 0 if there is none.
fn prefixed_string(text: &str) -> usize {
    let letters = text.bytes().take_while(|byte| b"rbc".contains(byte)).count();
    let hashes = text[letters..].bytes().take_while(|byte| *byte == b'#').count();
    let open = letters + hashes;
    if letters > 2 || !text[open..].starts_with('"') {
        return 0;
    }
    if !text[..letters].contains('r') {
        return if hashes == 0 { open + string(&text[open..]) } else { 0 };
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len())
}

/// The length of a character literal, or 0 if this is a lifetime.
fn character(text: &str) -> usize {
    let inside = &text[1..];
    if inside.starts_with('\\') {
        // The character after the backslash may itself be a quote.
        let skip = 2;
        return inside.get(skip..).and_then(|rest| rest.find('\'')).map_or(0, |at| at + skip + 2);
    }
    let Some(one) = inside.chars().next() else { return 0 };
    if inside[one.len_utf8()..].starts_with('\'') { one.len_utf8() + 2 } else { 0 }
}

/// Returns what stands before the first test module: tests may read a clock.
pub fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]").map_or(code, |at| &code[..at])
}

/// Tells whether `text` has `word` with no letter, digit or underscore beside it.
pub fn has_word(text: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_letter) && !text[at + word.len()..].starts_with(is_letter)
    })
}

/// Returns the first names of all paths that begin with `crate::`, those in braces too.
pub fn crate_names(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(members(group)),
            None => names.extend(name(rest)),
        }
    }
    names
}

/// Returns the names that the members of a brace group begin with.
fn members(group: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' | b'}' if depth == 0 => {
                names.extend(name(group[start..at].trim_start()));
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// Returns the length of the longest chain of `super::`, up to 7.
pub fn supers(code: &str) -> usize {
    (1..8).take_while(|length| code.contains(&"super::".repeat(*length))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a /* b /* c */ d */ e // f\ng \"h\\\"i\" r#\"j\"k\"# '\\'' 'l' b'm' &'n o";
        let words: Vec<_> = code(text).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a", "e", "g", "b", "&'n", "o"]);
        assert_eq!(code(text).lines().count(), 2);
    }

    #[test]
    fn a_word_ends_where_its_letters_end() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }

    #[test]
    fn paths_are_found_in_braces_too() {
        let code = "use crate::{mail::{A, B}, smtp, event::Event}; crate::gate::up(); $crate::x";
        assert_eq!(crate_names(code), ["mail", "smtp", "event", "gate"]);
    }
}
