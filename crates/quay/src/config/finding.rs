use crate::diag::Diagnostic;

use super::mend::Mend;

/// What a finding means for Quay's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Quay does not start, or nothing can be pushed to it.
    Error,
    /// Quay starts, but this is hardly meant.
    Warning,
}

/// Something about a configuration that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub diagnostic: Diagnostic,
    /// What would mend it, where that is safe and there is one way only.
    pub mend: Option<Mend>,
}
