//! `async`: tasks that go on while the play does, each over a connection of its own.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use serde_json::json;
use tokio::task::JoinHandle;

use super::register::ItemOutcome;
use crate::host::Target;
use crate::value::Map;

/// The jobs of a run, by host and number.
#[derive(Default)]
pub(super) struct Jobs {
    known: Mutex<HashMap<(String, String), Arc<Job>>>,
    running: Mutex<Vec<JoinHandle<()>>>,
    /// The jobs' connections.
    targets: Mutex<Vec<Target>>,
}

#[derive(Default)]
struct Job {
    ended: Mutex<Option<ItemOutcome>>,
}

impl Jobs {
    /// Keeps a job's connection, so that what runs there can be ended.
    pub(super) fn remember(&self, target: &Target) {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).push(target.clone());
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a job and says at once how it is found again.
    pub(super) fn start(
        &self,
        host: &str,
        work: impl Future<Output = ItemOutcome> + Send + 'static,
    ) -> ItemOutcome {
        let number = number();
        let job = Arc::new(Job::default());
        let slot = Arc::clone(&job);
        let known = number.clone();
        let handle = tokio::spawn(async move {
            let mut outcome = work.await;
            tell_of(&mut outcome, &known);
            *slot.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        let key = (host.to_owned(), number.clone());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, job);
        let mut result = about(&number);
        result.insert("finished".into(), json!(false));
        ItemOutcome::from_outcome(crate::modules::Outcome::changed(result))
    }

    /// How a job stands. `None`: there is none of that number on the host.
    pub(super) fn status(&self, host: &str, number: &str) -> Option<ItemOutcome> {
        let key = (host.to_owned(), number.to_owned());
        let job = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        let ended = job.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(ended.unwrap_or_else(|| {
            let mut result = about(number);
            result.insert("finished".into(), json!(false));
            for key in ["stdout", "stderr"] {
                result.insert(key.into(), json!(""));
                result.insert(format!("{key}_lines"), json!([]));
            }
            ItemOutcome::from_outcome(crate::modules::Outcome::ok(result))
        }))
    }

    /// Forgets a job; `false` where there was none.
    pub(super) fn forget(&self, host: &str, number: &str) -> bool {
        let key = (host.to_owned(), number.to_owned());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key).is_some()
    }

    /// Waits for what is still at work: with the program its connections would end.
    pub(super) async fn finish(&self) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in running {
            // A job that panicked has no result, and nobody asks for it any more.
            let _ended = handle.await;
        }
    }

    /// Breaks off what is still at work.
    pub(super) fn abort(&self) {
        for handle in self.running.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            handle.abort();
        }
    }
}

/// A job that is waited for: the same result as in the background, in the foreground; an error when its time is over.
pub(super) async fn foreground(
    limit: Duration,
    work: impl Future<Output = ItemOutcome>,
) -> Result<ItemOutcome, ItemOutcome> {
    let number = number();
    let Ok(mut outcome) = tokio::time::timeout(limit, work).await else {
        let seconds = limit.as_secs();
        return Err(ItemOutcome::failed(format!(
            "async task did not complete within the requested time - {seconds}s"
        )));
    };
    tell_of(&mut outcome, &number);
    Ok(outcome)
}

fn tell_of(outcome: &mut ItemOutcome, number: &str) {
    for (key, value) in about(number) {
        outcome.result.entry(key).or_insert(value);
    }
    outcome.result.insert("finished".into(), json!(true));
}

/// What every answer about a job holds.
pub(super) fn about(number: &str) -> Map {
    let mut result = Map::new();
    result.insert("ansible_job_id".into(), json!(number));
    result.insert("started".into(), json!(true));
    result.insert("results_file".into(), json!(format!("~/.ansible_async/{number}")));
    result
}

fn number() -> String {
    let drawn: u64 = rand::rng().random_range(1..1_000_000_000_000);
    format!("j{drawn}.{}", std::process::id())
}
