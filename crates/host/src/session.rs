//! A persistent `sh`: requests go in, replies come out in the same order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::launch::{Launcher, NO_INPUT, Started};
use super::limits::{REPLY_SETTING, excerpt};
use super::pipe::{self, KILL_PATIENCE};
use super::process::Output;
use super::shell_protocol::{Frame, FrameReader, Nonce, request};
use super::target::Counters;
use super::{HostError, Reply, Script};

/// Requests that are sent before the first of them is answered.
const IN_FLIGHT: usize = 256;

/// How long a shell may take to end after its input has ended.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How long a probe may have held up a shell before it counts as one that does not end, once somebody's time is over.
const STUCK: Duration = Duration::from_secs(1);

/// A running shell; dropping it ends the shell.
#[derive(Debug)]
pub(super) struct Session {
    requests: mpsc::UnboundedSender<Request>,
    /// Somebody's time was over while the shell was at something else.
    stuck: Arc<Notify>,
    server: JoinHandle<()>,
}

/// What is to be known of a request besides its script.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// It only reads, so nobody minds if it goes on when it is not waited for any more.
    pub(super) observes: bool,
    /// It is ended as soon as nobody waits for it any more, so that what comes next need not wait for it.
    pub(super) ends_with_caller: bool,
}

struct Request {
    script: Script,
    terms: Terms,
    answer: oneshot::Sender<Result<Reply, HostError>>,
}

struct Pending {
    id: u64,
    terms: Terms,
    answer: oneshot::Sender<Result<Reply, HostError>>,
    /// The script's first line, for messages.
    what: String,
    timeout: Option<Duration>,
}

impl Pending {
    /// Whether it may have to be killed: then nothing else may be in the shell's hands meanwhile.
    fn may_be_killed(&self) -> bool {
        self.timeout.is_some() || self.terms.ends_with_caller
    }

    /// Waits until nobody waits for it any more.
    async fn abandoned(head: Option<&mut Self>) {
        match head.filter(|head| head.terms.ends_with_caller) {
            Some(head) => head.answer.closed().await,
            None => std::future::pending().await,
        }
    }
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
        let stuck = Arc::new(Notify::new());
        let server = tokio::spawn(serve(launcher, started, (queue, Arc::clone(&stuck)), traffic));
        Ok((Self { requests, stuck, server }, noise))
    }

    /// Queues a request at once; the reply comes later. `None`, and a reply that never comes, when the shell has ended: nothing was sent.
    pub(super) fn send(
        &self,
        script: Script,
        terms: Terms,
    ) -> Option<oneshot::Receiver<Result<Reply, HostError>>> {
        let (answer, reply) = oneshot::channel();
        self.requests.send(Request { script, terms, answer }).ok()?;
        Some(reply)
    }

    /// Lets the shell end by itself, so that what scripts left running goes on.
    pub(super) async fn close(self) {
        drop(self.requests);
        let _ = self.server.await;
    }

    /// Says that a caller's time is over: a shell that has been held up by nothing but probes for a while is ended, and the next use opens
    /// another.
    pub(super) fn free(&self) {
        self.stuck.notify_one();
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
    /// Since when the head request has been the first.
    head_since: Instant,
    /// Somebody's time was over while the head request was at work.
    is_freed: bool,
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
    (mut queue, stuck): (mpsc::UnboundedReceiver<Request>, Arc<Notify>),
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
        head_since: Instant::now(),
        is_freed: false,
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
            && !server.pending.iter().any(Pending::may_be_killed);
        let is_being_killed = matches!(server.deadline, Deadline::Killed(_));
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
                None if server.pending.iter().all(|p| p.terms.observes) => return,
                None => {
                    // What still runs was asked for by nobody who waits.
                    pipe::kill(&server.launcher, server.pid, false).await;
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
            () = Pending::abandoned(server.pending.front_mut()), if !is_being_killed => server.kill_head(),
            () = stuck.notified() => server.is_freed = true,
            () = sleep_until(server.head_since + STUCK), if server.is_held_up() => {
                server.end_all();
                // They only read, and may be asked of another shell.
                server.pending.clear();
                break "a probe did not end".to_owned();
            },
        }
        if status.is_some() && server.pending.is_empty() {
            break server.end_reason(status);
        }
        if let Err(reason) = server.answer() {
            server.end_all();
            break reason;
        }
        if server.held() > server.launcher.spec.limits.reply {
            server.end_all();
            break server.too_long();
        }
    };
    server.is_deaf = status == Some(NO_INPUT) && !server.has_answered;
    queue.close();
    server.give_up(&reason);
    while let Some(request) = queue.recv().await {
        // What was not sent is asked of another shell, unless none can be asked.
        if server.is_deaf {
            let _ = request.answer.send(Err(server.lost(&reason)));
        }
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
        let said = excerpt(self.stderr.rest());
        match status {
            Some(status) if said.is_empty() => format!("the shell ended with status {status}"),
            Some(status) => format!("the shell ended with status {status}: {said}"),
            None => "the shell's channel was closed".to_owned(),
        }
    }

    fn accept(&mut self, incoming: Request) {
        if incoming.answer.is_closed() {
            // Nobody waits for it any more.
            return;
        }
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
            (self.head_since, self.is_freed) = (Instant::now(), false);
            self.traffic.waits.fetch_add(1, Ordering::Relaxed);
        }
        self.pending.push_back(Pending {
            id: self.next_id,
            terms: incoming.terms,
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
            let is_next = |head: &Pending| head.id == stdout.id && head.id == stderr.id;
            // Who waits for a reply that did not come so is told, and does not take it for one that was not sent.
            let head =
                if self.pending.front().is_some_and(is_next) { self.pending.pop_front() } else { None };
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
            (self.head_since, self.is_freed) = (Instant::now(), false);
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
        self.kill_head();
        Ok(())
    }

    /// Kills what the head request has started; it is alone in the shell's hands.
    fn kill_head(&mut self) {
        self.deadline = Deadline::Killed(Instant::now() + KILL_PATIENCE);
        let killer = self.launcher.clone();
        let pid = self.pid;
        self.killer = Some(tokio::spawn(async move { pipe::kill(&killer, pid, false).await }));
    }

    /// Whether a probe stands in somebody's way, and nobody waits for a change that was sent behind it.
    fn is_held_up(&self) -> bool {
        let is_probe = |p: &Pending| p.terms.observes && !p.may_be_killed();
        self.is_freed
            && self.pending.front().is_some_and(is_probe)
            && self.pending.iter().all(|p| is_probe(p) || p.answer.is_closed())
    }

    /// Ends the shell and what it runs, which is not understood or not wanted any more.
    fn end_all(&self) {
        let (killer, pid) = (self.launcher.clone(), self.pid);
        self.launcher.transport.kills.spawn(async move { pipe::kill(&killer, pid, true).await });
    }

    /// How many bytes of replies that are not complete are in memory.
    fn held(&self) -> usize {
        let half = |frame: &Option<Frame>| frame.as_ref().map_or(0, |frame| frame.bytes.len());
        self.stdout.held() + self.stderr.held() + half(&self.half.0) + half(&self.half.1)
    }

    /// Tells who asked that the reply is longer than it may be; why the shell is given up.
    fn too_long(&mut self) -> String {
        let limit = self.launcher.spec.limits.reply;
        let host = self.launcher.spec.name.clone();
        if let Some(head) = self.pending.pop_front() {
            let _ = head.answer.send(Err(HostError::TooLong { host, what: head.what, limit }));
        }
        format!("it sent more than {limit} bytes for one reply ({REPLY_SETTING})")
    }

    fn give_up(&mut self, reason: &str) {
        let lost: Vec<_> = self.pending.drain(..).collect();
        for request in lost {
            let _ = request.answer.send(Err(self.lost(reason)));
        }
    }
}
