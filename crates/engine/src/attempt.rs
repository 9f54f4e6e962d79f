//! One item's action, tried as often as the task says, and judged.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::event::{Event, Status};
use super::keyword::Reader;
use super::register::ItemOutcome;
use super::scope::HostScope;
use super::task::HostTask;
use super::{action, speculate};
use crate::diag::Diagnostic;
use crate::value::{Map, Value};

impl HostTask<'_> {
    /// The action and its retries.
    pub(super) async fn attempt(
        &self,
        scope: &HostScope,
        reader: &Reader<'_>,
    ) -> Result<ItemOutcome, Diagnostic> {
        let retrying = !self.task.until.is_empty() || self.task.retries.is_some();
        let retries = reader.get(self.task.retries.as_ref())?.unwrap_or(3);
        let retries = if retrying { u32::try_from(retries).unwrap_or(u32::MAX) } else { 0 };
        let delay = reader.get(self.task.delay.as_ref())?.unwrap_or(5.0);
        let delay = if delay < 0.0 { 1.0 } else { delay };
        let delay = Duration::try_from_secs_f64(delay).unwrap_or(Duration::MAX);
        let mut tries = 0;
        loop {
            tries += 1;
            if retrying {
                // What is waited for comes about by itself.
                speculate::time_has_passed(self.play);
            }
            let mut outcome = action::perform(self.play, self.task, self.context, self.host, scope).await;
            outcome.flag();
            if retrying {
                outcome.result.insert("attempts".into(), json!(tries));
            }
            let judged = self.judge(scope, &mut outcome);
            if let Err(error) = judged {
                let mut wrong = ItemOutcome::failed(error.to_string());
                (wrong.delegated, wrong.changed) = (outcome.delegated, outcome.changed);
                wrong.flag();
                return Ok(wrong);
            }
            if !retrying || matches!(outcome.status, Status::Skipped | Status::Unreachable) {
                return Ok(outcome);
            }
            let done = if self.task.until.is_empty() {
                Ok(outcome.status != Status::Failed)
            } else {
                let scope = self.with_result(scope, &outcome.result).shared();
                self.task.until.iter().try_fold(true, |all, n| {
                    Ok::<_, Diagnostic>(all && self.play.run.templar.condition(n, &scope)?)
                })
            };
            match done {
                Ok(true) => return Ok(outcome),
                Ok(false) if retries >= tries && !self.play.run.stop.is_cancelled() => {
                    let left = retries - tries + 1;
                    self.play.run.emit(Event::Retry {
                        host: self.host.to_owned(),
                        task: Arc::clone(&self.label),
                        left,
                    });
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.play.run.stop.cancelled() => {}
                    }
                }
                Ok(false) => {
                    // The last try is not counted, as in Ansible.
                    outcome.result.insert("attempts".into(), json!(retries));
                    outcome.status = Status::Failed;
                    outcome.flag();
                    outcome.result.entry("msg").or_insert_with(|| {
                        json!("the condition of until was still false after the last try")
                    });
                    return Ok(outcome);
                }
                Err(error) => {
                    return Ok(ItemOutcome::failed(format!("until could not be evaluated: {error}")));
                }
            }
        }
    }

    /// The scope in which a result is judged: it sees the result under its registered name.
    pub(super) fn with_result(&self, scope: &HostScope, result: &Map) -> HostScope {
        match &self.task.register {
            Some(name) => scope.with_locals([(name.clone(), Value::Object(result.clone()))]),
            None => scope.clone(),
        }
    }

    /// `changed_when` and `failed_when`.
    fn judge(&self, scope: &HostScope, outcome: &mut ItemOutcome) -> Result<(), Diagnostic> {
        if outcome.status == Status::Skipped || outcome.status == Status::Unreachable {
            return Ok(());
        }
        let templar = &self.play.run.templar;
        if !self.task.changed_when.is_empty() {
            let scope = self.with_result(scope, &outcome.result).shared();
            let mut changed = true;
            for node in &self.task.changed_when {
                changed = changed && templar.condition(node, &scope)?;
            }
            outcome.changed = changed;
            outcome.settle();
        }
        if !self.task.failed_when.is_empty() {
            let scope = self.with_result(scope, &outcome.result).shared();
            let mut failed = true;
            for node in &self.task.failed_when {
                failed = failed && templar.condition(node, &scope)?;
            }
            outcome.result.insert("failed_when_result".into(), json!(failed));
            outcome.status = if failed { Status::Failed } else { Status::Ok };
            outcome.settle();
        }
        Ok(())
    }
}
