//! What a person wrote, taken for what it has to be.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Folder, Keywords};
use crate::diag::{Diagnostic, SourceFile, closest};
use crate::template::{Templar, TemplarOptions};
use crate::value::plain;
use crate::vars::{Layers, Scope};
use crate::vault::Vault;
use crate::yaml::{Mapping, Node};

pub(super) fn shared_keywords(map: &Mapping, known: &[&str], what: &str) -> Result<Keywords, Diagnostic> {
    let mut keywords = Keywords::default();
    for (key, value) in map.iter() {
        let name = key.key_text();
        if !known.contains(&name.as_str()) && !keywords.take(&name, value)? {
            let near = closest(&name, known.iter().chain(Keywords::NAMES).copied());
            return Err(Diagnostic::new(format!("{name:?} is not a keyword of {what}"))
                .at(&key.origin)
                .hint_opt(near.map(|n| format!("did you mean {n}?"))));
        }
    }
    Ok(keywords)
}

pub(super) fn mapping<'a>(node: &'a Node, what: &str) -> Result<&'a Mapping, Diagnostic> {
    node.as_map().ok_or_else(|| {
        Diagnostic::new(format!("{what} must be a mapping, not {}", node.type_name())).at(&node.origin)
    })
}

/// A text that has to be known before anything runs.
pub(super) fn known_text(node: &Node, what: &str, known: &Layers) -> Result<String, Diagnostic> {
    match node.as_str() {
        Some(text) if text.contains("{{") => {
            let scope: Arc<dyn Scope> = Arc::new(known.clone());
            let value = Templar::new(TemplarOptions::default()).render(node, &scope).map_err(|e| {
                e.note(format!(
                    "{what} is needed while the playbook is read, before there is a host: only variables of the \
                     play, of roles, blocks and the task itself, and -e are known"
                ))
                .hint("use include_tasks or include_role, which are resolved while the play runs")
            })?;
            Ok(plain(&value.unwrap_or_default()))
        }
        Some(text) => Ok(text.to_owned()),
        None => {
            Err(Diagnostic::new(format!("{what} must be a string, not {}", node.type_name()))
                .at(&node.origin))
        }
    }
}

/// Reads a text file, opened where it is encrypted.
pub(super) fn source(folder: &Folder, file: &str, vault: &Vault) -> Result<Arc<SourceFile>, Diagnostic> {
    let folder = if file.starts_with('/') { Folder::Disk(PathBuf::from("/")) } else { folder.clone() };
    let file = file.trim_start_matches('/');
    match folder.source(file) {
        Some(Ok(source)) => vault.open_source(source),
        Some(Err(e)) => Err(Diagnostic::new(format!("cannot read {}: {e}", folder.describe(file)))),
        None => Err(Diagnostic::new(format!("there is no file {}", folder.describe(file)))),
    }
}

/// The folder of a file that is named relative to another folder.
pub(super) fn parent(folder: &Folder, file: &str) -> Folder {
    match file.rsplit_once('/') {
        Some(("", _)) => Folder::Disk(PathBuf::from("/")),
        Some((path, _)) if file.starts_with('/') => Folder::Disk(PathBuf::from(path)),
        Some((path, _)) => folder.join(path),
        None => folder.clone(),
    }
}
