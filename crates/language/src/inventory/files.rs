//! `group_vars/` and `host_vars/`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::layers::VarMap;
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::vars::{Vars, raw};
use crate::vault::Vault;
use crate::yaml::{self, Kind, Node};

const EXTENSIONS: [&str; 3] = [".yml", ".yaml", ".json"];

type Read = Result<Arc<Vars>, Diagnostic>;

/// The `group_vars/` and `host_vars/` beside a playbook. Each file is read when somebody asks for it, and once.
#[derive(Debug)]
pub struct VarsBeside {
    dir: PathBuf,
    /// By folder and name.
    read: Mutex<HashMap<(&'static str, String), Read>>,
}

impl VarsBeside {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), read: Mutex::default() }
    }

    /// One layer a group, in the order given, and the host's own.
    pub fn layers(
        &self,
        groups: &[String],
        host: &str,
        vault: &Vault,
    ) -> Result<(Vec<Arc<Vars>>, Arc<Vars>), Diagnostic> {
        let groups = groups.iter().map(|group| self.of("group_vars", group, vault));
        Ok((groups.collect::<Result<_, _>>()?, self.of("host_vars", host, vault)?))
    }

    fn of(&self, folder: &'static str, name: &str, vault: &Vault) -> Read {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let vars = vars_of(&self.dir.join(folder), name, vault, &mut Vec::new())?;
            Ok(Arc::new(raw(&vars)))
        };
        known.entry((folder, name.to_owned())).or_insert_with(read).clone()
    }
}

/// What the files of one name in a directory say, later files over earlier ones.
pub(super) fn vars_of(
    dir: &Path,
    name: &str,
    vault: &Vault,
    warnings: &mut Vec<Diagnostic>,
) -> Result<VarMap, Diagnostic> {
    let mut vars = VarMap::new();
    for path in files_of(dir, name)? {
        vars.extend(read_vars(&path, vault, warnings)?);
    }
    Ok(vars)
}

/// The names for which a directory has files.
pub(super) fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| {
            EXTENSIONS.iter().find_map(|ext| name.strip_suffix(ext)).map(str::to_owned).unwrap_or(name)
        })
        .collect()
}

/// A directory or a file of that name, or else a file with the first fitting extension.
fn files_of(dir: &Path, name: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    // A host may be called like a path, and would lead out of the directory.
    if name.is_empty() || name.contains('/') || name == ".." || name == "." {
        return Ok(Vec::new());
    }
    for extension in std::iter::once("").chain(EXTENSIONS) {
        let path = dir.join(format!("{name}{extension}"));
        if path.is_dir() {
            let mut found = Vec::new();
            inside(&path, &mut found)?;
            return Ok(found);
        }
        if path.exists() {
            return Ok(vec![path]);
        }
    }
    Ok(Vec::new())
}

/// The variable files of a directory, sorted; hidden files and backups are left out.
fn inside(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Diagnostic> {
    let unreadable =
        |error: std::io::Error| Diagnostic::new(format!("cannot read {}: {error}", dir.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        names.extend(entry.map_err(unreadable)?.file_name().into_string().ok());
    }
    names.sort();
    for name in names {
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = dir.join(&name);
        let bare = path.extension().is_none();
        if path.is_dir() {
            if bare {
                inside(&path, found)?;
            }
        } else if bare || EXTENSIONS.iter().any(|ext| name.ends_with(ext)) {
            found.push(path);
        }
    }
    Ok(())
}

/// A file of variables: one mapping, or nothing.
pub(super) fn read_vars(
    path: &Path,
    vault: &Vault,
    warnings: &mut Vec<Diagnostic>,
) -> Result<VarMap, Diagnostic> {
    let file = vault.open_source(read_text(path)?)?;
    let (document, found) = yaml::load_one(&file)?;
    warnings.extend(found);
    to_vars(&document)
}

/// A mapping as variables.
pub(super) fn to_vars(document: &Node) -> Result<VarMap, Diagnostic> {
    match &document.kind {
        Kind::Null => Ok(VarMap::new()),
        Kind::Map(map) => Ok(map.iter().map(|(key, value)| (key.key_text(), value.clone())).collect()),
        _ => Err(Diagnostic::new(format!("variables are a mapping, not {}", document.type_name()))
            .at(&document.origin)
            .hint("write name: value, one a line")),
    }
}

/// A file's text, with a clear word about what keeps it from being read.
pub(super) fn read_text(path: &Path) -> Result<Arc<SourceFile>, Diagnostic> {
    let shown = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Diagnostic::new(format!("there is no file {shown}")),
        _ => Diagnostic::new(format!("cannot read {shown}: {error}")),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    // Old comments in other encodings do no harm.
    let damaged = text.lines().zip(1..).find(|(line, _)| {
        line.contains(char::REPLACEMENT_CHARACTER) && !line.trim_start().starts_with(['#', ';'])
    });
    let file = SourceFile::new(shown, text.as_ref());
    match damaged {
        Some((line, number)) if std::str::from_utf8(&bytes).is_err() => {
            let before = line.chars().take_while(|c| *c != char::REPLACEMENT_CHARACTER).count();
            let column = u32::try_from(before + 1).unwrap_or(1);
            Err(Diagnostic::new("this is not UTF-8")
                .at(&Origin::new(&file, number, column, 1))
                .hint("save the file as UTF-8"))
        }
        _ => Ok(file),
    }
}
