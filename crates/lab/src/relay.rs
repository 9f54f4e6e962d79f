use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use super::{LabError, RemoteUri};
use crate::host::{Endpoint, Script, Shell, carry, quote};

/// A socket on this machine that leads to a hypervisor's libvirt daemon through quaylab's own SSH connection. Closed when
/// it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    task: AbortHandle,
}

/// Where a relay's socket is found: in a folder that only its owner can enter. Gone when it is dropped; who has connected
/// stays connected.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Opens the way; fails at once, with the reason, where there is none.
    pub(super) async fn open(remote: &RemoteUri, shell: &Shell) -> Result<(Self, Entrance), LabError> {
        let unreachable = |reason: String| LabError::Connection { uri: remote.canonical(), reason };
        let path = daemon_socket(remote, shell).await?;
        let endpoint = Endpoint::Unix { path };
        drop(shell.dial(&endpoint).await.map_err(|e| unreachable(e.to_string()))?);

        let making = "making a socket for the hypervisor's libvirt";
        let folder = tempfile::Builder::new().prefix("quaylab-").tempdir().map_err(LabError::io(making))?;
        let socket = folder.path().join("libvirt");
        let listener = UnixListener::bind(&socket).map_err(LabError::io(making))?;
        let listener = Arc::new(listener);
        let task = tokio::spawn(carry(shell.clone(), endpoint, move || {
            let listener = Arc::clone(&listener);
            async move { Ok(listener.accept().await?.0) }
        }));
        Ok((Self { task: task.abort_handle() }, Entrance { socket, _folder: folder }))
    }
}

/// The first of the daemon's sockets that is there.
async fn daemon_socket(remote: &RemoteUri, shell: &Shell) -> Result<String, LabError> {
    let unreachable = |reason: String| LabError::Connection { uri: remote.canonical(), reason };
    let candidates = remote.sockets();
    let words: Vec<String> = candidates.iter().map(|s| quote(s)).collect();
    let script =
        format!("for s in {}; do if [ -S \"$s\" ]; then echo \"$s\"; exit; fi; done", words.join(" "));
    let reply = shell.run(&Script::new(script)).await?;
    match reply.out().lines().next() {
        Some(socket) => Ok(socket.to_owned()),
        None => Err(unreachable(format!(
            "no libvirt daemon listens there: no such file or directory: {}",
            candidates.join(", ")
        ))),
    }
}
