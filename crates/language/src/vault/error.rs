use thiserror::Error;

/// Why something encrypted could not be opened, or a password not be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VaultError {
    #[error("this is encrypted, and no vault password is given")]
    NoPassword,
    /// `label` is the one that the text names, where it names one.
    #[error("none of the vault passwords fits{}", label.as_ref().map(|l| format!(" (it was encrypted as {l:?})")).unwrap_or_default())]
    WrongPassword { label: Option<String> },
    #[error("this is not a vault text: {0}")]
    Damaged(String),
    #[error("vault format {0:?} is not known")]
    Version(String),
    #[error("the vault cipher {0:?} is not known")]
    Cipher(String),
    #[error("{0}")]
    Source(String),
}

impl VaultError {
    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoPassword => {
                "give it with --vault-password-file, --vault-id LABEL@FILE or --ask-vault-pass"
            }
            Self::WrongPassword { .. } => {
                "check the passwords that --vault-id and --vault-password-file name"
            }
            Self::Damaged(_) => "copy it again, whole, from its $ANSIBLE_VAULT line on",
            Self::Version(_) => "1.1 and 1.2 are read",
            Self::Cipher(_) => "AES256 is read",
            Self::Source(_) => return None,
        })
    }
}
