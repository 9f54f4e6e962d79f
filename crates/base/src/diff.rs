//! A difference that a person can read.

/// One difference that a person can read: a file's text, or a few lines that describe a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    pub before_header: String,
    pub after_header: String,
    pub before: String,
    pub after: String,
}

impl Diff {
    /// A difference of one thing called `name`.
    pub fn new(name: &str, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self {
            before_header: format!("before: {name}"),
            after_header: format!("after: {name}"),
            before: before.into(),
            after: after.into(),
        }
    }
}
