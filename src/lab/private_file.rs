use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::LabError;

/// How names of files begin that are not written to their end; who is killed meanwhile leaves one.
pub(super) const HALF: &str = ".quaylab-half-";

/// Replaces a file that only its owner may read, making the folders above it; never leaves half a file behind.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), LabError> {
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(LabError::io(writing()))?;
    let write = || {
        let mut file = tempfile::Builder::new().prefix(HALF).tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(LabError::io(writing()))
}
