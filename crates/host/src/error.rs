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
    /// It answered more than it may.
    #[error("{host} answered more than {limit} bytes: {what}")]
    TooLong { host: String, what: String, limit: usize },
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
            Self::TooLong { .. } => Some(
                "have the command write less; where so much is meant, raise `max_reply_size` in [defaults] of quaylab.cfg \
                 (QUAYLAB_MAX_REPLY_SIZE)",
            ),
            _ => None,
        }
    }
}

/// An error as a task tells it.
#[derive(Debug)]
pub enum Explanation {
    /// It is about the host, or the way to it.
    Host(HostError),
    Failed {
        message: String,
        /// What to try.
        hint: Option<String>,
    },
}

/// What a module's work may fail with.
pub trait Explained {
    fn explain(self) -> Explanation;
}

impl Explained for HostError {
    fn explain(self) -> Explanation {
        Explanation::Host(self)
    }
}
