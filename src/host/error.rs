use thiserror::Error;

/// Why a target could not do what it was asked.
#[derive(Debug, Error)]
pub enum HostError {
    /// The host cannot be reached or logged in to: Ansible's `unreachable`.
    #[error("{host} is unreachable: {reason}")]
    Unreachable { host: String, reason: String, hint: Option<String> },
    /// The connection was there and is gone.
    #[error("the connection to {host} was lost: {reason}")]
    Lost { host: String, reason: String },
    /// Programs on the host get no input, so there can be no persistent shell; nothing was run.
    #[error("programs on {host} get no input")]
    NoInput { host: String },
    /// Becoming another user failed.
    #[error("becoming {user} on {host} failed: {reason}")]
    Become { host: String, user: String, reason: String, hint: Option<String> },
    /// The host answered, and the answer is a failure.
    #[error("{what}: {reason}")]
    Failed { what: String, reason: String },
    #[error("no answer from {host} within {seconds} s: {what}")]
    Timeout { host: String, what: String, seconds: u64 },
}

impl HostError {
    /// Whether the recap counts this as `unreachable` rather than `failed`.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. })
    }

    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unreachable { hint, .. } | Self::Become { hint, .. } => hint.as_deref(),
            Self::NoInput { .. } => Some(
                "a `ForceCommand` or a `command=` of authorized_keys stands in between: passwords and files of more than 64 KiB need input",
            ),
            _ => None,
        }
    }
}
