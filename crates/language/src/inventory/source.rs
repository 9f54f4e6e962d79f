//! Where inventories come from: files, directories, lists of hosts.

use std::fs;
use std::path::{Path, PathBuf};

use super::graph::Graph;
use super::{address, files, ini, script, structured};
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::vault::Vault;
use crate::yaml::{self, Kind, Node};

/// Endings of what lies in a directory without being an inventory.
const IGNORED: [&str; 12] =
    [".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry"];

/// Adds what one `-i` names to the graph.
pub(super) fn read(
    source: &str,
    vault: &Vault,
    graph: &mut Graph,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let path = Path::new(source);
    if path.is_dir() {
        return directory(path, vault, graph, warnings);
    }
    if path.exists() {
        return file(path, vault, graph, warnings);
    }
    if source.contains(',') {
        list(source, graph);
        return Ok(());
    }
    let error = Diagnostic::new(format!("there is no inventory {source}"));
    Err(if source.contains('/') {
        error.hint("check the path")
    } else {
        error.hint(format!("check the path, or for a host of that name write a comma after it: -i {source},"))
    })
}

/// The directory beside whose `group_vars/` and `host_vars/` a source stands.
pub(super) fn directory_of(source: &str) -> Option<PathBuf> {
    let path = Path::new(source);
    if path.is_dir() {
        return Some(path.to_path_buf());
    }
    if source.contains(',') && !path.exists() {
        return None;
    }
    Some(match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    })
}

fn list(source: &str, graph: &mut Graph) {
    let origin = Origin::synthetic(format!("<-i {source}>"));
    for name in source.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let parsed = address::parse(name).filter(|a| !a.host.contains('['));
        let (host, port) = parsed.map_or_else(|| (name.to_owned(), None), |a| (a.host, a.port));
        if !graph.hosts.contains_key(&host) {
            let port = port.map(|port| Node::new(Kind::Int(port.into()), &origin));
            graph.add_host(&host, "ungrouped", port.as_ref(), None);
        }
    }
}

fn directory(
    path: &Path,
    vault: &Vault,
    graph: &mut Graph,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let unreadable =
        |error: std::io::Error| Diagnostic::new(format!("cannot read {}: {error}", path.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        names.extend(entry.map_err(unreadable)?.file_name().into_string().ok());
    }
    names.sort();
    for name in names {
        let set_aside = matches!(name.as_str(), "group_vars" | "host_vars" | "vars_plugins");
        if set_aside || name.starts_with('.') || IGNORED.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let inside = path.join(name);
        if inside.is_dir() {
            directory(&inside, vault, graph, warnings)?;
        } else {
            file(&inside, vault, graph, warnings)?;
        }
    }
    Ok(())
}

fn file(
    path: &Path,
    vault: &Vault,
    graph: &mut Graph,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    if is_script(path) {
        return script::read(path, graph, warnings);
    }
    let file = vault.open_source(files::read_text(path)?)?;
    match path.extension().and_then(|ext| ext.to_str()) {
        Some("yml" | "yaml" | "json") => {
            let (document, found) = yaml::load_one(&file)?;
            warnings.extend(found);
            // A file of comments only says nothing.
            if document.is_null() { Ok(()) } else { structured::read(&document, path, graph, warnings) }
        }
        Some("toml") => Err(Diagnostic::new("TOML inventories are not read")
            .at(&Origin::new(&file, 1, 1, 1))
            .hint("write it as INI or YAML")),
        // Without an extension, it is YAML if it can be.
        None => match as_yaml(&file) {
            Some(document) => structured::read(&document, path, graph, warnings),
            None => ini::read(&file, path, graph, warnings),
        },
        Some(_) => ini::read(&file, path, graph, warnings),
    }
}

fn as_yaml(file: &std::sync::Arc<SourceFile>) -> Option<Node> {
    yaml::load_one(file).ok().map(|(document, _)| document).filter(|document| document.as_map().is_some())
}

/// A program: executable, and it says by what it is run or is no text at all.
fn is_script(path: &Path) -> bool {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let executable = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    let mut start = [0; 4];
    let read = |buffer: &mut [u8]| fs::File::open(path).and_then(|mut file| file.read(buffer));
    let length = if executable { read(&mut start).unwrap_or(0) } else { 0 };
    let start = start.get(..length).unwrap_or_default();
    start.starts_with(b"#!") || start.starts_with(b"\x7fELF")
}
