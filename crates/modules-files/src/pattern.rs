use fancy_regex::{Captures, Regex};

use crate::ModuleError;

/// A regular expression in Python's dialect.
pub(super) struct Pattern(Regex);

impl Pattern {
    /// `flags` are inline flags such as `(?m)`, or nothing.
    pub(super) fn new(argument: &str, flags: &str, text: &str) -> Result<Self, ModuleError> {
        Regex::new(&format!("{flags}{}", translate(text))).map(Self).map_err(|e| {
            ModuleError::Arguments(format!("{argument} {text:?} is not a regular expression: {e}"))
        })
    }

    /// The first match. A pattern that is too costly to decide counts as an error, not as no match.
    pub(super) fn find<'t>(&self, text: &'t str) -> Result<Option<Captures<'t, str>>, ModuleError> {
        self.0.captures(text).map_err(|e| ModuleError::failed(format!("the regular expression gave up: {e}")))
    }

    pub(super) fn matches(&self, text: &str) -> Result<bool, ModuleError> {
        Ok(self.find(text)?.is_some())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }

    /// Replaces every match, and counts them.
    pub(super) fn replace_all(&self, text: &str, template: &str) -> Result<(String, usize), ModuleError> {
        let (mut out, mut last, mut count) = (String::new(), 0, 0);
        for captures in self.0.captures_iter(text) {
            let captures =
                captures.map_err(|e| ModuleError::failed(format!("the regular expression gave up: {e}")))?;
            let Some(whole) = captures.get(0) else { continue };
            out.push_str(&text[last..whole.start()]);
            out.push_str(&expand(template, &captures)?);
            last = whole.end();
            count += 1;
        }
        out.push_str(&text[last..]);
        Ok((out, count))
    }
}

/// What differs between Python's syntax and the crate's: `\Z`, `\<`, braces and brackets that stand for themselves.
fn translate(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.char_indices().peekable();
    let mut class: Option<usize> = None;
    while let Some((at, c)) = chars.next() {
        match (c, class) {
            ('\\', _) => match chars.next() {
                Some((_, 'Z')) => out.push_str(r"\z"),
                Some((_, c @ ('<' | '>'))) => out.push(c),
                Some((_, other)) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            ('[', None) => {
                class = Some(at);
                out.push('[');
                if let Some((_, '^')) = chars.peek() {
                    out.push('^');
                    chars.next();
                }
                if let Some((_, ']')) = chars.peek() {
                    out.push_str(r"\]");
                    chars.next();
                }
            }
            (']', Some(_)) => {
                class = None;
                out.push(']');
            }
            ('[' | '&' | '~', Some(_)) => out.extend(['\\', c]),
            ('{', None) if !is_repetition(&text[at..]) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    out
}

fn is_repetition(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, "0"));
    let digits = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    digits(low) && digits(high) && inside.chars().any(|c| c.is_ascii_digit())
}

/// Fills in a replacement: `\1`, `\g<1>`, `\g<name>`, `\n`, `\t`, `\\`.
pub(super) fn expand(template: &str, captures: &Captures<'_, str>) -> Result<String, ModuleError> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let mut used = c.len_utf8();
        if c.is_ascii_digit() {
            let digits = rest.chars().take(2).take_while(char::is_ascii_digit).count();
            used = digits;
            out.push_str(group(&rest[..digits], captures)?);
        } else if let Some(name) =
            rest.strip_prefix("g<").and_then(|r| r.split_once('>')).map(|(name, _)| name)
        {
            used = name.len() + 3;
            out.push_str(group(name, captures)?);
        } else {
            match c {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                '\\' => out.push('\\'),
                other => out.extend(['\\', other]),
            }
        }
        rest = &rest[used..];
    }
    out.push_str(rest);
    Ok(out)
}

fn group<'t>(name: &str, captures: &Captures<'t, str>) -> Result<&'t str, ModuleError> {
    let found = match name.parse::<usize>() {
        Ok(number) if number >= captures.len() => None,
        Ok(number) => Some(captures.get(number)),
        Err(_) => captures.name(name).map(Some),
    };
    match found {
        Some(matched) => Ok(matched.map_or("", |m| m.as_str())),
        None => Err(ModuleError::Arguments(format!("invalid group reference {name} in the replacement"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_patterns_mean_the_same() {
        for (pattern, text, expected) in [
            (r"^foo\Z", "foo", true),
            (r"a{b}", "a{b}", true),
            (r"a{2}", "aa", true),
            (r"[[]x[]]", "[x]", true),
            (r"[^]]", "]", false),
            (r"(?P<k>a)(?!b)", "ac", true),
            (r"\{\{ x \}\}", "{{ x }}", true),
            (r"[&&]", "&", true),
            (r"\<p\>", "<p>", true),
        ] {
            let p = Pattern::new("regexp", "", pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(p.matches(text).ok(), Some(expected), "{pattern} on {text}");
        }
        assert!(Pattern::new("regexp", "", "(").is_err());
    }

    #[test]
    fn replacements_are_filled_in() {
        let p = Pattern::new("regexp", "(?m)", r"^(\w+)=(?P<v>\w*)$").unwrap_or_else(|e| panic!("{e}"));
        for (template, expected) in
            [(r"\2=\1", "1=a\n=b\n"), (r"\g<v>-\g<1>0", "1-a0\n-b0\n"), (r"x\n\\", "x\n\\\nx\n\\\n")]
        {
            assert_eq!(
                p.replace_all("a=1\nb=\n", template).ok(),
                Some((expected.to_owned(), 2)),
                "{template}"
            );
        }
        assert!(p.replace_all("a=1", r"\3").is_err());
    }
}
