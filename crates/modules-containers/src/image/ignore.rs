use fancy_regex::Regex;

/// What `.dockerignore` leaves out of a build's context, as the engine's own client reads it.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    /// In order: the last one that fits decides.
    patterns: Vec<(bool, Regex)>,
}

impl Ignore {
    /// Reads the file's text; the reason where a pattern cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (out, pattern) = match line.strip_prefix('!') {
                Some(rest) => (false, rest.trim()),
                None => (true, line),
            };
            let pattern = clean(pattern);
            // The folder itself never goes.
            if pattern.is_empty() {
                continue;
            }
            let regex = Regex::new(&expression(&pattern))
                .map_err(|_| format!(".dockerignore:{}: {line:?} is no pattern", number + 1))?;
            patterns.push((out, regex));
        }
        Ok(Self { patterns })
    }

    /// Whether a path, or a folder above it, is left out.
    pub(super) fn excludes(&self, path: &str) -> bool {
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        let all: Vec<&str> = above.chain([path]).collect();
        let fits = |regex: &Regex| all.iter().any(|path| regex.is_match(path).unwrap_or(false));
        self.patterns.iter().rev().find(|(_, regex)| fits(regex)).is_some_and(|(out, _)| *out)
    }

    /// Whether something below a folder that is left out may be taken in again.
    pub(super) fn takes_in_again(&self) -> bool {
        self.patterns.iter().any(|(out, _)| !out)
    }
}

/// The pattern without what means nothing in it: `./`, `//`, `a/..`, slashes at its ends.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn expression(pattern: &str) -> String {
    let mut text = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                    text.push_str("(?:.*/)?");
                } else {
                    text.push_str(".*");
                }
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' => {
                text.push('[');
                if matches!(chars.peek(), Some('^')) {
                    chars.next();
                    text.push('^');
                }
                for c in chars.by_ref() {
                    match c {
                        ']' => break,
                        '\\' => text.push_str("\\\\"),
                        '[' | '&' | '~' => text.extend(['\\', c]),
                        c => text.push(c),
                    }
                }
                text.push(']');
            }
            '\\' => text.extend(chars.next().map(|c| fancy_regex::escape(&c.to_string()).into_owned())),
            c => text.push_str(&fancy_regex::escape(&c.to_string())),
        }
    }
    text.push('$');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_left_out_as_the_engines_client_does() {
        for (patterns, path, out) in [
            ("secret", "secret", true),
            ("secret", "secret/deep/file", true),
            ("secret", "other/secret", false),
            ("/secret/", "secret", true),
            ("*/temp*", "a/temporary", true),
            ("*/temp*", "a/b/temporary", false),
            ("**/*.log", "x.log", true),
            ("**/*.log", "a/b/x.log", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("[a-c].txt", "b.txt", true),
            ("[^a-c].txt", "b.txt", false),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "NEWS.md", true),
            ("!README.md\n*.md", "README.md", true),
            ("node\n!node/keep", "node/keep", false),
            ("node\n!node/keep", "node/lose", true),
            ("# a comment\n\n  spaced  ", "spaced", true),
            (".", "anything", false),
            ("a.b", "axb", false),
            ("\\#x", "#x", true),
            ("./a/../b", "b", true),
        ] {
            let ignore = Ignore::parse(patterns).expect("patterns");
            assert_eq!(ignore.excludes(path), out, "{patterns:?} {path}");
        }
        let error = Ignore::parse("a\n[").expect_err("no pattern");
        assert_eq!(error, ".dockerignore:2: \"[\" is no pattern");
        assert!(Ignore::parse("*\n!a").expect("patterns").takes_in_again());
    }
}
