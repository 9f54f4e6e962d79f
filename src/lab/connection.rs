use std::sync::Arc;

use super::{Driver, LabError};

/// A connection to libvirt on one hypervisor. Cheap to clone; the connection is shared.
#[derive(Clone)]
pub struct Hypervisor {
    uri: String,
    driver: Arc<dyn Driver>,
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
        let uri = uri.to_owned();
        join(move || {
            let driver = open_driver(&uri)?;
            Ok(Self { uri, driver })
        })
        .await
    }

    /// The shared connection to this URI: one for the whole run, opened again when it was lost.
    pub async fn shared(uri: &str) -> Result<Self, LabError> {
        static OPEN: tokio::sync::Mutex<Vec<Hypervisor>> = tokio::sync::Mutex::const_new(Vec::new());
        let mut open = OPEN.lock().await;
        if let Some(known) = open.iter().find(|h| h.uri == uri).cloned() {
            if known.call(|d| d.networks()).await.is_ok() {
                return Ok(known);
            }
            open.retain(|h| h.uri != uri);
        }
        let fresh = Self::open(uri).await?;
        open.push(fresh.clone());
        Ok(fresh)
    }

    /// A hypervisor that answers from somewhere else than libvirt.
    pub fn with_driver(uri: &str, driver: Arc<dyn Driver>) -> Self {
        Self { uri: uri.to_owned(), driver }
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether the hypervisor is this machine, so that its files can be reached as files.
    pub fn is_local(&self) -> bool {
        is_local(&self.uri)
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
    uri.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/'))
}

#[cfg(feature = "libvirt")]
fn open_driver(uri: &str) -> Result<Arc<dyn Driver>, LabError> {
    Ok(Arc::new(super::libvirt::Libvirt::open(uri)?))
}

#[cfg(not(feature = "libvirt"))]
fn open_driver(_: &str) -> Result<Arc<dyn Driver>, LabError> {
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
        ] {
            assert_eq!(is_local(uri), local, "{uri}");
        }
    }
}
