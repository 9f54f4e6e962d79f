//! Python's `re`, as far as templates use it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use fancy_regex::{Captures, Regex};
use minijinja::Error;

use super::bounds::Grown;
use super::failure::error;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multiline: bool,
    pub(super) dotall: bool,
}

type Known = HashMap<(String, Flags), Arc<Regex>>;

/// Expressions that are kept: one of a machine's own words may be another each time.
const MOST_KNOWN: usize = 1000;

/// Compiles an expression, once.
pub(super) fn compile(pattern: &str, flags: Flags) -> Result<Arc<Regex>, Error> {
    static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);
    let key = (pattern.to_owned(), flags);
    if let Some(found) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(found));
    }
    let mut letters = String::new();
    for (on, letter) in [(flags.ignore_case, 'i'), (flags.multiline, 'm'), (flags.dotall, 's')] {
        if on {
            letters.push(letter);
        }
    }
    let prefix = if letters.is_empty() { String::new() } else { format!("(?{letters})") };
    let translated = format!("{prefix}{}", translate(pattern, flags.multiline));
    let compiled = Regex::new(&translated)
        .map_err(|e| error(format!("the regular expression '{pattern}' is wrong: {e}")))?;
    let compiled = Arc::new(compiled);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(key, Arc::clone(&compiled));
    drop(known);
    Ok(compiled)
}

/// Python's spelling in the crate's: `\Z` is the very end, `$` also stands before a last line end.
fn translate(pattern: &str, multiline: bool) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('Z') if !class => out.push_str(r"\z"),
                Some(next) => {
                    out.push('\\');
                    out.push(next);
                }
                None => out.push('\\'),
            },
            '[' if class => out.push_str(r"\["),
            '[' => {
                class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket that comes first belongs to the set.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str(r"\]");
                }
            }
            ']' => {
                class = false;
                out.push(']');
            }
            // In a set these mean themselves.
            '&' | '~' if class && chars.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            '$' if !class && !multiline => out.push_str(r"(?=\n?\z)"),
            other => out.push(other),
        }
    }
    out
}

/// A replacement text with `\1`, `\g<1>` and `\g<name>` filled in.
pub(super) fn expand(template: &str, captures: &Captures<'_, str>) -> Result<String, Error> {
    let mut out = Grown::new("the replacement");
    let mut chars = template.chars().peekable();
    let group = |number: usize| -> Result<String, Error> {
        if number >= captures.len() {
            return Err(error(format!("invalid group reference {number}")));
        }
        Ok(captures.get(number).map_or("", |m| m.as_str()).to_owned())
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push_char(c);
            continue;
        }
        match chars.next() {
            Some('g') if chars.peek() == Some(&'<') => {
                chars.next();
                let name: String = chars.by_ref().take_while(|c| *c != '>').collect();
                match name.parse::<usize>() {
                    Ok(number) => out.push(&group(number)?),
                    Err(_) => out.push(captures.name(&name).map_or("", |m| m.as_str())),
                }
            }
            Some(d) if d.is_ascii_digit() => {
                let mut digits = d.to_string();
                if let Some(second) = chars.next_if(char::is_ascii_digit) {
                    digits.push(second);
                }
                out.push(&group(digits.parse().unwrap_or(0))?);
            }
            Some('n') => out.push_char('\n'),
            Some('t') => out.push_char('\t'),
            Some('r') => out.push_char('\r'),
            Some('\\') | None => out.push_char('\\'),
            Some(other) => {
                out.push_char('\\');
                out.push_char(other);
            }
        }
    }
    out.finish()
}

/// Replaces the first `count` matches (all where it is 0). As in Python, an empty match may follow a longer one at once.
pub(super) fn replace(regex: &Regex, text: &str, replacement: &str, count: usize) -> Result<String, Error> {
    let mut out = Grown::new("regex_replace");
    let (mut copied, mut from, mut number) = (0, 0, 0);
    while from <= text.len() && (count == 0 || number < count) {
        let found = regex.captures_from_pos(text, from);
        let Some(captures) = found.map_err(|e| error(format!("the regular expression gave up: {e}")))? else {
            break;
        };
        let Some(whole) = captures.get(0) else { break };
        out.push(text.get(copied..whole.start()).unwrap_or_default());
        out.push(&expand(replacement, &captures)?);
        if out.is_full() {
            break;
        }
        copied = whole.end();
        number += 1;
        let step = text.get(whole.end()..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        from = if whole.start() == whole.end() { whole.end() + step } else { whole.end() };
    }
    out.push(text.get(copied..).unwrap_or_default());
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_as_python_does() {
        for (pattern, replacement, text, expected) in [
            ("a(b)c", r"<\1>", "abc abc", "<b> <b>"),
            (r"(?P<x>\d+)", r"[\g<x>]", "a1b22", "a[1]b[22]"),
            ("^a", "", "aab", "ab"),
            ("x$", "y", "x\n", "y\n"),
            (r"[][]", "", "a[b]", "ab"),
            (r"(?<=a)b", "c", "ab", "ac"),
            ("b*", "-", "abc", "-a--c-"),
        ] {
            let regex = compile(pattern, Flags::default()).expect(pattern);
            assert_eq!(replace(&regex, text, replacement, 0).expect(pattern), expected, "{pattern}");
        }
        let (regex, text) = (compile(".", Flags::default()).expect("a dot"), "a".repeat(10_000));
        assert!(replace(&regex, &text, &"b".repeat(20_000), 0).is_err());
        let whole = compile(".+", Flags::default()).expect("all");
        assert!(replace(&whole, &text, &r"\g<0>".repeat(20_000), 0).is_err());
    }
}
