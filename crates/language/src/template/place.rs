//! Where inside a node's text something stands, as far as that is simple to say.

use minijinja::Error;

use crate::diag::Origin;

/// The place of a word of a template, where the template stands on its node's own line.
pub(super) fn of_word(origin: &Origin, text: &str, word: &str) -> Option<Origin> {
    if word.is_empty() {
        return None;
    }
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let found = text.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = text.get(..*at).and_then(|b| b.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|a| a.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })?;
    at_offset(origin, text, found, word.chars().count())
}

fn at_offset(origin: &Origin, text: &str, offset: usize, width: usize) -> Option<Origin> {
    let before = text.get(..offset)?;
    let row = before.matches('\n').count();
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line_text = text.lines().nth(row)?;
    // A whole file's template: its lines are the file's.
    if row > 0 || origin.file.text.starts_with(text) {
        if !origin.file.text.starts_with(text) {
            return None;
        }
        let column = before.get(line_start..)?.chars().count() + 1;
        return Some(Origin::new(
            &origin.file,
            u32::try_from(row + 1).ok()?,
            u32::try_from(column).ok()?,
            u32::try_from(width).ok()?,
        ));
    }
    let line = origin.file.line(origin.line)?;
    let from = line.char_indices().nth(origin.column as usize - 1).map(|(i, _)| i)?;
    let start = from + line.get(from..)?.find(line_text.trim_end())?;
    let column = line.get(..start)?.chars().count() + before.chars().count() + 1;
    Some(Origin::new(&origin.file, origin.line, u32::try_from(column).ok()?, u32::try_from(width).ok()?))
}

/// The place of an engine error: the line, where the text is a file of its own.
pub(super) fn of_error(origin: &Origin, text: &str, error: &Error) -> Origin {
    if !text.is_empty()
        && origin.file.text.starts_with(text)
        && let Some(line) = error.line().and_then(|l| u32::try_from(l).ok())
    {
        let width = origin.file.line(line).map_or(1, |l| l.trim().chars().count());
        let indent =
            origin.file.line(line).map_or(0, |l| l.chars().take_while(|c| c.is_whitespace()).count());
        let column = u32::try_from(indent + 1).unwrap_or(1);
        return Origin::new(&origin.file, line, column, u32::try_from(width).unwrap_or(1));
    }
    origin.clone()
}
