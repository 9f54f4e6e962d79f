//! The tokens of a Jinja expression, as far as rewriting it needs them.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Text,
    /// An operator or a bracket.
    Sign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// The space before it, with its line ends.
    pub(super) space: &'a str,
    pub(super) offset: usize,
}

const LONG_SIGNS: [&str; 7] = ["**", "//", "==", "!=", "<=", ">=", "->"];

/// Cuts an expression into tokens. Text that is not one ends up as one-character signs, which the engine then rejects.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found: Vec<Token<'_>> = Vec::new();
    let mut at = 0;
    loop {
        let rest = source.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        let space = rest.get(..rest.len() - trimmed.len()).unwrap_or_default();
        at += space.len();
        let Some(first) = trimmed.chars().next() else { break };
        let (kind, length) = token(trimmed, first, &found);
        let text = trimmed.get(..length).unwrap_or(trimmed);
        // Jinja's whole numbers have no leading zeros: `010` is two of them, which nothing may stand between.
        let split = kind == Kind::Number && space.is_empty() && found.last().is_some_and(|t| t.kind == kind);
        found.push(Token { kind, text, space: if split { " " } else { space }, offset: at });
        at += text.len();
    }
    found
}

fn token(rest: &str, first: char, before: &[Token<'_>]) -> (Kind, usize) {
    match first {
        '\'' | '"' => (Kind::Text, text_length(rest, first)),
        c if c.is_alphabetic() || c == '_' => (Kind::Name, run(rest, |c| c.is_alphanumeric() || c == '_')),
        c if c.is_ascii_digit() => {
            // After a dot it is an index (`a.0.1`), so that it takes no fraction.
            let index = before.last().is_some_and(|t| t.text == ".");
            (Kind::Number, if index { run(rest, |c| c.is_ascii_digit()) } else { number_length(rest) })
        }
        c => {
            let long = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign));
            (Kind::Sign, long.map_or(c.len_utf8(), |sign| sign.len()))
        }
    }
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a quoted text with its quotes; the whole rest where it is not closed.
pub(super) fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

fn number_length(rest: &str) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let whole = run(rest, word);
    let fraction = rest.get(whole..).and_then(|r| r.strip_prefix('.'));
    let mut length = match fraction {
        Some(f) if f.starts_with(|c: char| c.is_ascii_digit()) => whole + 1 + run(f, word),
        _ => whole,
    };
    // An exponent's sign: `1e-5`.
    let hex = rest.starts_with("0x") || rest.starts_with("0X");
    let text = rest.get(..length).unwrap_or_default();
    let tail = rest.get(length..).unwrap_or_default();
    if !hex && (text.ends_with('e') || text.ends_with('E')) && tail.starts_with(['+', '-']) {
        length += 1 + run(tail.get(1..).unwrap_or_default(), |c| c.is_ascii_digit());
    }
    let text = rest.get(..length).unwrap_or_default();
    let zeros = run(text, |c| c == '0');
    if zeros > 0 && zeros < length && text.bytes().all(|b| b.is_ascii_digit()) { zeros } else { length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_where_jinja_does() {
        for (source, expected) in [
            ("a.b[0] | x.y('z')", vec!["a", ".", "b", "[", "0", "]", "|", "x", ".", "y", "(", "'z'", ")"]),
            ("a.0.1 1.5 1e-5 0x1f", vec!["a", ".", "0", ".", "1", "1.5", "1e-5", "0x1f"]),
            (r#"'it\'s' ~ "q""#, vec![r"'it\'s'", "~", "\"q\""]),
            ("a//b**c!=d", vec!["a", "//", "b", "**", "c", "!=", "d"]),
            ("010 00 0 0.5 01.5 0x0f", vec!["0", "10", "00", "0", "0.5", "01.5", "0x0f"]),
            ("1..2", vec!["1", ".", ".", "2"]),
        ] {
            let found: Vec<_> = tokens(source).iter().map(|t| t.text).collect();
            assert_eq!(found, expected, "{source}");
        }
    }
}
