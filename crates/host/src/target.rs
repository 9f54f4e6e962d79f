use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::ahead::Ahead;
use super::session::Session;
use super::transport::Transport;
use super::world::{ShellId, World};
use super::{BecomeSpec, ConnectionKind, ConnectionSpec, HostError, Remark, r#become};

mod shell;

pub use shell::Shell;

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
    early: std::sync::Mutex<Option<Early>>,
    /// One slot a user, each with a lock of its own: users' shells are opened side by side.
    sessions: std::sync::Mutex<HashMap<Option<BecomeSpec>, Arc<Slot>>>,
    world: World,
    traffic: Arc<Counters>,
    /// It keeps input from programs, so that there is no persistent shell.
    inline: AtomicBool,
    remarks: std::sync::Mutex<Vec<Remark>>,
}

/// A connection that is being opened before anybody needs it.
struct Early {
    since: Instant,
    opening: AbortOnDropHandle<Result<Transport, HostError>>,
}

/// How long an early connection's failure is news: later the host may have come up.
const NEWS: Duration = Duration::from_secs(1);

impl Early {
    /// What came of it; `None` where a new attempt is called for.
    async fn end(self) -> Option<Result<Transport, HostError>> {
        let was_over = self.opening.is_finished();
        match self.opening.await.ok()? {
            Ok(open) => open.is_open().then_some(Ok(open)),
            Err(_) if was_over && self.since.elapsed() > NEWS => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Where one user's shell is, or will be.
struct Slot {
    id: ShellId,
    /// Locked while a shell is opened and while something is sent, so that sending has an order.
    session: Mutex<Option<Session>>,
    ahead: std::sync::Mutex<Ahead>,
}

impl Default for Slot {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            session: Mutex::default(),
            ahead: std::sync::Mutex::default(),
        }
    }
}

impl Slot {
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the shells of a target were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub requests: u64,
    /// Those that were sent while no other was under way: somebody waited for each of them.
    pub waits: u64,
}

impl Traffic {
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, waits: self.waits + other.waits }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) waits: AtomicU64,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("spec", &self.inner.spec).finish_non_exhaustive()
    }
}

impl Target {
    /// Describes a target; nothing is connected yet.
    pub fn new(spec: ConnectionSpec) -> Self {
        Self::new_in(spec, &World::default())
    }

    /// The same, among other targets: a change on one of them makes what was observed of any other out of date.
    pub fn new_in(spec: ConnectionSpec, world: &World) -> Self {
        Self {
            inner: Arc::new(Inner {
                spec: Arc::new(spec),
                transport: Mutex::default(),
                early: std::sync::Mutex::default(),
                sessions: std::sync::Mutex::default(),
                world: world.clone(),
                traffic: Arc::default(),
                inline: AtomicBool::new(false),
                remarks: std::sync::Mutex::default(),
            }),
        }
    }

    /// What has been sent so far.
    pub fn traffic(&self) -> Traffic {
        let Counters { requests, waits } = self.inner.traffic.as_ref();
        Traffic { requests: requests.load(Ordering::Relaxed), waits: waits.load(Ordering::Relaxed) }
    }

    /// What has been noticed since this was last asked.
    pub fn take_remarks(&self) -> Vec<Remark> {
        std::mem::take(&mut *self.remarks())
    }

    fn remarks(&self) -> MutexGuard<'_, Vec<Remark>> {
        self.inner.remarks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_inline(&self) -> bool {
        self.inner.inline.load(Ordering::Relaxed)
    }

    pub fn spec(&self) -> &ConnectionSpec {
        &self.inner.spec
    }

    /// Connects and logs in, unless that has happened.
    pub async fn connect(&self) -> Result<(), HostError> {
        self.transport().await.map(drop)
    }

    /// Begins to connect in the background unless that has happened. Who is the first to need the connection gets what came of it; an error only while
    /// it is news.
    pub fn connect_early(&self) {
        let Inner { spec, transport, early, .. } = self.inner.as_ref();
        let mut early = early.lock().unwrap_or_else(PoisonError::into_inner);
        if spec.kind == ConnectionKind::Ssh
            && early.is_none()
            && transport.try_lock().is_ok_and(|open| open.is_none())
        {
            let spec = Arc::clone(spec);
            let opening = tokio::spawn(async move { Transport::open(&spec).await });
            *early = Some(Early { since: Instant::now(), opening: AbortOnDropHandle::new(opening) });
        }
    }

    /// The target as the login user (`None`) or as another.
    pub fn shell(&self, r#become: Option<&BecomeSpec>) -> Shell {
        Shell::of(self.clone(), r#become::needed(&self.inner.spec, r#become))
    }

    /// Closes the shells and the connection; a later use opens them again.
    pub async fn close(&self) {
        let _change = self.inner.world.change();
        let slots: Vec<Arc<Slot>> = {
            let mut sessions = self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.drain().map(|(_, slot)| slot).collect()
        };
        for slot in slots {
            if let Some(session) = slot.session.lock().await.take() {
                session.close().await;
            }
        }
        drop(self.inner.early.lock().unwrap_or_else(PoisonError::into_inner).take());
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
        let early = self.inner.early.lock().unwrap_or_else(PoisonError::into_inner).take();
        let early = match early {
            Some(early) => early.end().await,
            None => None,
        };
        let opened = match early {
            Some(opened) => opened,
            None => Transport::open(&self.inner.spec).await,
        };
        let opened = Arc::new(opened?);
        *slot = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn slot(&self, r#become: Option<&BecomeSpec>) -> Arc<Slot> {
        let mut sessions = self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sessions.entry(r#become.cloned()).or_default())
    }
}
