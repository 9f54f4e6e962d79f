use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::{Slot, Target};
use crate::ahead::Answer;
use crate::apply::{self, INLINE_BYTES};
use crate::launch::Launcher;
use crate::limits::REPLY_SETTING;
use crate::script::contents;
use crate::session::{Session, Terms};
use crate::watched::{Progress, Watch, Watched};
use crate::world::Effect;
use crate::{
    BecomeSpec, ByteStream, Change, Endpoint, Forward, HostError, Remark, Reply, Script, Step, merge, pipe,
    quote, tunnel,
};

/// How many shells in a row may end before they are sent a script.
const SHELLS: usize = 3;

/// What a request is for.
#[derive(Clone, PartialEq, Eq)]
enum Purpose {
    Observe,
    /// It may change the host, in this way.
    Act(Effect),
}

/// A target as one user: every request runs as that user.
#[derive(Debug, Clone)]
pub struct Shell {
    target: Target,
    r#become: Option<BecomeSpec>,
    ends_with_caller: bool,
}

impl Shell {
    pub(super) fn of(target: Target, r#become: Option<BecomeSpec>) -> Self {
        Self { target, r#become, ends_with_caller: false }
    }

    /// The same host and user over a connection of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        let inner = &self.target.inner;
        let target = Target::new_in(inner.spec.as_ref().clone(), &inner.world);
        Self { target, ..self.clone() }
    }

    /// The same shell for somebody whose time is limited: what it was asked for is ended on the host when the caller stops waiting.
    #[must_use]
    pub fn with_caller(&self) -> Self {
        Self { ends_with_caller: true, ..self.clone() }
    }

    /// Says that a caller stopped waiting, so that what comes next does not wait for what the caller could not end: a probe that was sent ahead.
    pub fn free(&self) {
        // Who holds the lock is opening a shell, or sending.
        if let Ok(session) = self.slot().session.try_lock()
            && let Some(session) = session.as_ref()
        {
            session.free();
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs a script that may change something in the persistent shell.
    ///
    /// Scripts of calls that are in flight together run in the order in which the calls were first polled.
    pub async fn run(&self, script: &Script) -> Result<Reply, HostError> {
        self.ask(script, Purpose::Act(Effect::Anything)).await
    }

    /// Runs a script that only reads. Where it was sent ahead, and nothing that it looks at has been changed since, that answer is taken.
    pub async fn probe(&self, script: &Script) -> Result<Reply, HostError> {
        if let Some(answer) = self.take_ahead(script) {
            self.send_waiting();
            if let Some(reply) = self.answer(answer).await {
                return Ok(reply);
            }
        }
        self.ask(script, Purpose::Observe).await
    }

    /// Whether both are the same user on the same target.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.target.inner, &other.target.inner) && self.r#become == other.r#become
    }

    /// How many more probes may be sent ahead; none while there are enough of them under way.
    pub fn room_ahead(&self) -> usize {
        let slot = self.slot();
        slot.ahead().room(&self.target.inner.world, slot.id)
    }

    /// Whether guessing has paid on this shell, so that probes which cost the host something may be sent ahead as well.
    pub fn is_predictable(&self) -> bool {
        self.slot().ahead().is_trusted()
    }

    /// Whether this probe is under way already.
    pub fn is_ahead(&self, script: &Script) -> bool {
        self.slot().ahead().knows(script)
    }

    /// The answer to a probe that was sent ahead, if it may be used; nothing is asked for it.
    pub async fn answer_ahead(&self, script: &Script) -> Option<Reply> {
        self.answer(self.take_ahead(script)?).await
    }

    /// Sends probes ahead, or has them sent with the first request where there is no shell yet. A wrong guess costs time, nothing else.
    pub fn send_ahead(&self, scripts: Vec<Script>) {
        let slot = self.slot();
        slot.ahead().want();
        // Who holds the lock is opening a shell, or sending; what waits goes along with the next probe.
        match slot.session.try_lock() {
            Ok(session) => match session.as_ref().filter(|s| s.is_open()) {
                Some(session) => {
                    slot.ahead().send(session, &self.target.inner.world, slot.id, (None, scripts));
                }
                None => slot.ahead().wait(scripts),
            },
            Err(_) => slot.ahead().wait(scripts),
        }
    }

    /// Has probes sent ahead together with the next request, so that they share one with it.
    pub fn send_along(&self, scripts: Vec<Script>) {
        let slot = self.slot();
        let mut ahead = slot.ahead();
        ahead.want();
        ahead.wait(scripts);
    }

    fn send_waiting(&self) {
        let slot = self.slot();
        if let Ok(session) = slot.session.try_lock()
            && let Some(session) = session.as_ref().filter(|s| s.is_open())
        {
            let mut ahead = slot.ahead();
            let waiting = ahead.take_waiting();
            ahead.send(session, &self.target.inner.world, slot.id, (None, waiting));
        }
    }

    /// Says that something is being changed by other means than this shell, until the result is dropped.
    pub fn changing(&self) -> Change {
        self.target.inner.world.change()
    }

    fn slot(&self) -> Arc<Slot> {
        self.target.slot(self.r#become.as_ref())
    }

    fn take_ahead(&self, script: &Script) -> Option<Answer> {
        self.slot().ahead().take(script, &self.target.inner.world)
    }

    async fn answer(&self, answer: Answer) -> Option<Reply> {
        answer.get(&self.slot().ahead, &self.target.inner.world).await
    }

    async fn ask(&self, script: &Script, purpose: Purpose) -> Result<Reply, HostError> {
        let observes = purpose == Purpose::Observe;
        if !self.target.is_inline() {
            match self.ask_session(script, purpose).await {
                // Nothing was run, so it may be asked again.
                Err(HostError::NoInput { .. }) if script.stdin.len() <= INLINE_BYTES => {
                    if !self.target.inner.inline.swap(true, Ordering::Relaxed) {
                        self.target.remarks().push(Remark::NoInput);
                    }
                }
                other => return other,
            }
        }
        drop(self.slot().ahead().take_waiting());
        if script.stdin.len() > INLINE_BYTES {
            return Err(HostError::NoInput { host: self.target.inner.spec.name.clone() });
        }
        let launcher = self.launcher().await?;
        let _channel = launcher.transport.own_channel().await;
        let _change = (!observes).then(|| self.changing());
        pipe::alone(&launcher, script).await
    }

    async fn ask_session(&self, script: &Script, purpose: Purpose) -> Result<Reply, HostError> {
        if script.stdin.len() > INLINE_BYTES {
            return self.pipe(script, &mut script.stdin.as_slice()).await;
        }
        for _ in 0..SHELLS {
            if let Some(reply) = self.ask_open_session(script, purpose.clone()).await? {
                return Ok(reply);
            }
        }
        Err(self.lost())
    }

    /// `None`: the shell was ended before it was sent the script.
    async fn ask_open_session(&self, script: &Script, purpose: Purpose) -> Result<Option<Reply>, HostError> {
        let world = &self.target.inner.world;
        let slot = self.slot();
        let (reply, _change) = {
            let mut session = slot.session.lock().await;
            let open = match session.as_ref().filter(|s| s.is_open()) {
                Some(open) => open,
                None => &*session.insert(self.open_session().await?),
            };
            let mut waiting = slot.ahead().take_waiting();
            // Before the sending and under the lock: what is sent afterwards observes the change.
            let observes = purpose == Purpose::Observe;
            let change = match purpose {
                Purpose::Observe => None,
                Purpose::Act(effect) => Some(world.change_by(slot.id, effect)),
            };
            if observes && (!waiting.is_empty() || slot.ahead().is_wanted() && merge::fits(script)) {
                slot.ahead().send(open, world, slot.id, (Some(script), std::mem::take(&mut waiting)));
                let answer = self.take_ahead(script);
                if let Some(answer) = answer {
                    drop(session);
                    if let Some(reply) = answer.get(&slot.ahead, world).await {
                        return Ok(Some(reply));
                    }
                    session = slot.session.lock().await;
                }
            }
            let terms = Terms { observes, ends_with_caller: self.ends_with_caller };
            let sent = session.as_ref().and_then(|s| s.send(script.clone(), terms));
            let reply = match sent {
                Some(reply) => reply,
                None => session
                    .insert(self.open_session().await?)
                    .send(script.clone(), terms)
                    .ok_or_else(|| self.lost())?,
            };
            if let Some(open) = session.as_ref() {
                // Behind the change they see what it leaves.
                slot.ahead().send(open, world, slot.id, (None, waiting));
            }
            (reply, change)
        };
        reply.await.ok().transpose()
    }

    /// Runs a script with a stream as its standard input, in a channel of its own: for what is too large for the shell.
    pub async fn pipe(
        &self,
        script: &Script,
        input: &mut (dyn tokio::io::AsyncRead + Send + Unpin),
    ) -> Result<Reply, HostError> {
        let launcher = self.launcher().await?;
        if launcher.inline {
            return Err(HostError::NoInput { host: launcher.spec.name.clone() });
        }
        let _channel = launcher.transport.own_channel().await;
        let _change = self.changing();
        pipe::run(&launcher, script, input, None).await
    }

    /// Carries out one step.
    pub async fn apply(&self, step: &Step) -> Result<Reply, HostError> {
        self.apply_watched(step, &|_| ()).await
    }

    /// The same; says how far it has come where that takes long.
    pub async fn apply_watched(&self, step: &Step, watch: Watch<'_>) -> Result<Reply, HostError> {
        apply::apply(self, step, watch).await
    }

    /// Carries out a step's script: what was seen of other places stands where all that it touches is known.
    pub(crate) async fn run_step(&self, step: &Step, script: &Script) -> Result<Reply, HostError> {
        let slot = self.slot();
        let effect = slot.ahead().effect(step, &self.target.inner.world);
        self.ask(script, Purpose::Act(effect)).await
    }

    /// Reads a whole file.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>, HostError> {
        let reply = self.probe(&reading(path)).await?;
        has_been_read(path, reply).map(|reply| reply.stdout)
    }

    /// Copies a file of `size` bytes, as far as that is known, to a writer, in a channel of its own: no more of it is in memory than is under way.
    /// Says how far it has come where that takes long. A writer that takes nothing holds up all that this connection carries.
    pub async fn read_file_to(
        &self,
        path: &str,
        size: u64,
        to: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
        watch: Watch<'_>,
    ) -> Result<(), HostError> {
        let launcher = self.launcher().await?;
        let _channel = launcher.transport.own_channel().await;
        let to = Watched::new(to, Progress::receiving(path, size), watch);
        // A file may grow while it is read; one that does not end is no file.
        let most = size.saturating_add(launcher.spec.limits.reply as u64);
        let mut to = UpTo { inner: to, left: most, size };
        let reply = pipe::run(&launcher, &reading(path), &mut tokio::io::empty(), Some(&mut to)).await?;
        has_been_read(path, reply).map(drop)
    }

    /// Opens a connection to a service as the target sees it.
    ///
    /// A Unix socket that only the become user may open is reached through a program on the target, so `Endpoint::Unix` works as that user too
    /// where `socat` or `nc -U` is there.
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn ByteStream>, HostError> {
        tunnel::dial(&self.launcher().await?, endpoint).await
    }

    /// Opens a port on this machine that leads to the service, for clients that take an address only.
    pub async fn forward(&self, endpoint: Endpoint) -> Result<Forward, HostError> {
        tunnel::forward(self.clone(), endpoint).await
    }

    async fn open_session(&self) -> Result<Session, HostError> {
        let traffic = || Arc::clone(&self.target.inner.traffic);
        let opened = match Session::open(self.launcher().await?, traffic()).await {
            // The connection had ended unnoticed, before anything was asked of it: one more, over a new one.
            Err(HostError::Lost { .. }) => {
                self.target.inner.transport.lock().await.take();
                Session::open(self.launcher().await?, traffic()).await
            }
            other => other,
        };
        let (session, noise) = opened?;
        if !noise.trim().is_empty() {
            self.target.remarks().push(Remark::LoginSaid(noise));
        }
        Ok(session)
    }

    async fn launcher(&self) -> Result<Launcher, HostError> {
        Ok(Launcher {
            spec: Arc::clone(&self.target.inner.spec),
            transport: self.target.transport().await?,
            r#become: self.r#become.clone(),
            inline: self.target.is_inline(),
        })
    }

    fn lost(&self) -> HostError {
        HostError::Lost {
            host: self.target.inner.spec.name.clone(),
            reason: "the shell ended before it answered".to_owned(),
        }
    }
}

/// A writer that takes so much and no more.
struct UpTo<W> {
    inner: W,
    left: u64,
    size: u64,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for UpTo<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            let reason =
                format!("it was {} bytes long and does not end ({REPLY_SETTING} more were taken)", self.size);
            return Poll::Ready(Err(std::io::Error::other(reason)));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.left -= written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn reading(path: &str) -> Script {
    Script::new(contents(&quote(path)))
}

fn has_been_read(path: &str, reply: Reply) -> Result<Reply, HostError> {
    if reply.ok() {
        return Ok(reply);
    }
    Err(HostError::Failed { what: format!("reading {path}"), reason: reply.err().trim().to_owned() })
}
