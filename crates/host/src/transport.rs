use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;

use super::pipe::KILL_PATIENCE;
use super::process::Process;
use super::ssh::Connection;
use super::{ConnectionKind, ConnectionSpec, HostError, local};

/// Programs in channels of their own at once: sshd allows ten sessions a connection, and the shells need some.
const OWN_CHANNELS: usize = 5;

/// A way to start programs on a host.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) way: Way,
    own_channels: Semaphore,
    /// What ends programs that nobody waits for any more.
    pub(super) kills: TaskTracker,
}

#[derive(Debug)]
pub(super) enum Way {
    Local,
    Ssh(Connection),
}

impl Transport {
    pub(super) async fn open(spec: &ConnectionSpec) -> Result<Self, HostError> {
        let way = match spec.kind {
            ConnectionKind::Local => Way::Local,
            ConnectionKind::Ssh => Way::Ssh(Connection::open(spec).await?),
        };
        Ok(Self { way, own_channels: Semaphore::new(OWN_CHANNELS), kills: TaskTracker::new() })
    }

    /// Whether it can still be used.
    pub(super) fn is_open(&self) -> bool {
        match &self.way {
            Way::Local => true,
            Way::Ssh(connection) => connection.is_open(),
        }
    }

    pub(super) async fn close(&self) {
        self.kills.close();
        let _ = tokio::time::timeout(KILL_PATIENCE, self.kills.wait()).await;
        if let Way::Ssh(connection) = &self.way {
            connection.close().await;
        }
    }

    /// Waits until one more program may have a channel of its own.
    pub(super) async fn own_channel(&self) -> Option<SemaphorePermit<'_>> {
        self.own_channels.acquire().await.ok()
    }

    /// Starts a command line as the login user.
    pub(super) async fn start(&self, spec: &ConnectionSpec, command: &str) -> Result<Process, HostError> {
        match &self.way {
            Way::Local => local::start(command).map_err(|e| HostError::Unreachable {
                host: spec.name.clone(),
                reason: format!("/bin/sh cannot be started: {e}"),
                hint: None,
            }),
            Way::Ssh(connection) => connection.start(&spec.name, command).await,
        }
    }
}
