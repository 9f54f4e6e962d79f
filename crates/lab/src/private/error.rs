use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the private hypervisor is not there.
#[derive(Debug, Error)]
pub enum PrivateError {
    #[error("a private hypervisor needs root: it makes network and mount namespaces")]
    NotRoot,
    #[error("{program} is missing, which the private hypervisor needs")]
    Missing { program: &'static str, package: &'static str },
    #[error("cannot {verb} {}: {source}", path.display())]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} failed: {reason}")]
    Failed { what: String, reason: String },
    #[error("{daemon} of the private hypervisor does not answer after {seconds} s: {log}")]
    Silent { daemon: &'static str, seconds: u64, log: String },
    #[error("cannot join the private hypervisor's {which} namespace: {source}")]
    Join { which: &'static str, source: io::Error },
    #[error("processes of the private hypervisor do not end: {pids}")]
    Alive { pids: String },
}

impl PrivateError {
    pub(super) fn file(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { verb, path: path.to_owned(), source }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot => Some("run quaylab as root, or start the machine's own libvirt daemon".into()),
            Self::Missing { package, .. } => Some(format!("install {package}, or run scripts/setup.sh lab")),
            Self::Failed { .. } => Some(
                "a container without CAP_SYS_ADMIN cannot make namespaces; libvirt_private=false uses the machine's own daemon"
                    .into(),
            ),
            Self::Silent { .. } => Some("the log is in /var/lib/quaylab/private/log".into()),
            Self::Join { .. } => Some("this is done before any thread exists; check that root has CAP_SYS_ADMIN".into()),
            Self::File { .. } => None,
            Self::Alive { .. } => Some("look at them with ps, end them, and run again".into()),
        }
    }
}
