use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::apply::{self, INLINE_BYTES};
use super::launch::Launcher;
use super::session::Session;
use super::transport::Transport;
use super::{
    BecomeSpec, ByteStream, ConnectionSpec, Endpoint, Forward, HostError, Reply, Script, Step, r#become,
    pipe, quote, tunnel,
};

/// A host that can be asked and changed: one connection, one persistent shell a user.
///
/// Cheap to clone; all clones share the connection, which is opened by the first that needs it.
#[derive(Clone)]
pub struct Target {
    inner: Arc<Inner>,
}

struct Inner {
    spec: Arc<ConnectionSpec>,
    transport: Mutex<Option<Arc<Transport>>>,
    /// One slot a user, each with a lock of its own: users' shells are opened side by side.
    sessions: std::sync::Mutex<HashMap<Option<BecomeSpec>, Slot>>,
}

type Slot = Arc<Mutex<Option<Session>>>;

/// A target as one user: every request runs as that user.
#[derive(Debug, Clone)]
pub struct Shell {
    target: Target,
    r#become: Option<BecomeSpec>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("spec", &self.inner.spec).finish_non_exhaustive()
    }
}

impl Target {
    /// Describes a target; nothing is connected yet.
    pub fn new(spec: ConnectionSpec) -> Self {
        Self {
            inner: Arc::new(Inner {
                spec: Arc::new(spec),
                transport: Mutex::default(),
                sessions: std::sync::Mutex::default(),
            }),
        }
    }

    pub fn spec(&self) -> &ConnectionSpec {
        &self.inner.spec
    }

    /// Connects and logs in, unless that has happened.
    pub async fn connect(&self) -> Result<(), HostError> {
        self.transport().await.map(drop)
    }

    /// The target as the login user (`None`) or as another.
    pub fn shell(&self, r#become: Option<&BecomeSpec>) -> Shell {
        Shell { target: self.clone(), r#become: r#become::needed(&self.inner.spec, r#become) }
    }

    /// Closes the shells and the connection; a later use opens them again.
    pub async fn close(&self) {
        let slots: Vec<Slot> = {
            let mut sessions = self.inner.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sessions.drain().map(|(_, slot)| slot).collect()
        };
        for slot in slots {
            if let Some(session) = slot.lock().await.take() {
                session.close().await;
            }
        }
        let transport = self.inner.transport.lock().await.take();
        if let Some(transport) = transport {
            transport.close().await;
        }
    }

    async fn transport(&self) -> Result<Arc<Transport>, HostError> {
        let mut slot = self.inner.transport.lock().await;
        if let Some(open) = slot.as_ref().filter(|t| t.is_open()) {
            return Ok(Arc::clone(open));
        }
        let opened = Arc::new(Transport::open(&self.inner.spec).await?);
        *slot = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn slot(&self, r#become: Option<&BecomeSpec>) -> Slot {
        let mut sessions = self.inner.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(sessions.entry(r#become.cloned()).or_default())
    }
}

impl Shell {
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs a script in the persistent shell.
    ///
    /// Scripts of calls that are in flight together run in the order in which the calls were first polled.
    pub async fn run(&self, script: &Script) -> Result<Reply, HostError> {
        if script.stdin.len() > INLINE_BYTES {
            return self.pipe(script, &mut script.stdin.as_slice()).await;
        }
        let reply = {
            let slot = self.target.slot(self.r#become.as_ref());
            let mut slot = slot.lock().await;
            let sent = slot.as_ref().filter(|s| s.is_open()).and_then(|s| s.send(script.clone()));
            if let Some(reply) = sent {
                reply
            } else {
                let session = self.open_session().await?;
                let sent = session.send(script.clone());
                *slot = Some(session);
                sent.ok_or_else(|| self.lost())?
            }
        };
        reply.await.map_err(|_| self.lost())?
    }

    /// Runs a script with a stream as its standard input, in a channel of its own: for what is too large for the shell.
    pub async fn pipe(
        &self,
        script: &Script,
        input: &mut (dyn tokio::io::AsyncRead + Send + Unpin),
    ) -> Result<Reply, HostError> {
        let launcher = self.launcher().await?;
        let _channel = launcher.transport.own_channel().await;
        pipe::run(&launcher, script, input).await
    }

    /// Carries out one step.
    pub async fn apply(&self, step: &Step) -> Result<Reply, HostError> {
        apply::apply(self, step).await
    }

    /// Reads a whole file.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>, HostError> {
        let reply = self.run(&Script::new(format!("cat -- {}", quote(path)))).await?;
        if reply.ok() {
            return Ok(reply.stdout);
        }
        Err(HostError::Failed { what: format!("reading {path}"), reason: reply.err().trim().to_owned() })
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
        match Session::open(self.launcher().await?).await {
            // The connection had ended unnoticed, before anything was asked of it: one more, over a new one.
            Err(HostError::Lost { .. }) => {
                self.target.inner.transport.lock().await.take();
                Session::open(self.launcher().await?).await
            }
            other => other,
        }
    }

    async fn launcher(&self) -> Result<Launcher, HostError> {
        Ok(Launcher {
            spec: Arc::clone(&self.target.inner.spec),
            transport: self.target.transport().await?,
            r#become: self.r#become.clone(),
        })
    }

    fn lost(&self) -> HostError {
        HostError::Lost {
            host: self.target.inner.spec.name.clone(),
            reason: "the shell ended before it answered".to_owned(),
        }
    }
}
