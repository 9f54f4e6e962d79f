use thiserror::Error;

use crate::diff::Diff;
use crate::host::{Explained, Explanation, HostError};
use crate::value::Map;

/// What a module run came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub changed: bool,
    /// Why the task failed; `None` is success.
    pub failed: Option<String>,
    /// Why nothing was done, where that is what happened.
    pub skipped: Option<String>,
    /// What `register` sees besides `changed`, `failed` and `skipped`.
    pub result: Map,
    /// Becomes host variables (`ansible_facts`).
    pub facts: Map,
    /// The facts are kept as gathered ones too.
    pub cached: bool,
    pub diff: Vec<Diff>,
    pub warnings: Vec<String>,
}

impl Outcome {
    pub fn ok(result: Map) -> Self {
        Self { result, ..Self::default() }
    }

    pub fn changed(result: Map) -> Self {
        Self { changed: true, result, ..Self::default() }
    }

    pub fn failed(message: impl Into<String>, result: Map) -> Self {
        Self { failed: Some(message.into()), result, ..Self::default() }
    }

    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { skipped: Some(reason.into()), ..Self::default() }
    }
}

/// Why a module could not do its work.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The arguments do not make sense.
    #[error("{0}")]
    Arguments(String),
    /// The work was tried and failed; `hint` says what to try.
    #[error("{message}")]
    Failed { message: String, hint: Option<String>, result: Map },
    #[error(transparent)]
    Host(HostError),
}

impl<E: Explained> From<E> for ModuleError {
    fn from(error: E) -> Self {
        match error.explain() {
            Explanation::Host(error) => Self::Host(error),
            Explanation::Failed { message, hint } => Self::Failed { message, hint, result: Map::new() },
        }
    }
}

impl ModuleError {
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None, result: Map::new() }
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, result, .. } => Self::Failed { message, hint: Some(hint.into()), result },
            Self::Arguments(message) => Self::Failed { message, hint: Some(hint.into()), result: Map::new() },
            host @ Self::Host(_) => host,
        }
    }

    #[must_use]
    pub fn with_result(self, result: Map) -> Self {
        match self {
            Self::Failed { message, hint, .. } => Self::Failed { message, hint, result },
            other => other,
        }
    }
}
