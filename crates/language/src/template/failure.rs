//! What can go wrong while templating, and how the engine's errors become ours.

use minijinja::{Error, ErrorKind};

use crate::diag::{Diagnostic, Origin};

/// An error, with what decides how it spreads: an undefined variable may still meet a `default`.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) diagnostic: Diagnostic,
    pub(super) undefined: bool,
}

impl Failure {
    pub(super) fn new(diagnostic: Diagnostic) -> Self {
        Self { diagnostic, undefined: false }
    }

    pub(super) fn at_least(mut self, origin: &Origin) -> Self {
        self.diagnostic = self.diagnostic.at_least(origin);
        self
    }

    /// The failure as an error of the engine, which carries it back to us unharmed.
    pub(super) fn into_error(self) -> Error {
        let kind = if self.undefined { ErrorKind::UndefinedError } else { ErrorKind::InvalidOperation };
        Error::new(kind, self.diagnostic.message.clone()).with_source(self.diagnostic)
    }
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        failure.diagnostic
    }
}

/// An error with our own words.
pub(super) fn error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// An error with our own words and something to try.
pub(super) fn hinted(message: impl Into<String>, hint: Option<String>) -> Error {
    Failure::new(Diagnostic::new(message).hint_opt(hint)).into_error()
}

/// The diagnostic that an engine error carries, if one of ours is inside.
pub(super) fn carried(error: &Error) -> Option<Diagnostic> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(diagnostic) = inner.downcast_ref::<Diagnostic>() {
            return Some(diagnostic.clone());
        }
        source = inner.source();
    }
    None
}

/// The innermost error of the engine: where it really went wrong.
pub(super) fn innermost(error: &Error) -> &Error {
    let mut found = error;
    while let Some(inner) = std::error::Error::source(found).and_then(|s| s.downcast_ref::<Error>()) {
        found = inner;
    }
    found
}

/// The engine's words, in ours.
pub(super) fn words(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::SyntaxError => {
            format!(
                "syntax error in the template: {}",
                if detail.is_empty() { "it cannot be read" } else { detail }
            )
        }
        ErrorKind::TemplateNotFound => "the template that it includes does not exist".into(),
        _ if detail.is_empty() => error.kind().to_string(),
        _ => detail.to_owned(),
    }
}
