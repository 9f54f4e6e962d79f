use std::path::PathBuf;

use sha1::{Digest as _, Sha1};

use super::Script;

/// What a file shall contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A file on the controller: streamed, never held in memory as a whole.
    File(PathBuf),
    /// What an edit made of the file, which had this digest then. In a folder that others may change, it must have it still: what was read may
    /// have been another file, which they cannot read.
    Edited {
        bytes: Vec<u8>,
        from: Digest,
    },
    /// Another file on the target, with its times.
    Copied(String),
    /// What a script on the target prints; refused where it has another digest.
    Printed {
        script: Script,
        digest: Option<Digest>,
    },
}

impl Content {
    /// What an edit of a text comes to; without one, the file is new.
    pub fn edited(after: String, before: Option<&str>) -> Self {
        let bytes = after.into_bytes();
        match before {
            Some(before) => {
                let from = Digest { algorithm: "sha1".to_owned(), hex: hex::encode(Sha1::digest(before)) };
                Self::Edited { bytes, from }
            }
            None => Self::Bytes(bytes),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

/// The digest that a content must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// As `sha256` in `sha256sum`.
    pub algorithm: String,
    /// In lower case.
    pub hex: String,
}

/// Which thing is meant where a link stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// What the link leads to.
    Followed,
    /// The link.
    Itself,
}

/// Which of a file's times become now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Of a file that is not there, too: it is made.
    Both,
    Modified,
    Accessed,
}

/// One change to a target, as data: planned by a module, carried out by `Target::apply`.
///
/// Modes are the low twelve bits. Every path is absolute.
///
/// No step follows a link of somebody else's to what is not that user's, nor can anybody who may change a folder on the way put
/// something else in the place of what a step works on: see [`reach`](super::reach).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes a temporary file in the same folder, sets owner, group, mode and `SELinux` context, renames. Where that takes the place of a file,
    /// the new one is fsynced first, so that one of them survives a loss of power. A link at the path stays.
    /// Without `mode`, `owner`, `group` a file that was there keeps its own; a new one gets 0666 less the umask, as Ansible does it.
    WriteFile {
        path: String,
        content: Content,
        mode: Option<u32>,
        owner: Option<String>,
        group: Option<String>,
        /// Keep a copy named like Ansible's (`PATH.PID.DATE~`).
        backup: bool,
        /// A command that must accept the new content before it takes its place; `%s` is the temporary file.
        validate: Option<String>,
    },
    /// Copies a file, with owner, mode and times, to a name in its own folder, which takes the name even from a link.
    Backup {
        path: String,
        copy: String,
    },
    /// Another folder on the target with all that is in it, times and modes included; what the folder at the path holds besides stays.
    CopyTree {
        from: String,
        path: String,
        owner: Option<String>,
        group: Option<String>,
    },
    /// One directory, whose parent exists. It is there with its mode and owner, or not at all, where others could reach it.
    MakeDirectory {
        path: String,
        mode: Option<u32>,
        owner: Option<String>,
        group: Option<String>,
    },
    /// Follows links: they have no mode.
    SetMode {
        path: String,
        mode: u32,
    },
    SetOwner {
        path: String,
        owner: Option<String>,
        group: Option<String>,
        link: Link,
    },
    /// Of a folder and all that is in it; links in it are given away themselves.
    SetOwners {
        path: String,
        owner: Option<String>,
        group: Option<String>,
    },
    /// Of a folder and all that is in it but links, in the words of `chmod`.
    SetModes {
        path: String,
        mode: String,
    },
    /// Removes a file, a link or a whole tree; never follows links.
    Remove {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    Hardlink {
        path: String,
        target: String,
    },
    /// Sets the times of a file to now.
    Touch {
        path: String,
        times: Times,
        link: Link,
    },
    /// Runs a program with exactly these arguments; a status other than 0 fails the task.
    Run {
        argv: Vec<String>,
        stdin: Vec<u8>,
        environment: Vec<(String, String)>,
    },
    /// Runs a script of the module's own making; a status other than 0 fails the task.
    Script {
        text: String,
        stdin: Vec<u8>,
    },
}

impl Step {
    /// Writes a file that a module keeps: with this mode, or the one that it has, and nobody's owner in particular.
    pub fn write_file(path: impl Into<String>, content: impl Into<Content>, mode: Option<u32>) -> Self {
        Self::WriteFile {
            path: path.into(),
            content: content.into(),
            mode,
            owner: None,
            group: None,
            backup: false,
            validate: None,
        }
    }
}
