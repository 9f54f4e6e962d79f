//! A persistent `sh`: requests go in, replies come out in the same order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::launch::{Launcher, NO_INPUT, Started};
use super::pipe::{self, KILL_PATIENCE, kill_script};
use super::process::Output;
use super::shell_protocol::{Frame, FrameReader, Nonce, request};
use super::target::Counters;
use super::{HostError, Reply, Script};

/// Requests that are sent before the first of them is answered.
const IN_FLIGHT: usize = 256;

/// How long a shell may take to end after its input has ended.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A running shell; dropping it ends the shell.
#[derive(Debug)]
pub(super) struct Session {
    requests: mpsc::UnboundedSender<Request>,
    server: JoinHandle<()>,
}

struct Request {
    script: Script,
    /// It only reads, so nobody minds if it goes on when it is not waited for any more.
    observes: bool,
    answer: oneshot::Sender<Result<Reply, HostError>>,
}

struct Pending {
    id: u64,
    observes: bool,
    answer: oneshot::Sender<Result<Reply, HostError>>,
    /// The script's first line, for messages.
    what: String,
    timeout: Option<Duration>,
}

/// How far a request that took too long has been dealt with.
enum Deadline {
    None,
    /// The head request is killed at this time.
    At(Instant),
    /// It was killed; the shell is given up at this time.
    Killed(Instant),
}

impl Session {
    /// Starts a shell; with what login files printed.
    pub(super) async fn open(
        launcher: Launcher,
        traffic: Arc<Counters>,
    ) -> Result<(Self, String), HostError> {
        let mut started = launcher.start("exec /bin/sh").await?;
        let noise = std::mem::take(&mut started.noise);
        let (requests, queue) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(launcher, started, queue, traffic));
        Ok((Self { requests, server }, noise))
    }

    /// Queues a request at once; the reply comes later. `None` when the shell has ended: nothing was sent.
    pub(super) fn send(
        &self,
        script: Script,
        observes: bool,
    ) -> Option<oneshot::Receiver<Result<Reply, HostError>>> {
        let (answer, reply) = oneshot::channel();
        self.requests.send(Request { script, observes, answer }).ok()?;
        Some(reply)
    }

    /// Lets the shell end by itself, so that what scripts left running goes on.
    pub(super) async fn close(self) {
        drop(self.requests);
        let _ = self.server.await;
    }

    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }
}

/// Writes apart from the reading, so that neither a full pipe to nor one from the shell stops both.
async fn write_requests(
    mut stdin: Box<dyn AsyncWrite + Send + Unpin>,
    mut queue: mpsc::UnboundedReceiver<String>,
) {
    while let Some(text) = queue.recv().await {
        if stdin.write_all(text.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

async fn finished(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}

struct Server {
    launcher: Launcher,
    pid: u32,
    nonce: Nonce,
    next_id: u64,
    pending: VecDeque<Pending>,
    stdout: FrameReader,
    stderr: FrameReader,
    /// A frame whose counterpart has not arrived.
    half: (Option<Frame>, Option<Frame>),
    deadline: Deadline,
    /// Kills an overdue request; nothing is sent while it is at work, so that it cannot hit the next one.
    killer: Option<JoinHandle<()>>,
    to_shell: mpsc::UnboundedSender<String>,
    traffic: Arc<Counters>,
    has_answered: bool,
    /// It ended because it could not read what it was sent.
    is_deaf: bool,
}

async fn serve(
    launcher: Launcher,
    mut started: Started,
    mut queue: mpsc::UnboundedReceiver<Request>,
    traffic: Arc<Counters>,
) {
    let Some(stdin) = started.process.stdin.take() else { return };
    let (to_shell, lines) = mpsc::unbounded_channel();
    tokio::spawn(write_requests(stdin, lines));
    let nonce = Nonce::random();
    let mut server = Server {
        pid: started.pid,
        stdout: FrameReader::new(&nonce),
        stderr: FrameReader::new(&nonce),
        nonce,
        next_id: 0,
        pending: VecDeque::new(),
        half: (None, None),
        deadline: Deadline::None,
        killer: None,
        to_shell,
        launcher,
        traffic,
        has_answered: false,
        is_deaf: false,
    };
    server.stdout.feed(&started.stdout);
    server.stderr.feed(&started.stderr);
    let mut status = started.status;
    let reason = loop {
        // A request that may be killed is the last one sent until it is answered.
        let accepts = server.killer.is_none()
            && server.pending.len() < IN_FLIGHT
            && server.pending.iter().all(|p| p.timeout.is_none());
        let wake = match server.deadline {
            Deadline::None => None,
            Deadline::At(at) | Deadline::Killed(at) => Some(at),
        };
        tokio::select! {
            request = queue.recv(), if accepts => match request {
                Some(request) => server.accept(request),
                None if server.pending.is_empty() => {
                    drop(server);
                    let end = async { while started.process.output.recv().await.is_some_and(|o| !matches!(o, Output::Exit(_))) {} };
                    let _ = tokio::time::timeout(END_PATIENCE, end).await;
                    return;
                }
                // Probes whose answers nobody wants any more: they end with the shell, or by themselves.
                None if server.pending.iter().all(|p| p.observes) => return,
                None => {
                    // What still runs was asked for by nobody who waits.
                    let kill = Script::new(kill_script(server.pid, false));
                    let _ = tokio::time::timeout(KILL_PATIENCE, pipe::alone(&server.launcher, &kill)).await;
                    break "the session was closed".to_owned();
                }
            },
            output = started.process.output.recv() => match output {
                Some(Output::Stdout(bytes)) => server.stdout.feed(&bytes),
                Some(Output::Stderr(bytes)) => server.stderr.feed(&bytes),
                Some(Output::Exit(code)) => { status = Some(code); continue }
                None => break server.end_reason(status),
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                if let Err(reason) = server.overdue() { break reason }
            }
            () = finished(&mut server.killer) => server.killer = None,
        }
        if status.is_some() && server.pending.is_empty() {
            break server.end_reason(status);
        }
        if let Err(reason) = server.answer() {
            break reason;
        }
    };
    server.is_deaf = status == Some(NO_INPUT) && !server.has_answered;
    queue.close();
    server.give_up(&reason);
    while let Some(request) = queue.recv().await {
        let _ = request.answer.send(Err(server.lost(&reason)));
    }
}

impl Server {
    fn lost(&self, reason: &str) -> HostError {
        if self.is_deaf {
            return HostError::NoInput { host: self.launcher.spec.name.clone() };
        }
        HostError::Lost { host: self.launcher.spec.name.clone(), reason: reason.to_owned() }
    }

    fn end_reason(&self, status: Option<i32>) -> String {
        let said = String::from_utf8_lossy(self.stderr.rest()).trim().to_owned();
        match status {
            Some(status) if said.is_empty() => format!("the shell ended with status {status}"),
            Some(status) => format!("the shell ended with status {status}: {said}"),
            None => "the shell's channel was closed".to_owned(),
        }
    }

    fn accept(&mut self, incoming: Request) {
        self.next_id += 1;
        let text = match request(&self.nonce, self.next_id, &incoming.script) {
            Ok(text) => text,
            Err(reason) => {
                let what = "a request was not sent".to_owned();
                let _ = incoming.answer.send(Err(HostError::Failed { what, reason }));
                return;
            }
        };
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        if self.pending.is_empty() {
            self.traffic.waits.fetch_add(1, Ordering::Relaxed);
        }
        self.pending.push_back(Pending {
            id: self.next_id,
            observes: incoming.observes,
            answer: incoming.answer,
            what: incoming.script.text.lines().next().unwrap_or_default().to_owned(),
            timeout: incoming.script.timeout,
        });
        let _ = self.to_shell.send(text);
        self.watch_head();
    }

    /// The clock of a request runs from when it is the first.
    fn watch_head(&mut self) {
        if let (Deadline::None, Some(limit)) = (&self.deadline, self.pending.front().and_then(|p| p.timeout))
        {
            self.deadline = Deadline::At(Instant::now() + limit);
        }
    }

    /// Gives every complete reply to who asked for it.
    fn answer(&mut self) -> Result<(), String> {
        loop {
            if self.half.0.is_none() {
                self.half.0 = self.stdout.next_frame()?;
            }
            if self.half.1.is_none() {
                self.half.1 = self.stderr.next_frame()?;
            }
            let (stdout, stderr) = match (self.half.0.take(), self.half.1.take()) {
                (Some(stdout), Some(stderr)) => (stdout, stderr),
                halves => {
                    self.half = halves;
                    return Ok(());
                }
            };
            let head = self.pending.pop_front().filter(|p| p.id == stdout.id && p.id == stderr.id);
            let Some(head) = head else { return Err("the shell's replies are out of order".to_owned()) };
            self.has_answered = true;
            let killed = matches!(self.deadline, Deadline::Killed(_));
            self.deadline = Deadline::None;
            let reply = if killed {
                Err(self.timed_out(&head))
            } else {
                Ok(Reply { stdout: stdout.bytes, stderr: stderr.bytes, status: stdout.status })
            };
            let _ = head.answer.send(reply);
            self.watch_head();
        }
    }

    fn timed_out(&self, request: &Pending) -> HostError {
        HostError::Timeout {
            host: self.launcher.spec.name.clone(),
            what: request.what.clone(),
            seconds: request.timeout.unwrap_or_default().as_secs(),
        }
    }

    /// Kills the head request; the second time it gives the shell up.
    fn overdue(&mut self) -> Result<(), String> {
        if matches!(self.deadline, Deadline::Killed(_)) {
            if let Some(head) = self.pending.pop_front() {
                let error = self.timed_out(&head);
                let _ = head.answer.send(Err(error));
            }
            return Err("a request that took too long could not be stopped".to_owned());
        }
        self.deadline = Deadline::Killed(Instant::now() + KILL_PATIENCE);
        let killer = self.launcher.clone();
        let script = kill_script(self.pid, false);
        self.killer = Some(tokio::spawn(async move {
            let _ = pipe::alone(&killer, &Script::new(script)).await;
        }));
        Ok(())
    }

    fn give_up(&mut self, reason: &str) {
        let lost: Vec<_> = self.pending.drain(..).collect();
        for request in lost {
            let _ = request.answer.send(Err(self.lost(reason)));
        }
    }
}
