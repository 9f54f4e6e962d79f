//! A script in a channel of its own, with streams as its standard input and output.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::launch::Launcher;
use super::process::Output;
use super::shell_protocol::{body, find, subshell};
use super::{HostError, Reply, Script};

/// How long a kill may take.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How long output may still come after a program's end: something that it left running may hold its streams open.
const AFTER_EXIT: Duration = Duration::from_secs(1);

/// Without input, and with the output in the reply.
pub(super) async fn alone(launcher: &Launcher, script: &Script) -> Result<Reply, HostError> {
    run(launcher, script, &mut tokio::io::empty(), None).await
}

/// Where a script's standard output goes; `None`: into the reply.
pub(super) type To<'a> = Option<&'a mut (dyn AsyncWrite + Send + Unpin)>;

pub(super) async fn run(
    launcher: &Launcher,
    script: &Script,
    input: &mut (dyn AsyncRead + Send + Unpin),
    mut to: To<'_>,
) -> Result<Reply, HostError> {
    let what = || format!("running a script on {}", launcher.spec.name);
    let text = if launcher.inline { subshell(script) } else { body(script) };
    let text = text.map_err(|reason| HostError::Failed { what: what(), reason })?;
    let mut started = launcher.start(&text).await?;
    let pid = started.pid;
    let mut killer = KillOnDrop { launcher: Some(launcher.clone()), pid };
    let stdin = started.process.stdin.take();
    let mut reply = Reply { stdout: started.stdout, stderr: started.stderr, status: 0 };
    let output = &mut started.process.output;
    let mut status = started.status;
    let unwritable = |e: std::io::Error| HostError::Failed {
        what: what(),
        reason: format!("its output cannot be written: {e}"),
    };
    let collect = async {
        if let Some(to) = &mut to {
            to.write_all(&std::mem::take(&mut reply.stdout)).await.map_err(unwritable)?;
        }
        loop {
            // Whoever takes a stream wants all of it.
            let next = if status.is_some() && to.is_none() {
                tokio::time::timeout(AFTER_EXIT, output.recv()).await.unwrap_or(None)
            } else {
                output.recv().await
            };
            match next {
                Some(Output::Stdout(bytes)) => match &mut to {
                    Some(to) => to.write_all(&bytes).await.map_err(unwritable)?,
                    None => reply.stdout.extend_from_slice(&bytes),
                },
                Some(Output::Stderr(bytes)) => reply.stderr.extend_from_slice(&bytes),
                Some(Output::Exit(code)) => status = Some(code),
                None => break,
            }
        }
        reply.status = status.ok_or_else(|| HostError::Lost {
            host: launcher.spec.name.clone(),
            reason: "it closed while a script was running".to_owned(),
        })?;
        if let Some(to) = &mut to {
            to.flush().await.map_err(unwritable)?;
        }
        Ok(reply)
    };
    let feed = async {
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
        tokio::pin!(collect, feed);
        tokio::select! {
            reply = &mut collect => reply,
            result = &mut feed => {
                result.map_err(|e| HostError::Failed { what: what(), reason: format!("its input cannot be read: {e}") })?;
                collect.await
            }
        }
    };
    let ended = match script.timeout {
        None => Ok(both.await),
        Some(limit) => tokio::time::timeout(limit, both).await.map_err(|_| limit),
    };
    killer.launcher = None;
    let limit = match ended {
        Ok(Ok(reply)) if find(&reply.stderr, &started.deaf, 0).is_some() => {
            return Err(HostError::NoInput { host: launcher.spec.name.clone() });
        }
        Ok(reply) => return reply,
        Err(limit) => limit,
    };
    let ending = Script::new(kill_script(pid, true));
    // Boxed, since it is this function once more; a killer has no time limit of its own.
    let kill = Box::pin(alone(launcher, &ending));
    let _ = tokio::time::timeout(KILL_PATIENCE, kill).await;
    Err(HostError::Timeout {
        host: launcher.spec.name.clone(),
        what: script.text.lines().next().unwrap_or_default().to_owned(),
        seconds: limit.as_secs(),
    })
}

/// Kills a script whose caller has stopped waiting: far away, the end of its channel alone would not end it.
struct KillOnDrop {
    /// `None` once the script has ended.
    launcher: Option<Launcher>,
    pid: u32,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let (Some(launcher), Ok(runtime)) = (self.launcher.take(), tokio::runtime::Handle::try_current()) {
            let transport = Arc::clone(&launcher.transport);
            transport.kills.spawn_on(run_alone(launcher, kill_script(self.pid, true)), &runtime);
        }
    }
}

/// Boxed, so that a future that kills does not hold itself.
fn run_alone(launcher: Launcher, text: String) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let _ = alone(&launcher, &Script::new(text)).await;
    })
}

/// Kills all that a shell has started, and the shell itself where that is wanted.
///
/// Rounds, because what is killed may just have started something. The shell is not stopped meanwhile: sudo would stop with it.
pub(super) fn kill_script(shell: u32, itself: bool) -> String {
    let end = if itself { format!("\nkill -KILL {shell} 2>/dev/null") } else { String::new() };
    format!(
        r#"for round in 1 2 3 4 5; do
  all=
  for stat in /proc/[0-9]*/stat; do
    IFS= read -r line 2>/dev/null <"$stat" || continue
    pid=${{line%% *}}; line=${{line##*) }}; state=${{line%% *}}; line=${{line#* }}
    [ "$state" = Z ] || all="$all $pid:${{line%% *}}"
  done
  found=' {shell} '; more=1
  while [ $more = 1 ]; do
    more=0
    for pair in $all; do
      case $found in *" ${{pair%:*}} "*) continue;; *" ${{pair#*:}} "*) found="$found${{pair%:*}} "; more=1;; esac
    done
  done
  [ "$found" != ' {shell} ' ] || break
  for pid in $found; do [ "$pid" = {shell} ] || kill -KILL "$pid"; done 2>/dev/null
done{end}"#
    )
}
