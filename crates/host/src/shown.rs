//! Steps as a person reads them, each in a line, where nothing secret stands in its way.

use std::fmt;

use super::{Content, Step, quote};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteFile { path, content, mode, owner, group, .. } => {
                write!(f, "write {path}{}: {content}", attributes(*mode, owner.as_deref(), group.as_deref()))
            }
            Self::Backup { path, copy } => write!(f, "keep {path} as {copy}"),
            Self::CopyTree { from, path, owner, group } => {
                write!(f, "copy {from} to {path}{}", attributes(None, owner.as_deref(), group.as_deref()))
            }
            Self::MakeDirectory { path, mode, owner, group } => {
                write!(f, "make {path}/{}", attributes(*mode, owner.as_deref(), group.as_deref()))
            }
            Self::SetMode { path, mode } => write!(f, "chmod {mode:04o} {path}"),
            Self::SetModes { path, mode } => write!(f, "chmod -R {mode} {path}"),
            Self::SetOwner { path, owner, group, .. } => {
                write!(f, "chown {} {path}", names(owner.as_deref(), group.as_deref()))
            }
            Self::SetOwners { path, owner, group } => {
                write!(f, "chown -R {} {path}", names(owner.as_deref(), group.as_deref()))
            }
            Self::Remove { path } => write!(f, "remove {path}"),
            Self::Symlink { path, target } => write!(f, "link {path} to {target}"),
            Self::Hardlink { path, target } => write!(f, "hard link {path} to {target}"),
            Self::Touch { path, times, .. } => write!(f, "touch {path} ({times:?})"),
            Self::Run { argv, .. } => {
                let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
                f.write_str(&words.join(" "))
            }
            Self::Script { text, .. } => write!(f, "sh: {text}"),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) | Self::Edited { bytes, .. } => {
                f.write_str(&String::from_utf8_lossy(bytes).escape_debug().to_string())
            }
            Self::File(path) => write!(f, "the controller's {}", path.display()),
            Self::Copied(path) => write!(f, "the target's {path}"),
            Self::Printed { script, .. } => write!(f, "the output of {}", script.text),
        }
    }
}

fn names(owner: Option<&str>, group: Option<&str>) -> String {
    let group = group.map(|group| format!(":{group}")).unwrap_or_default();
    format!("{}{group}", owner.unwrap_or_default())
}

/// In brackets, where there are any.
fn attributes(mode: Option<u32>, owner: Option<&str>, group: Option<&str>) -> String {
    let mode = mode.map(|mode| format!("{mode:04o}"));
    let owners = (owner.is_some() || group.is_some()).then(|| names(owner, group));
    let all: Vec<String> = mode.into_iter().chain(owners).collect();
    if all.is_empty() { String::new() } else { format!(" ({})", all.join(" ")) }
}
