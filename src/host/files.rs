use std::path::PathBuf;

/// What a file shall contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A file on the controller: streamed, never held in memory as a whole.
    File(PathBuf),
}

/// One change to a target, as data: planned by a module, carried out by `Target::apply`.
///
/// Modes are the low twelve bits. Every path is absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes a temporary file in the same folder, sets owner, group, mode and `SELinux` context, renames. Where that takes the place of a file,
    /// the new one is fsynced first, so that one of them survives a loss of power.
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
    /// One directory, whose parent exists.
    MakeDirectory {
        path: String,
        mode: Option<u32>,
    },
    SetMode {
        path: String,
        mode: u32,
    },
    SetOwner {
        path: String,
        owner: Option<String>,
        group: Option<String>,
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
    /// Creates an empty file or, on one that is there, sets its times to now.
    Touch {
        path: String,
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
