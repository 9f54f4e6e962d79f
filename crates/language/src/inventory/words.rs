use super::piece::Piece;
use crate::diag::{Diagnostic, Origin};

/// Splits a host line into words, as Python's `shlex.split(line, comments=True)` does.
pub(super) fn split(line: &Piece) -> Result<Vec<Piece>, Diagnostic> {
    let mut words = Vec::new();
    // Quotes alone make a word too, so a word is more than its characters.
    let mut word: Option<Piece> = None;
    let mut chars = line.chars.iter().copied().peekable();
    while let Some((c, column)) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            // Anywhere outside quotes, even inside a word.
            '#' => break,
            _ => {
                let current = word.get_or_insert_with(|| Piece {
                    start: column,
                    end: column,
                    chars: Vec::new(),
                    ..line.clone()
                });
                let unclosed = |what: &str, hint: &str| {
                    let origin = Origin::new(&line.file, line.line, column, 1);
                    Err(Diagnostic::new(what).at(&origin).hint(hint))
                };
                match c {
                    '\\' => match chars.next() {
                        Some(escaped) => current.chars.push(escaped),
                        None => return unclosed("nothing follows the backslash", "write two for one: \\\\"),
                    },
                    '\'' | '"' => loop {
                        let Some((inner, at)) = chars.next() else {
                            return unclosed(
                                "the quote is not closed",
                                "close it, or put a backslash before a quote that is meant as it stands",
                            );
                        };
                        current.end = at + 1;
                        if inner == c {
                            break;
                        }
                        let escapes = |next: char| next == '"' || next == '\\';
                        if c == '"' && inner == '\\' && chars.peek().is_some_and(|(next, _)| escapes(*next)) {
                            current.chars.extend(chars.next());
                        } else {
                            current.chars.push((inner, at));
                        }
                    },
                    _ => current.chars.push((c, column)),
                }
                let last = current.chars.last().map_or(column, |(_, at)| *at);
                current.end = current.end.max(last + 1).max(column + 1);
            }
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::SourceFile;

    #[test]
    fn words_are_pythons() {
        for (line, expected) in [
            ("a b=1  c=2", vec!["a", "b=1", "c=2"]),
            ("a b='x y' c=\"p q\"", vec!["a", "b=x y", "c=p q"]),
            ("a b=1 # comment", vec!["a", "b=1"]),
            ("a b=1#comment", vec!["a", "b=1"]),
            ("a b='#'", vec!["a", "b=#"]),
            (r#"a b="say \"hi\" \n" c=x\ y"#, vec!["a", r#"b=say "hi" \n"#, "c=x y"]),
            (r"a b='\n'", vec!["a", r"b=\n"]),
            ("a b=x'y'\"z\"", vec!["a", "b=xyz"]),
            ("a ''", vec!["a", ""]),
        ] {
            let file = SourceFile::new("t", line);
            let words = split(&Piece::line(&file, 1, line)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(words.iter().map(Piece::text).collect::<Vec<_>>(), expected, "{line}");
        }
    }
}
