use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::Md5;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sha1::{Digest, Sha1};

use crate::host::Content;
use crate::value::{Value, plain};
use crate::vault::is_encrypted;
use crate::{Controller, FileKind, ModuleError, TaskContext};

/// Files above this size are streamed from the controller's disk.
const IN_MEMORY: u64 = 1024 * 1024;

/// What a file shall hold, with its checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) sha1: String,
    /// Left out for what is streamed: it would take half as long as the transfer.
    pub(super) md5: Option<String>,
    /// The mode of the file on the controller, where it is one.
    pub(super) mode: Option<u32>,
}

/// A file, folder or link below a folder on the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File(Source),
    Link(String),
}

/// What `src` names on the controller.
pub(super) enum Found {
    One(Source),
    /// Relative names, parents before what they hold.
    Tree(Vec<(String, Entry)>),
}

impl Source {
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self {
            size: bytes.len() as u64,
            sha1: hex::encode(Sha1::digest(&bytes)),
            md5: Some(hex::encode(Md5::digest(&bytes))),
            content: Content::Bytes(bytes),
            mode: None,
        }
    }

    pub(super) fn file(path: &Path) -> Result<Self, ModuleError> {
        let meta = fs::metadata(path).map_err(|e| unreadable(path, &e))?;
        let mode = Some(mode_of(&meta));
        if meta.len() <= IN_MEMORY {
            let bytes = fs::read(path).map_err(|e| unreadable(path, &e))?;
            return Ok(Self { mode, ..Self::bytes(bytes) });
        }
        let mut file = fs::File::open(path).map_err(|e| unreadable(path, &e))?;
        let (mut sha1, mut size) = (Sha1::new(), 0);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    sha1.update(&buffer[..n]);
                    size += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(unreadable(path, &e)),
            }
        }
        Ok(Self {
            content: Content::File(path.to_owned()),
            size,
            sha1: hex::encode(sha1.finalize()),
            md5: None,
            mode,
        })
    }

    /// The bytes, where they are in memory.
    pub(super) fn in_memory(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Bytes(bytes) | Content::Edited { bytes, .. } => Some(bytes),
            Content::File(_) | Content::Copied(_) | Content::Printed { .. } => None,
        }
    }
}

/// Finds what `src` names: on the controller's disk, or embedded in the binary. Encrypted files are opened with `decrypt`.
pub(super) async fn find(cx: &TaskContext, src: &str, decrypt: bool) -> Result<Found, ModuleError> {
    let name = src.trim_end_matches('/');
    let Ok(path) = cx.controller.locate(FileKind::Files, name) else {
        let (_, bytes) = cx.controller.load(FileKind::Files, name)?;
        return Ok(Found::One(Source::bytes(bytes)));
    };
    if cx.controller.is_guessing() && !fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= IN_MEMORY)
    {
        return Err(ModuleError::failed(format!("reading {name} takes too long for a guess")));
    }
    let opener = decrypt.then(|| Arc::clone(&cx.controller));
    // Hashing a large file or walking a tree would hold up the other hosts.
    let base = (!src.ends_with('/')).then(|| base_name(name).to_owned());
    tokio::task::spawn_blocking(move || {
        if path.is_dir() {
            let mut entries = Vec::new();
            if let Some(base) = &base {
                entries.push((base.clone(), Entry::Directory));
            }
            walk(&path, base.as_deref().unwrap_or_default(), opener.as_deref(), &mut entries)?;
            Ok(Found::Tree(entries))
        } else {
            opened(&path, opener.as_deref()).map(Found::One)
        }
    })
    .await
    .map_err(|e| ModuleError::failed(format!("reading {name} was interrupted: {e}")))?
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// A file's content, or what is inside of it where it is encrypted.
fn opened(path: &Path, opener: Option<&dyn Controller>) -> Result<Source, ModuleError> {
    let source = Source::file(path)?;
    match (opener, &source.content) {
        (Some(opener), Content::Bytes(bytes)) if is_encrypted(bytes) => {
            Ok(Source { mode: source.mode, ..Source::bytes(opener.open(bytes.clone())?) })
        }
        _ => Ok(source),
    }
}

fn walk(
    folder: &Path,
    name: &str,
    opener: Option<&dyn Controller>,
    into: &mut Vec<(String, Entry)>,
) -> Result<(), ModuleError> {
    let mut children: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .map_err(|e| unreadable(folder, &e))?;
    children.sort();
    for child in children {
        let Some(own) = child.file_name().and_then(|n| n.to_str()) else {
            return Err(ModuleError::failed(format!("{} is not a UTF-8 file name", child.display())));
        };
        let relative = if name.is_empty() { own.to_owned() } else { format!("{name}/{own}") };
        let meta = fs::symlink_metadata(&child).map_err(|e| unreadable(&child, &e))?;
        if meta.is_symlink() && !child.is_file() {
            let target = fs::read_link(&child).map_err(|e| unreadable(&child, &e))?;
            into.push((relative, Entry::Link(target.to_string_lossy().into_owned())));
        } else if meta.is_dir() {
            into.push((relative.clone(), Entry::Directory));
            walk(&child, &relative, opener, into)?;
        } else {
            into.push((relative, Entry::File(opened(&child, opener)?)));
        }
    }
    Ok(())
}

fn mode_of(meta: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    meta.permissions().mode() & 0o7777
}

fn unreadable(path: &Path, error: &io::Error) -> ModuleError {
    ModuleError::failed(format!("cannot read {}: {error}", path.display()))
}

/// A `content` argument as text: mappings and lists become JSON, laid out as Python does it.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(_) | Value::Object(_) => {
            let mut out = Vec::new();
            match value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)) {
                Ok(()) => String::from_utf8_lossy(&out).into_owned(),
                Err(_) => value.to_string(),
            }
        }
        other => plain(other),
    }
}

/// A space after every comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_that_is_not_a_string_is_written_as_python_would() {
        assert_eq!(text_of(&json!({"a": [1, "x"], "b": true})), r#"{"a": [1, "x"], "b": true}"#);
        assert_eq!(text_of(&json!(true)), "True");
        assert_eq!(text_of(&json!("a\n")), "a\n");
    }

    #[test]
    fn sources_know_their_checksums() {
        let source = Source::bytes(b"abc".to_vec());
        assert_eq!(source.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(source.md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
    }
}
