use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng as _;
use zeroize::Zeroizing;

use super::{Envelope, VaultError, cipher, is_encrypted};
use crate::diag::{Diagnostic, Origin, SourceFile};

/// The label of a password that was given without one.
pub const DEFAULT_ID: &str = "default";

/// A password with its label.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    password: Zeroizing<String>,
}

impl Key {
    pub fn new(id: impl Into<String>, password: impl Into<String>) -> Self {
        Self { id: id.into(), password: Zeroizing::new(password.into()) }
    }

    /// Encrypts a text; a key with a label of its own writes format 1.2. `salt` is drawn where none is given.
    pub fn seal(&self, plain: &[u8], salt: Option<&[u8]>) -> Result<String, VaultError> {
        self.seal_as(plain, Some(self.id.as_str()), salt)
    }

    /// The same under another label.
    pub fn seal_as(&self, plain: &[u8], id: Option<&str>, salt: Option<&[u8]>) -> Result<String, VaultError> {
        let mut drawn = [0; 32];
        let salt = salt.unwrap_or_else(|| {
            rand::rng().fill_bytes(&mut drawn);
            &drawn
        });
        let body = cipher::seal(plain, self.password.as_bytes(), salt)?;
        let label = id.filter(|id| *id != DEFAULT_ID).map(str::to_owned);
        Ok(Envelope { label, body }.text())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@********", self.id)
    }
}

/// The passwords of a run. Opens what was encrypted with one of them; what it opened it remembers.
#[derive(Debug, Default)]
pub struct Vault {
    keys: Vec<Key>,
    opened: Mutex<Opened>,
}

/// Plain texts by their encrypted ones.
#[derive(Default)]
struct Opened(HashMap<String, Zeroizing<Vec<u8>>>);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} texts", self.0.len())
    }
}

impl Vault {
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys, opened: Mutex::default() }
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Decrypts a vault text: the key of its label is tried first, then all others in order.
    pub fn open(&self, text: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.open_with(text).map(|(plain, _)| plain)
    }

    /// The same, with the key that fitted, where it was not remembered.
    pub fn open_with(&self, text: &str) -> Result<(Zeroizing<Vec<u8>>, Option<&Key>), VaultError> {
        if let Some(known) = self.opened.lock().unwrap_or_else(PoisonError::into_inner).0.get(text) {
            return Ok((known.clone(), None));
        }
        let envelope = Envelope::parse(text)?;
        if self.keys.is_empty() {
            return Err(VaultError::NoPassword);
        }
        let named = |key: &&Key| envelope.label.as_ref().is_some_and(|label| *label == key.id);
        let in_order = self.keys.iter().filter(named).chain(self.keys.iter().filter(|key| !named(key)));
        for key in in_order {
            if let Some(plain) = cipher::open(&envelope.body, key.password.as_bytes())? {
                let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                opened.0.insert(text.to_owned(), plain.clone());
                return Ok((plain, Some(key)));
            }
        }
        Err(VaultError::WrongPassword { label: envelope.label })
    }

    /// Decrypts a text that must be text inside too.
    pub fn open_text(&self, text: &str, origin: &Origin) -> Result<String, Diagnostic> {
        let told =
            |e: &VaultError| Diagnostic::new(e.to_string()).at(origin).hint_opt(e.hint().map(str::to_owned));
        let plain = self.open(text).map_err(|e| told(&e))?;
        String::from_utf8(plain.to_vec())
            .map_err(|_| Diagnostic::new("what is encrypted here is not UTF-8 text").at(origin))
    }

    /// A source as it reads once it is open; one that is not encrypted stays as it is.
    pub fn open_source(&self, source: Arc<SourceFile>) -> Result<Arc<SourceFile>, Diagnostic> {
        if !is_encrypted(source.text.as_bytes()) {
            return Ok(source);
        }
        let text = self.open_text(&source.text, &Origin::new(&source, 1, 1, 14))?;
        Ok(SourceFile::new(source.name.clone(), text))
    }

    /// Bytes as they are once they are open.
    pub fn open_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>, VaultError> {
        if !is_encrypted(&bytes) {
            return Ok(bytes);
        }
        let text = String::from_utf8(bytes).map_err(|_| VaultError::Damaged("it is not UTF-8".into()))?;
        Ok(self.open(&text)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_fits_is_found() {
        let keys = vec![Key::new("dev", "one"), Key::new(DEFAULT_ID, "two")];
        let vault = Vault::new(keys.clone());
        let plain = keys[1].seal(b"hello", None).expect("sealed");
        assert!(plain.starts_with("$ANSIBLE_VAULT;1.1;AES256\n"));
        let labelled = keys[0].seal(b"there", None).expect("sealed");
        assert!(labelled.starts_with("$ANSIBLE_VAULT;1.2;AES256;dev\n"));
        assert_eq!(vault.open(&plain).expect("opened").as_slice(), b"hello");
        assert_eq!(vault.open(&labelled).expect("opened").as_slice(), b"there");
        let other = Vault::new(vec![Key::new("prod", "three")]);
        assert_eq!(other.open(&labelled), Err(VaultError::WrongPassword { label: Some("dev".into()) }));
        assert_eq!(Vault::default().open(&plain), Err(VaultError::NoPassword));
        let shown = format!("{vault:?}");
        assert!(shown.contains("dev@********") && !shown.contains("two"), "{shown}");
    }

    /// Written by ansible-vault 2.19 with the password `ansible`.
    #[test]
    fn a_file_of_ansibles_own_is_opened() {
        let vault = Vault::new(vec![Key::new(DEFAULT_ID, "ansible")]);
        let text = include_str!("../../../../tests/data/vault/ansible.vault");
        assert_eq!(vault.open(text).expect("opened").as_slice(), b"secret: from ansible\n");
        let damaged = text.replacen("36", "37", 1);
        assert!(vault.open(&damaged).is_err());
    }

    #[test]
    fn errors_show_the_place() {
        let file = SourceFile::new("vars.yml", "$ANSIBLE_VAULT;1.1;AES256\n3030\n");
        insta::assert_snapshot!(Vault::default().open_source(file).expect_err("no password"), @r"
        this is encrypted, and no vault password is given
         --> vars.yml:1:1
          |
        1 | $ANSIBLE_VAULT;1.1;AES256
          | ^^^^^^^^^^^^^^
          hint: give it with --vault-password-file, --vault-id LABEL@FILE or --ask-vault-pass
        ");
    }
}
