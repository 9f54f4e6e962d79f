//! Who may do what, as Quay's API says it.

use schemars::JsonSchema;
use serde::Deserialize;

/// Who holds a permission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    User,
    Robot,
    Team,
}

impl Kind {
    /// The API's word; robots are users there.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::User | Self::Robot => "user",
            Self::Team => "team",
        }
    }
}

/// What a permission allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    #[default]
    Read,
    Write,
    Admin,
}

impl Role {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}
