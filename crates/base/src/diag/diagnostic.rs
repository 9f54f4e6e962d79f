use std::borrow::Cow;
use std::fmt;

use super::Origin;

/// An error that a person can mend: what, where, why and what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, a lowercase fragment without a full stop.
    pub message: String,
    /// Where it was written, if it was written anywhere.
    pub origin: Option<Origin>,
    /// Why, a line each.
    pub notes: Vec<String>,
    /// What to try.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: None, notes: Vec::new(), hint: None }
    }

    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// Sets the origin only where none is known yet: the innermost place is the best one.
    #[must_use]
    pub fn at_least(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(origin) = &self.origin {
            let gutter = " ".repeat(origin.line.to_string().len());
            write!(f, "\n{gutter}--> {origin}")?;
            if let Some(line) = origin.file.line(origin.line) {
                let (line, column) = window(line, (origin.column as usize).saturating_sub(1));
                let before: String = line.chars().take(column).collect();
                // Tabs keep their width so that the caret stands under what it means.
                let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let room = line.chars().count().saturating_sub(before.chars().count()).max(1);
                let carets = "^".repeat((origin.width as usize).min(room));
                write!(f, "\n{gutter} |\n{} | {line}\n{gutter} | {indent}{carets}", origin.line)?;
            }
        }
        for note in &self.notes {
            write!(f, "\n  = {note}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The most of a line that is shown, in characters.
const WINDOW: usize = 200;

/// As much of a line around a column as a person can use, and where the column is in it.
fn window(line: &str, column: usize) -> (Cow<'_, str>, usize) {
    let length = line.chars().count();
    if length <= WINDOW {
        return (Cow::Borrowed(line), column);
    }
    let from = column.saturating_sub(WINDOW / 2).min(length - WINDOW);
    let inside: String = line.chars().skip(from).take(WINDOW).collect();
    let (left, right) = (if from > 0 { "…" } else { "" }, if from + WINDOW < length { "…" } else { "" });
    (Cow::Owned(format!("{left}{inside}{right}")), column - from + left.chars().count())
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::*;

    #[test]
    fn of_a_long_line_the_part_that_matters_is_shown() {
        let text = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        for (column, before, after) in [(1, "a", "a…"), (5001, "…a", "b…"), (10_004, "…b", "b")] {
            let error = Diagnostic::new("x").at(&Origin::new(&SourceFile::new("f", &*text), 1, column, 1));
            let told = error.to_string();
            let lines: Vec<&str> = told.lines().collect();
            let (line, caret) = (lines[3].split_once("| ").expect("a line").1, lines[4]);
            assert!(line.starts_with(before) && line.ends_with(after), "{line}");
            assert!(line.chars().count() <= WINDOW + 2, "{line}");
            let at = caret.split_once("| ").expect("a caret").1.chars().count() - 1;
            let pointed = line.chars().nth(at).expect("a character");
            assert_eq!(pointed, text.chars().nth(column as usize - 1).expect("a character"));
        }
    }

    #[test]
    fn shows_the_line_with_a_caret() {
        let file = SourceFile::new("quay.inv", "[lab]\nquay image_url=x\n");
        let error = Diagnostic::new("unknown variable")
            .at(&Origin::new(&file, 2, 6, 9))
            .note("it is not one that a VM takes")
            .hint("did you mean image_uri?");
        insta::assert_snapshot!(error, @r"
        unknown variable
         --> quay.inv:2:6
          |
        2 | quay image_url=x
          |      ^^^^^^^^^
          = it is not one that a VM takes
          hint: did you mean image_uri?
        ");
    }
}
