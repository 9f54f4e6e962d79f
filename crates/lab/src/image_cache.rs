use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::cache_folder::CacheLock;
use super::{LabError, Registry};

/// An image in a cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedImage {
    /// Without the key that tells images of one name apart.
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
    /// Seconds since the epoch.
    pub modified: u64,
    /// `sha256:...`, where it is known.
    pub digest: Option<String>,
    /// `false` for a download that broke off.
    pub complete: bool,
}

/// Endings of what lies beside an image, or is none.
const BESIDE: [&str; 4] = [".sha256", ".lock", LABEL, UNPACKED];

/// The ending of what is noted of a download.
const LABEL: &str = ".label";

/// The ending of what a packed image holds.
const UNPACKED: &str = ".unpacked";

/// The images in a folder, by name; none where there is no such folder.
pub fn cached_images(folder: &Path) -> Result<Vec<CachedImage>, LabError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(LabError::io(format!("reading {}", folder.display()))(e)),
    };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        // A link is another name of an image that is in the list.
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        if !meta.is_file() || file.starts_with('.') || BESIDE.iter().any(|end| file.ends_with(end)) {
            continue;
        }
        let path = entry.path();
        let unfinished = file.strip_suffix(".part");
        let complete = unfinished.is_none();
        let bare = unfinished.unwrap_or(&file);
        let name = match bare.split_once('-') {
            Some((key, name)) if key.len() == 12 && key.bytes().all(|b| b.is_ascii_hexdigit()) => name,
            _ => bare,
        };
        all.push(CachedImage {
            name: name.to_owned(),
            bytes: meta.len() + beside(&path, UNPACKED).metadata().map_or(0, |m| m.len()),
            modified: meta
                .modified()
                .ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .map_or(0, |d| d.as_secs()),
            digest: if complete { noted(&path) } else { None },
            complete,
            path,
        });
    }
    all.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    Ok(all)
}

fn note(path: &Path) -> PathBuf {
    beside(path, ".sha256")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The digest in the file beside an image: quaylab's own form, or that of `sha256sum`.
fn noted(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(note(path)).ok()?;
    let word = text.split_whitespace().next()?;
    let hex = word.strip_prefix("sha256:").unwrap_or(word);
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| format!("sha256:{}", hex.to_ascii_lowercase()))
}

/// The digest that is noted of an image in a cache folder, `sha256:...`.
pub fn noted_digest(image: &Path) -> Option<String> {
    noted(&as_it_came(image))
}

/// Notes the digest (`sha256:...`) of an image that was put into a cache folder, as it is noted of one that was fetched.
pub fn note_digest(image: &Path, digest: &str) -> Result<(), LabError> {
    let note = note(&as_it_came(image));
    std::fs::write(&note, format!("{digest}\n")).map_err(LabError::io(format!("writing {}", note.display())))
}

/// The image's name before it was unpacked: notes are kept under that.
fn as_it_came(image: &Path) -> PathBuf {
    let name = image.as_os_str().to_string_lossy();
    name.strip_suffix(UNPACKED).map_or_else(|| image.to_owned(), PathBuf::from)
}

impl CachedImage {
    /// The lock of whoever fetches it just now; `None` where somebody does.
    fn lock(&self) -> Result<Option<CacheLock>, LabError> {
        let name = self.path.as_os_str().to_string_lossy();
        let bare = name.strip_suffix(".part").unwrap_or(&name);
        CacheLock::at_once(&beside(Path::new(bare.strip_suffix(UNPACKED).unwrap_or(bare)), ".lock"))
    }

    /// Whether a run fetches it just now.
    pub fn is_being_fetched(&self) -> bool {
        !self.complete && matches!(self.lock(), Ok(None))
    }

    /// Removes it, with what lies beside it and the links that lead to it; not under a run that fetches it.
    pub fn remove(&self) -> Result<(), LabError> {
        let Some(_mine) = self.lock()? else {
            return Err(LabError::failed(
                format!("removing {}", self.path.display()),
                "another run fetches it just now",
            )
            .with_hint("wait for it, or stop it, and try again"));
        };
        let links =
            self.path.parent().into_iter().flat_map(std::fs::read_dir).flatten().flatten().map(|e| e.path());
        let dead: Vec<PathBuf> = links
            .filter(|link| {
                let to = std::fs::read_link(link).ok();
                to.is_some_and(|to| {
                    to.file_name() == self.path.file_name() || to.file_name() == note(&self.path).file_name()
                })
            })
            .collect();
        std::fs::remove_file(&self.path)
            .map_err(LabError::io(format!("removing {}", self.path.display())))?;
        for more in dead.into_iter().chain([
            note(&self.path),
            beside(&self.path, UNPACKED),
            beside(&self.path, LABEL),
        ]) {
            let _there_or_not = std::fs::remove_file(more);
        }
        Ok(())
    }
}

/// Which labs were made from which image, by digest, as the state folders of all labs say.
pub fn users_of_images(labs: &Path) -> Result<BTreeMap<String, Vec<String>>, LabError> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(labs) else { return Ok(users) };
    for lab in entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
        let name = lab.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        for digest in Registry::new(&lab).all()?.into_iter().filter_map(|made| made.source) {
            let labs = users.entry(digest).or_default();
            if !labs.contains(&name) {
                labs.push(name.clone());
            }
        }
    }
    for labs in users.values_mut() {
        labs.sort();
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::super::{Made, MadeKind};
    use super::*;

    #[test]
    fn a_cache_is_read_and_swept() {
        let cache = tempfile::tempdir().expect("a folder");
        let at = |name: &str| cache.path().join(name);
        let hex = "a".repeat(64);
        std::fs::write(at("0123456789ab-disk.qcow2"), [0; 10]).expect("written");
        std::fs::write(at("0123456789ab-disk.qcow2.sha256"), format!("sha256:{hex}\n")).expect("written");
        std::fs::write(at("fedcba987654-late.img.part"), [0; 3]).expect("written");
        std::fs::write(at("fedcba987654-late.img.part.label"), "\"tag\"").expect("written");
        std::fs::write(at("debian-12-0123.qcow2"), [0; 7]).expect("written");
        std::fs::write(at("debian-12-0123.qcow2.sha256"), format!("{hex}  debian-12-0123.qcow2\n"))
            .expect("written");
        std::os::unix::fs::symlink("debian-12-0123.qcow2", at("debian-12.qcow2")).expect("linked");
        let all = cached_images(cache.path()).expect("read");
        let seen: Vec<_> =
            all.iter().map(|i| (i.name.as_str(), i.bytes, i.digest.is_some(), i.complete)).collect();
        assert_eq!(
            seen,
            [
                ("debian-12-0123.qcow2", 7, true, true),
                ("disk.qcow2", 10, true, true),
                ("late.img", 3, false, false)
            ]
        );
        // What a run fetches just now is left to it.
        let run = CacheLock::at_once(&at("fedcba987654-late.img.lock")).expect("tried").expect("free");
        let busy: Vec<_> = all.iter().map(CachedImage::is_being_fetched).collect();
        assert_eq!(busy, [false, false, true]);
        assert!(all[2].remove().expect_err("refused").to_string().contains("another run fetches it"));
        drop(run);
        for image in &all {
            assert!(!image.is_being_fetched());
            image.remove().expect("removed");
        }
        assert_eq!(std::fs::read_dir(cache.path()).expect("read").count(), 0);
        assert_eq!(cached_images(&at("no such folder")).expect("none"), []);
    }

    #[test]
    fn labs_say_what_they_stand_on() {
        let labs = tempfile::tempdir().expect("a folder");
        for lab in ["b", "a"] {
            let made = Made {
                uri: "u".into(),
                kind: MadeKind::Volume,
                name: "p/v".into(),
                source: Some("sha256:x".into()),
                format: None,
            };
            Registry::new(&labs.path().join(lab)).put(made).expect("written");
        }
        let users = users_of_images(labs.path()).expect("read");
        assert_eq!(users.get("sha256:x").map(Vec::as_slice), Some(&["a".to_owned(), "b".to_owned()][..]));
    }
}
