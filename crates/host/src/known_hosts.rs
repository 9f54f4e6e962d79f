//! What `known_hosts` says about a host's key, and what to say when it disagrees.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use sha1::{Digest, Sha1};

use super::{HostKeyCheck, KnownHosts};
use crate::store::home;

/// Whether a key that a host has shown is believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Trusted,
    Revoked,
    /// Other keys are known for the host.
    Changed(Vec<PublicKey>),
    Unknown,
}

/// Why a host's key was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) hint: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    revoked: bool,
    key: PublicKey,
}

/// The name under which `known_hosts` has a host.
fn entry_name(address: &str, port: u16) -> String {
    let address = address.to_ascii_lowercase();
    if port == 22 { address } else { format!("[{address}]:{port}") }
}

/// The entries of a `known_hosts` file that speak of a host; lines that cannot be read are passed over, as ssh does.
fn entries(text: &str, name: &str) -> Vec<Entry> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let (marker, line) = match line.strip_prefix('@') {
                Some(rest) => rest.split_once([' ', '\t']).map(|(m, rest)| (Some(m), rest.trim_start()))?,
                None => (None, line),
            };
            // Keys of authorities vouch for certificates, which are not asked for.
            let revoked = match marker {
                None => false,
                Some("revoked") => true,
                Some(_) => return None,
            };
            let (patterns, key) = line.split_once([' ', '\t'])?;
            if patterns.starts_with('#') || !matches(patterns, name) {
                return None;
            }
            Some(Entry { revoked, key: PublicKey::from_openssh(key.trim()).ok()? })
        })
        .collect()
}

fn matches(patterns: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if wildcard(not.to_ascii_lowercase().as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None if pattern.starts_with("|1|") => found |= hashed(pattern, name),
            None => found |= wildcard(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()),
        }
    }
    found
}

pub(super) fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            wildcard(rest, name) || name.split_first().is_some_and(|(_, name)| wildcard(pattern, name))
        }
        (Some((b'?', pattern)), Some((_, name))) => wildcard(pattern, name),
        (Some((a, pattern)), Some((b, name))) if a == b => wildcard(pattern, name),
        _ => false,
    }
}

/// `|1|SALT|HMAC-SHA1(SALT, NAME)`, both in base64.
fn hashed(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('|').skip(2);
    let (Some(Ok(salt)), Some(Ok(hash))) =
        (parts.next().map(|p| BASE64.decode(p)), parts.next().map(|p| BASE64.decode(p)))
    else {
        return false;
    };
    hmac_sha1(&salt, name.as_bytes()).as_slice() == hash
}

fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { Sha1::digest(key).to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let pad = |byte: u8| block.iter().map(|b| b ^ byte).collect::<Vec<u8>>();
    let inner = Sha1::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn judge(entries: &[Entry], key: &PublicKey) -> Verdict {
    let same = |entry: &&Entry| entry.key.key_data() == key.key_data();
    if entries.iter().filter(|e| e.revoked).any(|e| same(&e)) {
        return Verdict::Revoked;
    }
    let valid: Vec<&Entry> = entries.iter().filter(|e| !e.revoked).collect();
    if valid.iter().any(same) {
        Verdict::Trusted
    } else if valid.is_empty() {
        Verdict::Unknown
    } else {
        Verdict::Changed(valid.iter().map(|e| e.key.clone()).collect())
    }
}

impl KnownHosts {
    /// What OpenSSH's `UserKnownHostsFile` names; `None` is not given.
    pub fn of_option(value: Option<&str>) -> Self {
        match value.map(|text| text.trim_matches(['"', '\''])) {
            None => Self::OfUser,
            Some("none") => Self::File("/dev/null".into()),
            Some(path) => Self::File(crate::store::expanded(path)),
        }
    }

    /// The file that is meant, which new hosts are added to.
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::OfUser => Some(home()?.join(".ssh/known_hosts")),
            Self::File(path) => Some(path.clone()),
        }
    }
}

/// A host as files of known hosts name it, and the file that is asked besides the user's.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: String,
    pub(super) port: u16,
    /// `GlobalKnownHostsFile`; `None`: the machine's usual one.
    pub(super) global: Option<PathBuf>,
}

fn known(file: &KnownHosts, place: &Place) -> Vec<Entry> {
    let name = entry_name(&place.address, place.port);
    let global = place.global.clone().unwrap_or_else(|| PathBuf::from("/etc/ssh/ssh_known_hosts"));
    [file.path(), Some(global)]
        .into_iter()
        .flatten()
        .filter_map(|path| std::fs::read(path).ok())
        .flat_map(|bytes| entries(&String::from_utf8_lossy(&bytes), &name))
        .collect()
}

/// The kinds of keys that are known for the host: they are asked for first, so that one of them can be compared.
pub(super) fn known_algorithms(check: &HostKeyCheck, place: &Place) -> Vec<Algorithm> {
    match check {
        HostKeyCheck::Off => Vec::new(),
        HostKeyCheck::Exactly(key) => {
            PublicKey::from_openssh(key).map(|k| k.algorithm()).into_iter().collect()
        }
        HostKeyCheck::KnownHosts(file) | HostKeyCheck::AcceptNew(file) => {
            known(file, place).into_iter().filter(|e| !e.revoked).map(|e| e.key.algorithm()).collect()
        }
    }
}

/// Decides about a host's key and, where that is wanted, remembers a new one.
pub(super) fn check(policy: &HostKeyCheck, place: &Place, key: &PublicKey) -> Result<(), Refusal> {
    let Place { address, port, .. } = place;
    let port = *port;
    let shown = fingerprint(key);
    match policy {
        HostKeyCheck::Off => Ok(()),
        HostKeyCheck::Exactly(wanted) => match PublicKey::from_openssh(wanted) {
            Ok(wanted) if wanted.key_data() == key.key_data() => Ok(()),
            Ok(wanted) => Err(Refusal {
                reason: format!(
                    "its host key is not the one that it was given: it shows {shown}, expected {}",
                    fingerprint(&wanted)
                ),
                hint:
                    "another machine answers at this address, or the machine was made anew by someone else; \
                       make it again with quaylab if that is so"
                        .to_owned(),
            }),
            Err(error) => Err(Refusal {
                reason: format!("the host key to compare with cannot be read: {error}"),
                hint: "a host key is one line such as `ssh-ed25519 AAAA…`".to_owned(),
            }),
        },
        HostKeyCheck::KnownHosts(file) | HostKeyCheck::AcceptNew(file) => {
            match (judge(&known(file, place), key), policy) {
                (Verdict::Trusted, _) => Ok(()),
                (Verdict::Unknown, HostKeyCheck::AcceptNew(_)) => remember(file, address, port, key),
                (verdict, _) => Err(refusal(&verdict, file, address, port, &shown)),
            }
        }
    }
}

fn refusal(verdict: &Verdict, file: &KnownHosts, address: &str, port: u16, shown: &str) -> Refusal {
    let name = entry_name(address, port);
    let (shown_file, of_file) = match file {
        KnownHosts::OfUser => ("~/.ssh/known_hosts".into(), String::new()),
        KnownHosts::File(path) => (path.display().to_string(), format!(" -f {}", path.display())),
    };
    match verdict {
        Verdict::Changed(known) => Refusal {
            reason: format!(
                "its host key has changed: it shows {shown}, known_hosts has {}",
                known.iter().map(fingerprint).collect::<Vec<_>>().join(", ")
            ),
            hint: format!(
                "if the machine was made anew, forget the old key: ssh-keygen{of_file} -R '{name}'"
            ),
        },
        Verdict::Revoked => Refusal {
            reason: format!("its host key {shown} is marked @revoked in known_hosts"),
            hint: "do not trust this machine".to_owned(),
        },
        Verdict::Unknown | Verdict::Trusted => Refusal {
            reason: format!("its host key is not known: it shows {shown}"),
            hint: format!(
                "compare the fingerprint on the machine, then add it: ssh-keyscan -p {port} {address} >> {shown_file}; \
                 or set `host_key_checking = accept-new`"
            ),
        },
    }
}

fn remember(file: &KnownHosts, address: &str, port: u16, key: &PublicKey) -> Result<(), Refusal> {
    let refused = |reason: String| Refusal {
        reason,
        hint: "make the file of known hosts writable, or add the host's key by hand".to_owned(),
    };
    let path = file
        .path()
        .ok_or_else(|| refused("HOME is not set, so the host's key cannot be remembered".to_owned()))?;
    append(&path, &entry_name(address, port), key)
        .map_err(|e| refused(format!("its key cannot be added to {}: {e}", path.display())))
}

fn append(path: &Path, name: &str, key: &PublicKey) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = path.parent().filter(|f| !f.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let unfinished = std::fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|&b| b != b'\n'));
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let line = key.to_openssh().map_err(std::io::Error::other)?;
    // The key's comment is not part of what the host has shown.
    let key = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    // One write, so that hosts that connect side by side do not mix their lines.
    file.write_all(format!("{}{name} {key}\n", if unfinished { "\n" } else { "" }).as_bytes())
}

fn fingerprint(key: &PublicKey) -> String {
    format!("{} ({})", key.fingerprint(HashAlg::Sha256), key.algorithm())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn verdict(text: &str, address: &str, port: u16) -> Verdict {
        judge(&entries(text, &entry_name(address, port)), &PublicKey::from_openssh(A).unwrap())
    }

    #[test]
    fn known_hosts_lines_are_understood() {
        let changed = || Verdict::Changed(vec![PublicKey::from_openssh(B).unwrap()]);
        for (text, address, port, wanted) in [
            (format!("h {A}"), "h", 22, Verdict::Trusted),
            (format!("h {A}"), "H", 22, Verdict::Trusted),
            (format!("h {A} a comment"), "h", 22, Verdict::Trusted),
            (format!("h {A}"), "h", 2222, Verdict::Unknown),
            (format!("[h]:2222 {A}"), "h", 2222, Verdict::Trusted),
            (format!("x,10.0.0.? {A}"), "10.0.0.5", 22, Verdict::Trusted),
            (format!("*.lab,!bad.lab {A}"), "bad.lab", 22, Verdict::Unknown),
            (format!("*.lab,!bad.lab {A}"), "good.lab", 22, Verdict::Trusted),
            (format!("*.lab,!Bad.LAB {A}"), "bad.lab", 22, Verdict::Unknown),
            (format!("h {B}"), "h", 22, changed()),
            (format!("h {B}\nh {A}"), "h", 22, Verdict::Trusted),
            (format!("@revoked h {A}\nh {A}"), "h", 22, Verdict::Revoked),
            (format!("@cert-authority h {A}"), "h", 22, Verdict::Unknown),
            (format!("# h {A}\n\ngarbage\nh ssh-ed25519 nonsense"), "h", 22, Verdict::Unknown),
        ] {
            assert_eq!(verdict(&text, address, port), wanted, "{text}");
        }
    }

    #[test]
    fn hashed_names_are_those_of_ssh_keygen() {
        // HMAC-SHA1's well-known example.
        assert_eq!(
            hmac_sha1(b"key", b"The quick brown fox jumps over the lazy dog"),
            hex::decode("de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9").unwrap()
        );
        let salt = BASE64.encode([7; 20]);
        let hash = BASE64.encode(hmac_sha1(&[7; 20], b"[192.0.2.7]:2222"));
        assert_eq!(verdict(&format!("|1|{salt}|{hash} {A}"), "192.0.2.7", 2222), Verdict::Trusted);
        assert_eq!(verdict(&format!("|1|{salt}|{hash} {A}"), "192.0.2.8", 2222), Verdict::Unknown);
    }

    #[test]
    fn new_hosts_are_appended_on_a_line_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".ssh/known_hosts");
        let key = PublicKey::from_openssh(A).unwrap();
        append(&path, "one", &key).unwrap();
        std::fs::write(&path, format!("old {B}")).unwrap();
        append(&path, "[two]:23", &key).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("old {B}\n[two]:23 {A}\n"));
    }

    #[test]
    fn refusals_say_what_to_try() {
        let refusal = refusal(&verdict(&format!("h {B}"), "h", 22), &KnownHosts::OfUser, "h", 22, "SHOWN");
        insta::assert_snapshot!(refusal.reason, @"its host key has changed: it shows SHOWN, known_hosts has SHA256:SvzqXV/w1JLsbntg1WRzuMw9vHAaDQHjIKLlxH0h1EM (ssh-ed25519)");
        insta::assert_snapshot!(refusal.hint, @"if the machine was made anew, forget the old key: ssh-keygen -R 'h'");
    }
}
