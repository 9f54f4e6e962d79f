use crate::host::{Explained, Explanation};
use thiserror::Error;

/// Why the lab could not be brought to its declared state.
#[derive(Debug, Error)]
pub enum LabError {
    #[error("this quaylab was built without libvirt")]
    NotBuilt,
    #[error("cannot reach libvirt at {uri}: {reason}")]
    Connection { uri: String, reason: String },
    #[error("libvirt at {uri} did not answer within {} s", waited.as_secs())]
    Silent { uri: String, waited: std::time::Duration },
    /// libvirt refused or failed.
    #[error("{what}: {reason}")]
    Libvirt { what: String, reason: String },
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// What is there is not what was declared, and changing it is not ours to do.
    #[error("{0}")]
    Conflict(String),
    #[error("{what}: {reason}")]
    Failed { what: String, reason: String, hint: Option<String> },
    /// The declaration makes no sense.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Wait(Box<super::WaitFailure>),
    /// The hypervisor itself could not be asked.
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
}

impl LabError {
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub fn failed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), reason: reason.into(), hint: None }
    }

    #[must_use]
    pub fn with_hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Failed { what, reason, .. } | Self::Libvirt { what, reason } => {
                Self::Failed { what, reason, hint: Some(text.into()) }
            }
            other => other,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotBuilt => Some("build it with the cargo feature `libvirt`".into()),
            Self::Connection { uri, reason } => connection_hint(uri, reason),
            Self::Silent { .. } => Some(
                "its daemon hangs, or the machine is overloaded: `systemctl status libvirtd` there, and whether `virsh list` answers".into(),
            ),
            Self::Libvirt { reason, .. } => libvirt_hint(reason),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Wait(failure) => Some(failure.hint()),
            Self::Host(error) => error.hint().map(str::to_owned),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as a user who may do this".into())
            }
            Self::Io { .. } | Self::Conflict(_) | Self::Invalid(_) => None,
        }
    }
}

fn connection_hint(uri: &str, reason: &str) -> Option<String> {
    let has = |text: &str| reason.to_ascii_lowercase().contains(text);
    Some(if has("permission denied") && uri.contains("+ssh") {
        "the daemon's socket is only for root and the group libvirt there: log in as root, or add the login user to that group".into()
    } else if has("permission denied") || has("authentication unavailable") || has("polkit") {
        "add the user to the group libvirt (`usermod -aG libvirt USER`, then log in again)".into()
    } else if has("no such file") || has("connection refused") {
        "libvirtd is not running: install libvirt-daemon-system (libvirt on RHEL) and `systemctl start libvirtd`"
            .into()
    } else if has("host key verification") {
        "add the hypervisor to known_hosts: `ssh` to it once".into()
    } else if has("could not resolve") || has("no route") || has("timed out") {
        format!("is the hypervisor in {uri} up, and is its name right?")
    } else {
        return None;
    })
}

fn libvirt_hint(reason: &str) -> Option<String> {
    let has = |text: &str| reason.to_ascii_lowercase().contains(text);
    Some(if has("already in use by interface") || has("network is already in use") {
        "another interface has an address in this subnet: choose another ip_address".into()
    } else if has("permission denied") {
        "the user that runs qemu must be able to read the image and pass through every folder above it; look for AppArmor or SELinux denials in the hypervisor's log".into()
    } else if has("no space left") || has("insufficient free space") {
        "the pool is full: choose another pool or smaller disks".into()
    } else if has("cannot allocate memory") {
        "the hypervisor lacks memory for this VM: lower `ram`".into()
    } else {
        return None;
    })
}

impl Explained for LabError {
    fn explain(self) -> Explanation {
        match self {
            Self::Host(error) => Explanation::Host(error),
            error => Explanation::Failed { message: error.to_string(), hint: error.hint() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_errors_say_what_to_try() {
        for (uri, reason, part) in [
            (
                "qemu:///system",
                "Failed to connect socket to '/x': No such file or directory",
                "libvirtd is not running",
            ),
            ("qemu:///system", "Failed to connect socket to '/x': Permission denied", "group libvirt"),
            ("qemu+ssh://a@b/system", "connecting to /run/x: Permission denied", "group libvirt"),
            ("qemu+ssh://a@b/system", "Host key verification failed", "known_hosts"),
        ] {
            let hint = LabError::Connection { uri: uri.into(), reason: reason.into() }.hint();
            assert!(hint.as_deref().is_some_and(|h| h.contains(part)), "{reason}: {hint:?}");
        }
    }
}
