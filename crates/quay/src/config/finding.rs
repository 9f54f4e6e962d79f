use crate::diag::Diagnostic;

/// What a finding means for Quay's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Quay does not start, or does something else than what was meant.
    Error,
    /// Quay starts, but this is hardly meant.
    Warning,
}

/// Something about a configuration that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub diagnostic: Diagnostic,
}
