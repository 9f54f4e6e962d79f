//! How much a template may make of little: what it counts with may come from a machine that is not to be trusted.

use minijinja::Error;

use super::failure::hinted;

/// Bytes of the longest text that a filter, a method or a lookup makes; as many as the engine's own `*` allows.
pub(super) const MOST_TEXT: usize = 100_000_000;

/// Items of the longest list that they make, those of its rows counted.
pub(super) const MOST_ITEMS: usize = 1_000_000;

fn too_much(what: &str, size: Option<usize>, most: usize, unit: &str) -> Error {
    let size = size.map_or_else(|| "far more".to_owned(), |size| size.to_string());
    hinted(
        format!("{what} would give {size} {unit}; the most is {most}"),
        Some("look at the numbers and texts that it is given: do they come from a host, and are they what was expected?".into()),
    )
}

/// Refuses a text of more bytes than there may be; `None` is more than can be counted.
pub(super) fn text(what: &str, bytes: Option<usize>) -> Result<(), Error> {
    if bytes.is_some_and(|bytes| bytes <= MOST_TEXT) {
        return Ok(());
    }
    Err(too_much(what, bytes, MOST_TEXT, "bytes of text"))
}

/// Refuses a list of more items than there may be; `None` is more than can be counted.
pub(super) fn items(what: &str, count: Option<usize>) -> Result<(), Error> {
    if count.is_some_and(|count| count <= MOST_ITEMS) {
        return Ok(());
    }
    Err(too_much(what, count, MOST_ITEMS, "items"))
}

/// `unit` that many times.
pub(super) fn repeated(what: &str, unit: &str, times: usize) -> Result<String, Error> {
    text(what, unit.len().checked_mul(times))?;
    Ok(unit.repeat(times))
}

/// `parts` with `joint` between them.
pub(super) fn joined(what: &str, parts: &[impl AsRef<str>], joint: &str) -> Result<String, Error> {
    let own = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.as_ref().len()));
    let between = joint.len().checked_mul(parts.len().saturating_sub(1));
    text(what, own.zip(between).and_then(|(own, between)| own.checked_add(between)))?;
    let mut out = Grown::new(what);
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            out.push(joint);
        }
        out.push(part.as_ref());
    }
    out.finish()
}

/// `text` with the first `most` (all where there is none) `old` as `new`.
pub(super) fn replaced(
    what: &str,
    text: &str,
    old: &str,
    new: &str,
    most: Option<usize>,
) -> Result<String, Error> {
    if new.len() > old.len() {
        let found = text.matches(old).take(most.unwrap_or(usize::MAX)).count();
        let more = found.checked_mul(new.len() - old.len());
        self::text(what, more.and_then(|more| more.checked_add(text.len())))?;
    }
    Ok(match most {
        Some(most) => text.replacen(old, new, most),
        None => text.replace(old, new),
    })
}

/// A text that grows piece by piece and stops where it would become too long; that it did is told at its end, so that what
/// writes it need not look.
pub(super) struct Grown {
    what: String,
    text: String,
    full: bool,
}

impl Grown {
    pub(super) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), text: String::new(), full: false }
    }

    /// Whether there is no room for more: what only writes can end early.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn push(&mut self, piece: &str) {
        self.repeat(piece, 1);
    }

    pub(super) fn push_char(&mut self, piece: char) {
        self.full |= self.text.len() + piece.len_utf8() > MOST_TEXT;
        if !self.full {
            self.text.push(piece);
        }
    }

    /// `piece` that many times.
    pub(super) fn repeat(&mut self, piece: &str, times: usize) {
        let after = piece.len().checked_mul(times).and_then(|more| more.checked_add(self.text.len()));
        self.full |= after.is_none_or(|after| after > MOST_TEXT);
        if !self.full {
            for _ in 0..if piece.is_empty() { 0 } else { times } {
                self.text.push_str(piece);
            }
        }
    }

    /// The text, if it found room.
    pub(super) fn finish(self) -> Result<String, Error> {
        if self.full { Err(too_much(&self.what, None, MOST_TEXT, "bytes of text")) } else { Ok(self.text) }
    }

    /// As much of the text as found room, where nothing can be told.
    pub(super) fn cut(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_too_long_is_not_made() {
        assert!(repeated("x", "ab", usize::MAX).is_err());
        assert!(repeated("x", "ab", MOST_TEXT).is_err());
        assert_eq!(repeated("x", "ab", 2).expect("short"), "abab");
        assert!(joined("x", &vec!["a"; 10_000], &"b".repeat(20_000)).is_err());
        assert_eq!(joined("x", &["a", "b"], ", ").expect("short"), "a, b");
        assert!(replaced("x", &"a".repeat(10_000), "a", &"b".repeat(20_000), None).is_err());
        assert_eq!(replaced("x", "aaa", "a", "bc", Some(2)).expect("short"), "bcbca");
        assert_eq!(replaced("x", "ab", "", "-", None).expect("short"), "-a-b-");
        let mut text = Grown::new("x");
        text.repeat("ab", 3);
        assert!(!text.is_full());
        text.repeat("", usize::MAX);
        text.repeat("ab", usize::MAX);
        assert!(text.is_full() && text.finish().is_err());
        assert!(items("x", None).is_err() && items("x", Some(MOST_ITEMS)).is_ok());
    }
}
