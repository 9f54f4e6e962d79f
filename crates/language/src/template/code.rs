//! What may be given to the compiler.

use super::syntax::{Shape, shape};
use crate::diag::SourceFile;
use crate::yaml::Written;

/// A text that may be compiled and run: one that a person wrote, the text of a file, or a piece of them. Nothing else is taken by the
/// compiler, so that known values stay data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code<'a>(&'a str);

/// A code's shape, its expression being code again.
pub(super) enum CodeShape<'a> {
    Plain,
    Expression(Code<'a>),
    Mixed,
}

impl<'a> Code<'a> {
    pub(super) fn of(text: &'a Written) -> Self {
        Self(text)
    }

    /// A template file's text behind its header.
    pub(super) fn body(file: &'a SourceFile, header: usize) -> Self {
        Self(file.text.get(header..).unwrap_or_default())
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    pub(super) fn trim(self) -> Self {
        Self(self.0.trim())
    }

    pub(super) fn shape(self) -> CodeShape<'a> {
        match shape(self.0) {
            Shape::Plain => CodeShape::Plain,
            Shape::Expression(inside, _) => CodeShape::Expression(Self(inside)),
            Shape::Mixed => CodeShape::Mixed,
        }
    }
}
