use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a bundle was not made or not loaded.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{} is no bundle of quaylab: {why}", file.display())]
    Foreign { file: PathBuf, why: String },
    #[error("{} is a bundle of format {format}, and this quaylab reads format {known}", file.display())]
    Newer { file: PathBuf, format: u32, known: u32 },
    #[error("the bundle {} is damaged: {why}", file.display())]
    Damaged { file: PathBuf, why: String },
    /// What is given or there is not what this can be done with.
    #[error("{what}")]
    Refused { what: String, hint: String },
    #[error("{} changed while it was being packed", file.display())]
    Changed { file: PathBuf },
    #[error("{} has {} MiB free, and {} MiB are needed", folder.display(), free >> 20, needed.div_ceil(1 << 20))]
    Room { folder: PathBuf, free: u64, needed: u64 },
    #[error("stopped")]
    Stopped,
}

impl BundleError {
    pub(super) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{doing} {}", path.display());
        move |source| Self::Io { what, source }
    }

    pub(super) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: hint.into() }
    }

    /// Whether what was given is wrong, and not what happened on the way.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Foreign { .. } | Self::Newer { .. } | Self::Damaged { .. } | Self::Refused { .. }
        )
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Foreign { .. } => "bundles are made by quaylab bundle create".into(),
            Self::Newer { .. } => "load it with the quaylab that made it, or a newer one".into(),
            Self::Damaged { .. } => "nothing of it was loaded; copy it again, or make it anew".into(),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Changed { .. } => "make the bundle again once nothing writes there".into(),
            Self::Room { .. } => "make room, or choose another folder".into(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    "make room, or choose another folder; nothing was left behind".into()
                }
                io::ErrorKind::PermissionDenied => "run as a user who may do this".into(),
                _ => return None,
            },
            Self::Stopped => return None,
        })
    }
}
