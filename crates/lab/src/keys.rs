use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::LabError;
use super::private_file::read_or_make;
use crate::store::FileName;

/// An ed25519 key pair that quaylab made and keeps.
#[derive(Clone)]
pub struct KeyPair {
    /// The file with the private half, mode 0600.
    pub file: PathBuf,
    /// OpenSSH's private key format.
    pub private: String,
    /// OpenSSH's one-line form.
    pub public: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("file", &self.file)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The key with which quaylab logs in to the lab's VMs, made on first use.
pub fn login_key(state_dir: &Path, lab: &str) -> Result<KeyPair, LabError> {
    load_or_make(&state_dir.join("id_ed25519"), &format!("quaylab {lab}"))
}

/// The SSH host key of one VM, made on first use; the guest gets it by cloud-init, so the first login is verified.
pub fn host_key(state_dir: &Path, host: &str) -> Result<KeyPair, LabError> {
    load_or_make(&host_dir(state_dir, host).join("ssh_host_ed25519_key"), host)
}

/// Where a host's own things are kept.
pub fn host_dir(state_dir: &Path, host: &str) -> PathBuf {
    FileName::escaped(host).within(&state_dir.join("hosts"))
}

fn load_or_make(file: &Path, comment: &str) -> Result<KeyPair, LabError> {
    let bad = |e: russh::keys::ssh_key::Error| {
        LabError::failed(format!("the key {}", file.display()), e.to_string()).with_hint(
            "quaylab made this file; restore it from a backup, or destroy the lab before removing it",
        )
    };
    let text = read_or_make(file, || {
        let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(bad)?;
        key.set_comment(comment);
        Ok(key.to_openssh(LineEnding::LF).map_err(bad)?.as_bytes().to_vec())
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| LabError::failed(format!("the key {}", file.display()), "it is not text"))?;
    let public = PrivateKey::from_openssh(&text).and_then(|k| k.public_key().to_openssh()).map_err(bad)?;
    Ok(KeyPair { file: file.to_owned(), private: text, public })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_only_ours_to_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = host_key(dir.path(), "quay").expect("made");
        let second = host_key(dir.path(), "quay").expect("read");
        assert_eq!(first.public, second.public);
        assert!(first.public.starts_with("ssh-ed25519 "));
        assert_ne!(first.public, host_key(dir.path(), "other").expect("made").public);
        let mode = std::fs::metadata(&first.file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
