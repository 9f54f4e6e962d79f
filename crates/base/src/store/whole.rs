use std::fs::{File, Permissions};
use std::io::{Result, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How names of files begin that are not written to their end; who is killed meanwhile leaves one.
pub(super) const HALF: &str = ".quaylab-half-";

/// Replaces a file that only its owner may read, making the folders above it. Whoever reads it sees the old text or the
/// new one, also after the machine lost its power.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let folder = folder_of(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    replace(path, content, 0o600)
}

/// The same for a file that everybody may read, in a folder that is there.
pub fn write_open(path: &Path, content: &[u8]) -> Result<()> {
    replace(path, content, 0o644)
}

/// The same for a file that a user names and only its owner shall read, whatever it was before: its folder must be
/// there, and a link stays one.
pub fn write_closed(path: &Path, content: &[u8]) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => write_into(path, content),
        Ok(_) => replace(&path.canonicalize()?, content, 0o600),
        Err(_) => replace(path, content, 0o600),
    }
}

/// The same for a file that a user names: its folder must be there; a file that is there keeps its mode, and a link
/// stays one. What is no regular file (`/dev/stdout`, a pipe) is written to.
pub fn write_named(path: &Path, content: &[u8]) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => write_into(path, content),
        Ok(there) => replace(&path.canonicalize()?, content, there.permissions().mode() & 0o777),
        Err(_) => replace(path, content, 0o600),
    }
}

fn write_into(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(content)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let folder = folder_of(path);
    // Made for its owner alone, and new: a link of that name is not followed.
    let mut file = tempfile::Builder::new().prefix(HALF).tempfile_in(folder)?;
    file.write_all(content)?;
    if mode != 0o600 {
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    settle(folder)
}

/// Puts on disk which files a folder holds. Some file systems cannot do that for a folder, and lose nothing by it.
fn settle(folder: &Path) -> Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

/// What is left in a folder of files that were being written when their writer was killed.
pub fn halves(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let half = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(HALF));
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(half)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn private_files_are_private_with_their_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a/b/secret");
        for text in ["one", "two"] {
            write_private(&file, text.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&file).expect("read"), text);
            assert_eq!((mode(&file), mode(&folder.path().join("a"))), (0o600, 0o700));
        }
        assert_eq!(std::fs::read_dir(file.parent().expect("a folder")).expect("read").count(), 1);
    }

    #[test]
    fn a_file_that_a_user_names_stays_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        write_named(&at("new"), b"x").expect("written");
        assert_eq!(mode(&at("new")), 0o600);
        std::fs::write(at("open"), "old").expect("written");
        std::fs::set_permissions(at("open"), Permissions::from_mode(0o644)).expect("set");
        symlink("open", at("link")).expect("linked");
        write_named(&at("link"), b"new").expect("written");
        assert!(at("link").is_symlink());
        assert_eq!(
            (std::fs::read_to_string(at("open")).expect("read").as_str(), mode(&at("open"))),
            ("new", 0o644)
        );
        write_named(Path::new("/dev/null"), b"gone").expect("written");
        assert!(write_named(&at("none/x"), b"").is_err());
    }
}
