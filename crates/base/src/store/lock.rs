use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// With whom a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// With others who share it.
    Others,
    /// With nobody.
    Nobody,
}

/// A lock on a file, held until this is dropped. The kernel lets go of it when its holder ends, however that is, so
/// there are no locks that nobody holds; on NFS the server does, a while after a machine has gone.
///
/// A file system that has no locks is used without.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
    share: Share,
}

impl FileLock {
    /// Waits for the lock.
    pub fn take(path: &Path, share: Share) -> Result<Self> {
        loop {
            if let Some(lock) = Self::attempt(path, share, true)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock where nobody is in the way.
    pub fn try_take(path: &Path, share: Share) -> Result<Option<Self>> {
        loop {
            let busy = |e: &std::io::Error| e.kind() == ErrorKind::WouldBlock;
            match Self::attempt(path, share, false) {
                Ok(Some(lock)) => return Ok(Some(lock)),
                Ok(None) => {}
                Err(error) if busy(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// `None` when the file was removed by who had the lock before: it locks nothing any more.
    fn attempt(path: &Path, share: Share, wait: bool) -> Result<Option<Self>> {
        let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        // To be locked for one alone over NFS, it must be open for writing.
        options.read(true).append(true).create(true).mode(0o600).custom_flags(no_link);
        let file = options.open(path)?;
        let operation = match (share, wait) {
            (Share::Others, true) => FlockOperation::LockShared,
            (Share::Others, false) => FlockOperation::NonBlockingLockShared,
            (Share::Nobody, true) => FlockOperation::LockExclusive,
            (Share::Nobody, false) => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let ours = file.metadata()?;
        let same = std::fs::symlink_metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        Ok(same.then(|| Self { file, path: path.to_owned(), share }))
    }

    /// The locked file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether nobody else holds it too.
    pub fn is_alone(&self) -> bool {
        self.share == Share::Nobody
    }

    /// Lets go, and removes the file where nobody else holds it.
    pub fn remove(self) {
        if self.share == Share::Nobody || flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // One that cannot be removed is taken again next time.
            let _stays = std::fs::remove_file(&self.path);
        }
    }
}

/// A moment in which no other process, and no other thread, reads and writes the files of a folder.
#[derive(Debug)]
pub struct Turn(Option<FileLock>);

impl Turn {
    const FILE: &'static str = ".quaylab-turn";

    /// Waits for it; it takes others milliseconds. Makes the folder, for its owner only.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        loop {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            match FileLock::take(&folder.join(Self::FILE), Share::Nobody) {
                // The folder went with what was in it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other.map(|lock| Self(Some(lock))),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lock) = self.0.take() {
            lock.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_lock_is_shared_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let take = |share| FileLock::try_take(&path, share).expect("asked");
        let first = take(Share::Others).expect("free");
        let second = take(Share::Others).expect("shared");
        assert!(take(Share::Nobody).is_none());
        drop((first, second));
        let alone = take(Share::Nobody).expect("free again");
        assert!(take(Share::Others).is_none() && take(Share::Nobody).is_none());
        drop(alone);
        let (first, second) = (take(Share::Others).expect("free"), take(Share::Others).expect("shared"));
        first.remove();
        assert!(path.exists(), "another holds it");
        second.remove();
        assert!(!path.exists());
    }

    #[test]
    fn who_waited_for_a_removed_lock_takes_the_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = Turn::in_folder(&folder.path().join("x")).expect("a turn");
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert_eq!(std::fs::read_dir(folder.path().join("x")).expect("there").count(), 0);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).expect("linked");
        assert!(FileLock::try_take(&path, Share::Nobody).is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
