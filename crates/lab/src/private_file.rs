use std::path::Path;

use super::LabError;
use crate::store;

/// Replaces a file that only its owner may read, making the folders above it; never leaves half a file behind.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), LabError> {
    store::write_private(path, content).map_err(LabError::io(format!("writing {}", path.display())))
}

/// Reads a file of the lab's state that may not be there.
pub(super) fn read_private(path: &Path) -> Result<Option<Vec<u8>>, LabError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(LabError::io(format!("reading {}", path.display()))(e)),
    }
}

/// What a file holds that is made once, however many processes ask for it at the same time.
pub(super) fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, LabError>,
) -> Result<Vec<u8>, LabError> {
    if let Some(content) = read_private(path)? {
        return Ok(content);
    }
    let _turn = turn(path.parent().unwrap_or(Path::new(".")))?;
    if let Some(content) = read_private(path)? {
        return Ok(content);
    }
    let content = make()?;
    write_private(path, &content)?;
    Ok(content)
}

/// A moment in which nobody else changes what lies in a folder of the lab's state.
pub(super) fn turn(folder: &Path) -> Result<store::Turn, LabError> {
    store::Turn::in_folder(folder).map_err(LabError::io(format!("locking {}", folder.display())))
}
