//! A script in a channel of its own, with streams as its standard input and output.

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
    let limit = launcher.spec.limits.reply;
    let too_long = || HostError::TooLong {
        host: launcher.spec.name.clone(),
        what: script.text.lines().next().unwrap_or_default().to_owned(),
        limit,
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
            if reply.stdout.len() + reply.stderr.len() > limit {
                return Err(too_long());
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
    if matches!(&ended, Ok(Err(HostError::TooLong { .. } | HostError::Failed { .. }))) {
        // It goes on there: dropping `killer` ends it.
        return ended.unwrap_or_else(|_| Err(too_long()));
    }
    killer.launcher = None;
    let limit = match ended {
        Ok(Ok(reply)) if find(&reply.stderr, &started.deaf, 0).is_some() => {
            return Err(HostError::NoInput { host: launcher.spec.name.clone() });
        }
        Ok(reply) => return reply,
        Err(limit) => limit,
    };
    kill(launcher, pid, true).await;
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
            let pid = self.pid;
            transport.kills.spawn_on(async move { kill(&launcher, pid, true).await }, &runtime);
        }
    }
}

/// Kills all that a shell has started, and the shell itself where that is wanted. It has `KILL_PATIENCE`, what the host says to it is dropped, and
/// nobody kills it in turn.
pub(super) async fn kill(launcher: &Launcher, shell: u32, itself: bool) {
    let script = Script::new(kill_script(shell, itself));
    let text = if launcher.inline { subshell(&script) } else { body(&script) };
    let work = async {
        let mut started = launcher.start(&text.ok()?).await.ok()?;
        drop(started.process.stdin.take());
        while started.process.output.recv().await.is_some_and(|said| !matches!(said, Output::Exit(_))) {}
        Some(())
    };
    // Where it does not work, who waits for the end of what was to be killed finds out.
    let _killed = tokio::time::timeout(KILL_PATIENCE, work).await;
}

/// A script that ends all that a shell has started, and the shell too where `itself` says so. Processes are asked to end first, so that
/// scripts remove what they have made; what is left after 0.3 s is killed. It looks again in each round, because what ends may just have
/// started something. The shell is not stopped meanwhile: sudo would stop with it.
fn kill_script(shell: u32, itself: bool) -> String {
    let kept = if itself { 0 } else { shell };
    format!(
        r#"seen=
for round in T W W K K K K K; do
  all= alive=' '
  for stat in /proc/[0-9]*/stat; do
    IFS= read -r line 2>/dev/null <"$stat" || continue
    pid=${{line%% *}}; line=${{line##*) }}; state=${{line%% *}}; line=${{line#* }}
    [ "$state" = Z ] || {{ all="$all $pid:${{line%% *}}"; alive="$alive$pid "; }}
  done
  found=' '; more=1
  for pid in {shell} $seen; do case $alive in *" $pid "*) found="$found$pid ";; esac; done
  while [ $more = 1 ]; do
    more=0
    for pair in $all; do
      case $found in *" ${{pair%:*}} "*) continue;; *" ${{pair#*:}} "*) found="$found${{pair%:*}} "; more=1;; esac
    done
  done
  seen=
  for pid in $found; do [ "$pid" = {kept} ] || seen="$seen $pid"; done
  [ "$seen" ] || break
  case $round in T) kill -TERM $seen;; K) kill -KILL $seen;; esac 2>/dev/null
  case $round in [TW]) sleep 0.1 2>/dev/null || sleep 1;; esac
done"#
    )
}
