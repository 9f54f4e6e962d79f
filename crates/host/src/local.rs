//! Programs on this machine.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use bytes::BytesMut;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::process::{OUTPUT_QUEUE, Output, Process};

/// A child in a process group of its own, which dies with it unless the child has ended by itself.
struct GroupChild(Child);

impl Drop for GroupChild {
    fn drop(&mut self) {
        // `id` is `None` once the child was reaped, so a reused number is never hit.
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Starts a command line with `/bin/sh`.
pub(super) fn start(command: &str) -> std::io::Result<Process> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let (sender, output) = mpsc::channel(OUTPUT_QUEUE);
    let stdin = child.stdin.take();
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(forward(stdout, sender.clone(), Output::Stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(forward(stderr, sender.clone(), Output::Stderr));
    }
    let (guard, dropped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut child = GroupChild(child);
        tokio::select! {
            status = child.0.wait() => {
                let code = status.ok().map_or(255, |s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)));
                let _ = sender.send(Output::Exit(code)).await;
            }
            _ = dropped => {}
        }
    });
    Ok(Process { stdin: stdin.map(|s| Box::new(s) as _), output, guard: Box::new(guard) })
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<Output>,
    wrap: fn(bytes::Bytes) -> Output,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(32 * 1024);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if to.send(wrap(buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
        }
    }
}
