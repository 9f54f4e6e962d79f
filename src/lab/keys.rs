use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::{LabError, write_private};

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

/// Hosts run side by side; a key is made by the first.
static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());

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
    state_dir.join("hosts").join(host)
}

fn load_or_make(file: &Path, comment: &str) -> Result<KeyPair, LabError> {
    let _one_at_a_time = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let bad = |e: russh::keys::ssh_key::Error| {
        LabError::failed(format!("the key {}", file.display()), e.to_string()).with_hint(
            "quaylab made this file; restore it from a backup, or destroy the lab before removing it",
        )
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(bad)?;
            key.set_comment(comment);
            let text = key.to_openssh(LineEnding::LF).map_err(bad)?.to_string();
            write_private(file, text.as_bytes())?;
            text
        }
        Err(e) => return Err(LabError::io(format!("reading {}", file.display()))(e)),
    };
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
