use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::silent;
use super::{Hypervisor, LabError, RemoteUri};
use crate::host::Shell;

/// For how long one that did not answer is not asked again: many hosts may be waiting for their turn.
const SILENT: Duration = Duration::from_secs(60);

/// The hypervisors that one run is connected to: each is connected to once, whoever asks, and again when the connection was lost.
///
/// One that does not answer holds up those who ask for it, and nobody else.
#[derive(Debug, Default)]
pub struct Hypervisors {
    known: Mutex<HashMap<String, Arc<Place>>>,
}

type Place = tokio::sync::Mutex<Standing>;

/// What is known of one hypervisor.
#[derive(Debug, Default)]
enum Standing {
    #[default]
    New,
    Open(Hypervisor),
    /// It did not answer, and since when.
    Silent(Instant),
}

impl Hypervisors {
    /// The connection to this URI.
    pub async fn get(&self, uri: &str) -> Result<Hypervisor, LabError> {
        self.kept(uri, async { Hypervisor::open(uri).await }).await
    }

    /// The connection to this URI, through a task's own connection where that leads to the same machine.
    pub async fn through(&self, uri: &str, shell: &Shell) -> Result<Hypervisor, LabError> {
        match RemoteUri::parse(uri)? {
            Some(remote) if remote.is_at(shell.target().spec()) => {
                let spec = shell.target().spec();
                let key = format!("{uri} as {}@{}:{}", spec.user, spec.address, spec.port);
                self.kept(&key, async { Hypervisor::over(&remote, shell.clone()).await }).await
            }
            _ => self.get(uri).await,
        }
    }

    /// Those that are connected to now.
    pub async fn open(&self) -> Vec<Hypervisor> {
        let places: Vec<Arc<Place>> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.values().map(Arc::clone).collect()
        };
        let mut open = Vec::new();
        for place in places {
            if let Standing::Open(hypervisor) = &*place.lock().await {
                open.push(hypervisor.clone());
            }
        }
        open.sort_by(|a, b| a.uri().cmp(b.uri()));
        open
    }

    async fn kept(
        &self,
        key: &str,
        open: impl Future<Output = Result<Hypervisor, LabError>>,
    ) -> Result<Hypervisor, LabError> {
        let place = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(key.to_owned()).or_default())
        };
        let mut standing = place.lock().await;
        match &*standing {
            Standing::Silent(since) if since.elapsed() < SILENT => return Err(silent(key)),
            Standing::Open(hypervisor) => {
                let answer = hypervisor.clone().only_asked().call(|d| d.networks()).await;
                if answer.is_ok() {
                    return Ok(hypervisor.clone());
                }
                if let Err(LabError::Silent { .. }) = answer {
                    *standing = Standing::Silent(Instant::now());
                    return Err(silent(key));
                }
            }
            Standing::New | Standing::Silent(_) => {}
        }
        let fresh = open.await;
        *standing = match &fresh {
            Ok(fresh) => Standing::Open(fresh.clone()),
            Err(LabError::Silent { .. }) => Standing::Silent(Instant::now()),
            Err(_) => Standing::New,
        };
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_is_silent_holds_nobody_else_up() {
        let all = Hypervisors::default();
        let hangs = all.kept("far", std::future::pending());
        let other = async {
            tokio::task::yield_now().await;
            all.kept("near", async { Err(LabError::Conflict("reached".into())) }).await
        };
        let near = tokio::select! {
            _ = hangs => None,
            near = other => near.err(),
        };
        assert!(matches!(near, Some(LabError::Conflict(_))), "{near:?}");
    }

    #[tokio::test]
    async fn one_that_did_not_answer_is_not_waited_for_again() {
        let all = Hypervisors::default();
        let first = all.kept("far", async { Err(silent("far")) }).await;
        let second = all.kept("far", async { unreachable!("it is not asked") }).await;
        for answer in [first, second] {
            assert!(matches!(answer, Err(LabError::Silent { .. })), "{answer:?}");
        }
        // What failed at once is tried again.
        for _ in 0..2 {
            let answer = all.kept("refused", async { Err(LabError::Conflict("asked".into())) }).await;
            assert!(matches!(answer, Err(LabError::Conflict(_))), "{answer:?}");
        }
    }
}
