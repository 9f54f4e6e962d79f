use std::sync::Arc;

use crate::diag::{Origin, SourceFile};
use crate::yaml::Written;

/// A piece of one line: its characters, each with the column where it stands.
///
/// Quotes and escapes are gone from a word, so that neighbours in it may stand apart in the source.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub file: Arc<SourceFile>,
    pub line: u32,
    /// The columns that the whole piece takes, quotes included; the end is exclusive.
    pub start: u32,
    pub end: u32,
    pub chars: Vec<(char, u32)>,
}

impl Piece {
    /// A whole line of a file, without the blanks around it.
    pub(super) fn line(file: &Arc<SourceFile>, line: u32, text: &str) -> Self {
        let chars: Vec<(char, u32)> = text.chars().zip(1..).collect();
        let end = chars.last().map_or(1, |(_, column)| column + 1);
        Self { file: Arc::clone(file), line, start: 1, end, chars }.trim()
    }

    pub(super) fn text(&self) -> String {
        self.chars.iter().map(|(c, _)| c).collect()
    }

    /// A text that was read out of this piece.
    pub(super) fn written(&self, text: String) -> Written {
        Written::read(text, &self.file)
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::new(&self.file, self.line, self.start, self.end.saturating_sub(self.start))
    }

    /// The place of the characters from one index up to another.
    pub(super) fn origin_of(&self, from: usize, to: usize) -> Origin {
        let column = |index: usize| self.chars.get(index).map(|(_, column)| *column);
        let start = column(from).unwrap_or(self.end);
        let stop = to.checked_sub(1).and_then(column).map_or(self.end, |last| last + 1);
        Origin::new(&self.file, self.line, start, stop.saturating_sub(start))
    }

    /// What stands before and after the first such character.
    pub(super) fn split_once(&self, separator: char) -> Option<(Self, Self)> {
        let at = self.chars.iter().position(|(c, _)| *c == separator)?;
        let column = self.chars.get(at)?.1;
        let before = Self { end: column, chars: self.chars.get(..at)?.to_vec(), ..self.clone() };
        let after = Self { start: column + 1, chars: self.chars.get(at + 1..)?.to_vec(), ..self.clone() };
        Some((before, after))
    }

    pub(super) fn trim(&self) -> Self {
        let from = self.chars.iter().position(|(c, _)| !c.is_whitespace());
        let to = self.chars.iter().rposition(|(c, _)| !c.is_whitespace());
        match (from, to) {
            (Some(from), Some(to)) => {
                let chars = self.chars.get(from..=to).unwrap_or_default().to_vec();
                let start = chars.first().map_or(self.start, |(_, column)| *column);
                let end = chars.last().map_or(self.end, |(_, column)| column + 1);
                Self { start, end, chars, ..self.clone() }
            }
            _ => Self { start: self.end, chars: Vec::new(), ..self.clone() },
        }
    }
}
