use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use super::relay::Relay;
use super::{Driver, KvmProbe, LabError, Lvm, RemoteUri};
use crate::host::{BecomeMethod, BecomeSpec, ConnectionSpec, Script, Shell, Target};
use crate::turns::Turns;

/// A connection to libvirt on one hypervisor, and to the machine itself where there is one. Cheap to clone; the
/// connection is shared.
#[derive(Clone)]
pub struct Hypervisor {
    uri: String,
    driver: Arc<dyn Driver>,
    reach: Reach,
    /// How long one question may take; changes may take as long as they do.
    patience: Option<Duration>,
    state: Arc<ConnectionState>,
}

/// State that all clones of one connection share.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Agents that never answer must not use up what libvirt lets one client ask at a time, which is five questions.
    pub(super) agents: Semaphore,
    /// Uploads, by pool and volume: the first of those who want the same brings it, the others find it.
    pub(super) uploads: Turns,
    /// What a probe guest said, once one was started.
    pub(super) kvm: Mutex<Option<KvmProbe>>,
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self { agents: Semaphore::new(2), uploads: Turns::default(), kvm: Mutex::default() }
    }
}

/// How long libvirt may take to answer a question. On a slow machine without KVM some take ten seconds.
const ANSWER: Duration = Duration::from_secs(20);

/// How the machine that libvirt runs on is reached.
#[derive(Clone)]
enum Reach {
    /// It is this one.
    Here(Shell),
    /// Through SSH, which carries libvirt's own connection as well.
    Ssh { shell: Shell, _relay: Arc<Relay> },
    /// There is none (libvirt's test driver), or libvirt is all that is reached of it.
    Nowhere,
}

impl std::fmt::Debug for Hypervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hypervisor").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// The URI that is meant when none is given.
pub const DEFAULT_URI: &str = "qemu:///system";

impl Hypervisor {
    /// Connects to a libvirt URI (`qemu:///system`, `qemu+ssh://user@host/system`, `test:///default`).
    pub async fn open(uri: &str) -> Result<Self, LabError> {
        if let Some(remote) = RemoteUri::parse(uri)? {
            let target = Target::new(remote.connection());
            return Self::over(&remote, target.shell(None)).await;
        }
        let reach = if is_local(uri) { Reach::Here(here()) } else { Reach::Nowhere };
        let uri = uri.to_owned();
        let opened = uri.clone();
        let opening = join(move || {
            let driver = open_driver(&opened, &opened)?;
            Ok(Self { uri: opened, driver, reach, patience: None, state: Arc::default() })
        });
        within(Some(ANSWER), &uri, opening).await
    }

    /// Connects to a hypervisor through an SSH connection that there is already: no second login, the same keys and the
    /// same opinion of host keys as for everything else on that machine.
    pub(super) async fn over(remote: &RemoteUri, shell: Shell) -> Result<Self, LabError> {
        let (relay, entrance) = Box::pin(Relay::open(remote, &shell)).await?;
        let (uri, through) = (remote.canonical(), remote.through(&entrance.socket));
        let opened = uri.clone();
        let opening = join(move || {
            let driver = open_driver(&opened, &through)?;
            // One connection is all: a shared one lives as long as the program, which must leave no socket behind.
            drop(entrance);
            let reach = Reach::Ssh { shell, _relay: Arc::new(relay) };
            Ok(Self { uri: opened, driver, reach, patience: None, state: Arc::default() })
        });
        within(Some(ANSWER), &uri, opening).await
    }

    /// The same for who only asks: a question that is not answered in time is an error.
    #[must_use]
    pub fn only_asked(mut self) -> Self {
        self.patience = Some(ANSWER);
        self
    }

    /// A hypervisor that answers from somewhere else than libvirt.
    pub fn with_driver(uri: &str, driver: Arc<dyn Driver>) -> Self {
        Self { uri: uri.to_owned(), driver, reach: Reach::Nowhere, patience: None, state: Arc::default() }
    }

    pub(super) fn state(&self) -> &ConnectionState {
        &self.state
    }

    /// What names the hypervisor: its URI, without how it is logged in to.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether the hypervisor is this machine, so that its files can be reached as files.
    pub fn is_local(&self) -> bool {
        is_local(&self.uri)
    }

    /// A shell on the machine, as the user who logs in.
    pub fn shell(&self) -> Option<&Shell> {
        match &self.reach {
            Reach::Here(shell) | Reach::Ssh { shell, .. } => Some(shell),
            Reach::Nowhere => None,
        }
    }

    /// A shell on the machine as root.
    pub fn root(&self) -> Option<Shell> {
        let root = BecomeSpec::new("root", BecomeMethod::Sudo);
        self.shell().map(|shell| shell.target().shell(Some(&root)))
    }

    /// How guests that only the hypervisor can reach are reached; `None` where this machine reaches them itself.
    pub fn way(&self) -> Option<&ConnectionSpec> {
        match &self.reach {
            Reach::Ssh { shell, .. } => Some(shell.target().spec()),
            Reach::Here(_) | Reach::Nowhere => None,
        }
    }

    /// LVM on the machine; `None` where there is no machine, or nobody may be root there.
    pub async fn lvm(&self) -> Option<Lvm> {
        let root = self.root()?;
        root.run(&Script::new(":")).await.is_ok_and(|r| r.ok()).then(|| Lvm::new(root))
    }

    /// Runs blocking calls on a thread where they may block.
    pub async fn call<T, F>(&self, work: F) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Driver) -> Result<T, LabError> + Send + 'static,
    {
        let driver = Arc::clone(&self.driver);
        within(self.patience, &self.uri, join(move || work(driver.as_ref()))).await
    }
}

pub(super) fn silent(uri: &str) -> LabError {
    LabError::Silent { uri: uri.to_owned(), waited: ANSWER }
}

/// Waits no longer than this for libvirt. The call itself cannot be broken off; its thread goes with the process.
async fn within<T>(
    patience: Option<Duration>,
    uri: &str,
    work: impl Future<Output = Result<T, LabError>>,
) -> Result<T, LabError> {
    match patience {
        Some(patience) => tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(silent(uri))),
        None => work.await,
    }
}

/// This machine.
fn here() -> Shell {
    Target::new(ConnectionSpec::local("localhost")).shell(None)
}

/// Runs blocking work; a panic in it becomes an error.
pub(super) async fn join<T, F>(work: F) -> Result<T, LabError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, LabError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(LabError::failed("a background task broke off", e.to_string())))
}

fn is_local(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, rest)| rest.starts_with('/') && !scheme.starts_with("test"))
}

/// `through` is where libvirt's client connects; errors name the `uri`.
#[cfg(feature = "libvirt")]
fn open_driver(uri: &str, through: &str) -> Result<Arc<dyn Driver>, LabError> {
    Ok(Arc::new(super::libvirt::Libvirt::open(uri, through)?))
}

#[cfg(not(feature = "libvirt"))]
fn open_driver(_: &str, _: &str) -> Result<Arc<dyn Driver>, LabError> {
    Err(LabError::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn a_uri_without_a_host_is_local() {
        for (uri, local) in [
            ("qemu:///system", true),
            ("qemu+unix:///system?socket=/x", true),
            ("qemu+ssh://root@hv/system", false),
            ("test:///default", false),
        ] {
            assert_eq!(is_local(uri), local, "{uri}");
        }
    }
}
