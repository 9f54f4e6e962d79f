use std::sync::Arc;

use super::relay::Relay;
use super::{Driver, LabError, Lvm, RemoteUri};
use crate::host::{BecomeMethod, BecomeSpec, ConnectionSpec, Script, Shell, Target};

/// A connection to libvirt on one hypervisor, and to the machine itself where there is one. Cheap to clone; the
/// connection is shared.
#[derive(Clone)]
pub struct Hypervisor {
    uri: String,
    driver: Arc<dyn Driver>,
    reach: Reach,
}

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
        join(move || {
            let driver = open_driver(&uri, &uri)?;
            Ok(Self { uri, driver, reach })
        })
        .await
    }

    /// Connects to a hypervisor through an SSH connection that there is already: no second login, the same keys and the
    /// same opinion of host keys as for everything else on that machine.
    async fn over(remote: &RemoteUri, shell: Shell) -> Result<Self, LabError> {
        let (relay, entrance) = Box::pin(Relay::open(remote, &shell)).await?;
        let (uri, through) = (remote.canonical(), remote.through(&entrance.socket));
        join(move || {
            let driver = open_driver(&uri, &through)?;
            // One connection is all: a shared one lives as long as the program, which must leave no socket behind.
            drop(entrance);
            Ok(Self { uri, driver, reach: Reach::Ssh { shell, _relay: Arc::new(relay) } })
        })
        .await
    }

    /// The shared connection to this URI: one for the whole run, opened again when it was lost.
    pub async fn shared(uri: &str) -> Result<Self, LabError> {
        Self::kept(uri.to_owned(), async { Self::open(uri).await }).await
    }

    /// The shared connection to this URI, through a task's own connection where that leads to the same machine.
    pub async fn shared_through(uri: &str, shell: &Shell) -> Result<Self, LabError> {
        match RemoteUri::parse(uri)? {
            Some(remote) if remote.is_at(shell.target().spec()) => {
                let spec = shell.target().spec();
                let key = format!("{uri} as {}@{}:{}", spec.user, spec.address, spec.port);
                Self::kept(key, async { Self::over(&remote, shell.clone()).await }).await
            }
            _ => Self::shared(uri).await,
        }
    }

    async fn kept(key: String, open: impl Future<Output = Result<Self, LabError>>) -> Result<Self, LabError> {
        static OPEN: tokio::sync::Mutex<Vec<(String, Hypervisor)>> =
            tokio::sync::Mutex::const_new(Vec::new());
        let mut all = OPEN.lock().await;
        if let Some((_, known)) = all.iter().find(|(k, _)| *k == key).cloned() {
            if known.call(|d| d.networks()).await.is_ok() {
                return Ok(known);
            }
            all.retain(|(k, _)| *k != key);
        }
        let fresh = open.await?;
        all.push((key, fresh.clone()));
        Ok(fresh)
    }

    /// A hypervisor that answers from somewhere else than libvirt.
    pub fn with_driver(uri: &str, driver: Arc<dyn Driver>) -> Self {
        Self { uri: uri.to_owned(), driver, reach: Reach::Nowhere }
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
        join(move || work(driver.as_ref())).await
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
