use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use crate::diag::SourceFile;

static ROLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../roles");
static PLAYBOOKS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../playbooks");

/// How embedded content is named where a path would stand.
const EMBEDDED: &str = "<quaylab>";

/// A folder with playbooks, roles or their files: on disk or inside the binary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Folder {
    Disk(PathBuf),
    /// Relative to the product's own content: `roles/redis`, `playbooks`.
    Embedded(String),
}

impl Folder {
    /// The embedded folder that is shown by this name, as `role_path` shows it.
    pub fn embedded(shown: &str) -> Option<Self> {
        let inside = shown.strip_prefix(EMBEDDED)?.strip_prefix('/')?;
        Some(Self::Embedded(inside.to_owned()))
    }

    /// The folder of this name inside this one, whether it exists or not.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Disk(path) => Self::Disk(path.join(name)),
            Self::Embedded(path) => Self::Embedded(format!("{path}/{name}")),
        }
    }

    pub fn exists(&self) -> bool {
        match self {
            Self::Disk(path) => path.is_dir(),
            Self::Embedded(path) => embedded_dir(path).is_some(),
        }
    }

    /// Reads a file; `None` where there is none of that name.
    pub fn read(&self, name: &str) -> Option<io::Result<Vec<u8>>> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                path.is_file().then(|| std::fs::read(path))
            }
            Self::Embedded(folder) => {
                embedded_file(&format!("{folder}/{name}")).map(|bytes| Ok(bytes.to_vec()))
            }
        }
    }

    /// Reads a text file as a source whose places can be shown.
    pub fn source(&self, name: &str) -> Option<io::Result<Arc<SourceFile>>> {
        let bytes = self.read(name)?;
        Some(bytes.and_then(|bytes| {
            String::from_utf8(bytes).map(|text| SourceFile::new(self.describe(name), text)).map_err(|e| {
                let good = e.utf8_error().valid_up_to();
                let line = e.as_bytes().iter().take(good).filter(|b| **b == b'\n').count() + 1;
                io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
            })
        }))
    }

    /// The file's name as messages show it.
    pub fn describe(&self, name: &str) -> String {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                // Short where the user stands beside it.
                let here = std::env::current_dir().unwrap_or_default();
                path.strip_prefix(here).unwrap_or(&path).display().to_string()
            }
            Self::Embedded(folder) => format!("{EMBEDDED}/{folder}/{name}"),
        }
    }

    /// The folder's own name as messages and `role_path` show it.
    pub fn name(&self) -> String {
        match self {
            Self::Disk(folder) => folder.display().to_string(),
            Self::Embedded(folder) => format!("{EMBEDDED}/{folder}"),
        }
    }

    /// The same folder under a name that does not depend on where the program was started.
    #[must_use]
    pub fn whole(&self) -> Self {
        match self {
            Self::Disk(path) => Self::Disk(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
            Self::Embedded(_) => self.clone(),
        }
    }

    /// The path on disk; `None` for embedded content.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Disk(path) => Some(path),
            Self::Embedded(_) => None,
        }
    }
}

fn relative(path: &str) -> Option<(&'static Dir<'static>, String)> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let (root, rest) = parts.split_first()?;
    let dir = match *root {
        "roles" => &ROLES,
        "playbooks" => &PLAYBOOKS,
        _ => return None,
    };
    Some((dir, rest.join("/")))
}

fn embedded_file(path: &str) -> Option<&'static [u8]> {
    let (dir, rest) = relative(path)?;
    dir.get_file(rest).map(include_dir::File::contents)
}

fn embedded_dir(path: &str) -> Option<&'static Dir<'static>> {
    let (dir, rest) = relative(path)?;
    if rest.is_empty() { Some(dir) } else { dir.get_dir(rest) }
}
