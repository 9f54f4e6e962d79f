use super::process::Process;
use super::{ConnectionSpec, HostError, local};

/// A way to start programs on a host.
#[derive(Debug)]
pub(super) enum Transport {
    Local,
}

impl Transport {
    pub(super) async fn open(_spec: &ConnectionSpec) -> Result<Self, HostError> {
        Ok(Self::Local)
    }

    /// Whether it can still be used.
    pub(super) fn is_open(&self) -> bool {
        true
    }

    pub(super) async fn close(&self) {}

    /// Starts a command line as the login user.
    pub(super) async fn start(&self, spec: &ConnectionSpec, command: &str) -> Result<Process, HostError> {
        local::start(command).map_err(|e| HostError::Unreachable {
            host: spec.name.clone(),
            reason: format!("/bin/sh cannot be started: {e}"),
            hint: None,
        })
    }
}
