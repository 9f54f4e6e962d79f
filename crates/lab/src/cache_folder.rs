use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::LabError;

/// How often it is tried to get a lock.
const TRY: Duration = Duration::from_millis(200);

/// How often it is said that a lock is waited for.
const TELL: Duration = Duration::from_secs(10);

/// Who else may write to a folder, as its mode says.
const OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Where images are kept when nothing else is said: the user's cache folder; without a home, a folder of the user's own.
pub fn default_cache_dir() -> PathBuf {
    let of_user = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            home.filter(|home| home.is_absolute()).map(|home| home.join(".cache"))
        })
        .map(|base| base.join("quaylab/images"));
    // A shared folder: nobody else's files are taken from there, see `check_folder`.
    of_user.unwrap_or_else(|| {
        PathBuf::from(format!("/var/tmp/quaylab-{}/images", rustix::process::geteuid().as_raw()))
    })
}

/// Makes a cache folder that only its owner may enter, unless it is there; one that strangers may change is refused.
pub(super) fn prepare_folder(folder: &Path) -> Result<(), LabError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(LabError::io(format!("making {}", folder.display())))?;
    check_folder(folder)
}

/// Refuses a folder whose files a stranger may have put there: it, and those above it, are this user's or root's, and no
/// one else may write there. In a shared folder with the sticky bit (`/tmp`) that holds of what is in it.
pub(super) fn check_folder(folder: &Path) -> Result<(), LabError> {
    let real = folder.canonicalize().map_err(LabError::io(format!("reading {}", folder.display())))?;
    let own = rustix::process::geteuid().as_raw();
    for (depth, there) in real.ancestors().enumerate() {
        let meta = there.symlink_metadata().map_err(LabError::io(format!("reading {}", there.display())))?;
        let shared = meta.mode() & OTHERS != 0 && (depth == 0 || meta.mode() & STICKY == 0);
        let strange = meta.uid() != own && meta.uid() != 0;
        if shared || strange {
            let why = if shared { "anybody may write to it" } else { "it belongs to somebody else" };
            let hint = if shared {
                format!(
                    "`chmod o-w {}`, or choose another folder with XDG_CACHE_HOME or cache_dir",
                    there.display()
                )
            } else {
                "choose another folder with XDG_CACHE_HOME or cache_dir".into()
            };
            return Err(LabError::failed(
                format!("the image cache {}", folder.display()),
                format!("{}: {why}, and images in there could be a stranger's", there.display()),
            )
            .with_hint(hint));
        }
    }
    Ok(())
}

/// A file beside an image that is held while the image is fetched. The system lets go of it when its holder ends, however
/// that ends, so a lock is never left behind.
#[derive(Debug)]
pub(super) struct CacheLock {
    file: File,
    path: PathBuf,
}

impl CacheLock {
    /// Gets the lock, after whoever has it; says meanwhile that it waits.
    pub(super) async fn get(path: &Path, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<Self, LabError> {
        let mut told: Option<Instant> = None;
        loop {
            if let Some(lock) = Self::at_once(path)? {
                return Ok(lock);
            }
            if told.is_none_or(|told| told.elapsed() > TELL) {
                told = Some(Instant::now());
                let holder = std::fs::read_to_string(path).unwrap_or_default();
                let holder =
                    holder.trim().parse::<u32>().map(|pid| format!(" (process {pid})")).unwrap_or_default();
                progress(&format!("another run{holder} fetches this image: waiting for it"));
            }
            tokio::time::sleep(TRY).await;
        }
    }

    /// The lock, unless somebody has it.
    pub(super) fn at_once(path: &Path) -> Result<Option<Self>, LabError> {
        let locking = || format!("locking {}", path.display());
        let mut file = no_follow(File::options().create(true).truncate(false).read(true).write(true))
            .mode(0o600)
            .open(path)
            .map_err(LabError::io(locking()))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(LabError::io(locking())(e.into())),
        }
        // Its holder before may have removed it: a lock that nobody else can see keeps nobody out.
        let (Ok(there), Ok(held)) = (path.symlink_metadata(), file.metadata()) else { return Ok(None) };
        if (there.dev(), there.ino()) != (held.dev(), held.ino()) {
            return Ok(None);
        }
        // For whoever waits; that it cannot be written changes nothing.
        let _said = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Some(Self { file, path: path.to_owned() }))
    }
}

impl Drop for CacheLock {
    fn drop(&mut self) {
        // While it is held: who waits for it sees that it is gone, and makes another.
        let _gone = std::fs::remove_file(&self.path);
        let _released = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock);
    }
}

fn no_follow(options: &mut std::fs::OpenOptions) -> &mut std::fs::OpenOptions {
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
}

/// Opens a file that is written to in parts: one that this user began is gone on with, anything else of its name makes way
/// for a new one.
pub(super) fn open_part(path: &Path) -> std::io::Result<File> {
    let own = rustix::process::geteuid().as_raw();
    match path.symlink_metadata() {
        Ok(meta) if !(meta.is_file() && meta.uid() == own && meta.nlink() == 1) => {
            std::fs::remove_file(path)?;
        }
        _ => {}
    }
    let file = no_follow(File::options().create(true).truncate(false).read(true).write(true)).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.uid() == own && meta.nlink() == 1 {
        return Ok(file);
    }
    Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "it is somebody else's"))
}

/// Replaces a small file beside an image; never leaves half of one behind.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), LabError> {
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    // With the rights that any file of this user's has: the folder's rights say who shares it.
    let mut file = tempfile::Builder::new()
        .prefix(".note-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(LabError::io(writing()))?;
    file.write_all(text.as_bytes()).map_err(LabError::io(writing()))?;
    file.as_file().sync_all().map_err(LabError::io(writing()))?;
    file.persist(path).map(drop).map_err(|e| LabError::io(writing())(e.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_folder_that_strangers_may_change_is_no_cache() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = dir.path().join("a/cache");
        prepare_folder(&cache).expect("a folder of one's own");
        assert_eq!(cache.metadata().expect("there").mode() & 0o777, 0o700);
        for (bits, good) in [(0o755, true), (0o775, true), (0o777, false), (0o1777, false)] {
            mode(&cache, bits);
            assert_eq!(check_folder(&cache).is_ok(), good, "{bits:o}");
        }
        mode(&cache, 0o700);
        let above = cache.parent().expect("above");
        mode(above, 0o777);
        let error = check_folder(&cache).expect_err("refused");
        assert!(error.to_string().contains("anybody may write to it"), "{error}");
        assert!(error.hint().is_some_and(|h| h.contains("chmod o-w")), "{error}");
        mode(above, 0o1777);
        check_folder(&cache).expect("in a shared folder nobody moves another's");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&cache, Some(4242), None).expect("given away");
            assert!(check_folder(&cache).expect_err("refused").to_string().contains("somebody else"));
            // What it leads to counts, not the link.
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&cache, &link).expect("linked");
            assert!(check_folder(&link).is_err());
        }
    }

    #[test]
    fn a_lock_is_one_holders_and_goes_with_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.lock");
        let held = CacheLock::at_once(&path).expect("tried").expect("free");
        assert!(CacheLock::at_once(&path).expect("tried").is_none());
        drop(held);
        assert!(!path.exists());
        // Of a run that was killed the file stays, and nobody holds it.
        std::fs::write(&path, "1\n").expect("written");
        assert!(CacheLock::at_once(&path).expect("tried").is_some());
        // A link does not lead it elsewhere.
        let other = dir.path().join("other");
        std::os::unix::fs::symlink(&other, &path).expect("linked");
        assert!(CacheLock::at_once(&path).is_err() && !other.exists());
    }

    #[test]
    fn a_part_that_somebody_else_put_there_is_not_written_to() {
        let dir = tempfile::tempdir().expect("a folder");
        let (part, other) = (dir.path().join("x.part"), dir.path().join("precious"));
        std::fs::write(&other, "mine").expect("written");
        for link in [true, false] {
            if link {
                std::os::unix::fs::symlink(&other, &part).expect("linked");
            } else {
                std::fs::hard_link(&other, &part).expect("linked");
            }
            let mut file = open_part(&part).expect("made anew");
            file.write_all(b"download").expect("written");
            assert_eq!(std::fs::read(&other).expect("there"), b"mine", "link: {link}");
            assert_eq!(std::fs::read(&part).expect("there"), b"download");
            assert_eq!(open_part(&part).expect("gone on with").metadata().expect("there").len(), 8);
            std::fs::remove_file(&part).expect("gone");
        }
    }
}
