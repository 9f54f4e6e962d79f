//! A script in a channel of its own, with a stream as its standard input.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::launch::Launcher;
use super::process::Output;
use super::shell_protocol::body;
use super::{HostError, Reply, Script};

/// How long output may still come after a program's end: something that it left running may hold its streams open.
const AFTER_EXIT: Duration = Duration::from_secs(1);

pub(super) async fn run(
    launcher: &Launcher,
    script: &Script,
    input: &mut (dyn AsyncRead + Send + Unpin),
) -> Result<Reply, HostError> {
    let what = || format!("running a script on {}", launcher.spec.name);
    let text = body(script).map_err(|reason| HostError::Failed { what: what(), reason })?;
    let mut started = launcher.start(&text).await?;
    let stdin = started.process.stdin.take();
    let mut reply = Reply { stdout: started.stdout, stderr: started.stderr, status: 0 };
    let output = &mut started.process.output;
    let collect = async {
        let mut status = None;
        loop {
            let next = if status.is_some() {
                tokio::time::timeout(AFTER_EXIT, output.recv()).await.unwrap_or(None)
            } else {
                output.recv().await
            };
            match next {
                Some(Output::Stdout(bytes)) => reply.stdout.extend_from_slice(&bytes),
                Some(Output::Stderr(bytes)) => reply.stderr.extend_from_slice(&bytes),
                Some(Output::Exit(code)) => status = Some(code),
                None => break,
            }
        }
        reply.status = status.ok_or_else(|| HostError::Lost {
            host: launcher.spec.name.clone(),
            reason: "it closed while a script was running".to_owned(),
        })?;
        Ok(reply)
    };
    let send = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = input.read(&mut buffer).await?;
            let Some(part) = buffer.get(..read).filter(|p| !p.is_empty()) else { break };
            // A program need not read all its input; its status tells whether that was a failure.
            if stdin.write_all(part).await.is_err() {
                return Ok(());
            }
        }
        let _ = stdin.shutdown().await;
        Ok::<(), std::io::Error>(())
    };
    let both = async {
        tokio::pin!(collect, send);
        tokio::select! {
            reply = &mut collect => reply,
            sent = &mut send => {
                sent.map_err(|e| HostError::Failed { what: what(), reason: format!("its input cannot be read: {e}") })?;
                collect.await
            }
        }
    };
    let Some(limit) = script.timeout else { return both.await };
    tokio::time::timeout(limit, both).await.unwrap_or_else(|_| {
        Err(HostError::Timeout {
            host: launcher.spec.name.clone(),
            what: script.text.lines().next().unwrap_or_default().to_owned(),
            seconds: limit.as_secs(),
        })
    })
}
