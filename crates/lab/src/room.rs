use std::path::Path;

use super::LabError;

/// What always stays free of a file system that images are written to.
const KEPT: u64 = 512 << 20;

/// Of a small file system: one part in so many.
const KEPT_PART: u64 = 20;

/// How much may be written to a folder's file system; `None` where nobody can say.
pub(super) fn room_in(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|above| above.is_dir())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(bytes(stat.f_bavail).saturating_sub(KEPT.min(bytes(stat.f_blocks) / KEPT_PART)))
}

/// Ends what fills a file system before it is full: other programs need room, too.
pub(super) fn check_room(doing: &str, folder: &Path) -> Result<(), LabError> {
    if room_in(folder) == Some(0) {
        return Err(LabError::failed(doing, format!("the file system of {} is all but full", folder.display()))
            .with_hint("is the image as large as it should be? make room (quaylab image prune), or choose another folder with XDG_CACHE_HOME or cache_dir"));
    }
    Ok(())
}
