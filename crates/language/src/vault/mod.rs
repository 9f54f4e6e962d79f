//! Ansible's vault: texts and files encrypted with a password, read and written in formats 1.1 and 1.2.

mod cipher;
mod envelope;
mod error;
mod keys;
mod source;

pub use envelope::{Envelope, is_encrypted};
pub use error::VaultError;
pub use keys::{DEFAULT_ID, Key, Vault};
pub use source::{Prompt, Source};
