//! A task goes over its hosts, side by side.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::task::AbortOnDropHandle;

use super::early;
use super::event::{Event, TaskLabel};
use super::flow::Hosts;
use super::keyword::Reader;
use super::order::{Order, Turn};
use super::play::PlayRun;
use super::scope::{Context, HostScope};
use super::task::{HostTask, chosen, label};
use crate::diag::Diagnostic;
use crate::playbook::{Action, Task};
use crate::vars::Scope;

/// Runs a task on hosts side by side; returns those on which it failed.
pub(super) async fn on_hosts(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    hosts: &Hosts,
    context: &Context,
) -> Result<Hosts, Diagnostic> {
    on_hosts_as(play, task, hosts, context, context.handler).await
}

/// The same for a handler where `handler` is set: tags do not choose handlers.
pub(super) async fn on_hosts_as(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    hosts: &Hosts,
    context: &Context,
    handler: bool,
) -> Result<Hosts, Diagnostic> {
    let Some(first) = hosts.first() else { return Ok(Hosts::new()) };
    play.run.stop.begin_task(task);
    let scope = HostScope::new(play, first, context).with_task_vars(&task.keywords.vars).shared();
    if !handler && !chosen(play, task, context, &scope)? {
        return Ok(Hosts::new());
    }
    let label = label(play, task, context, &scope, handler);
    let full = context.inside(&task.keywords, None);
    let course = Course::read(play, task, &full, &scope);
    let Course { once, fatal, lanes } = course.as_ref().copied().unwrap_or_default();
    let on: &[String] = if once { &hosts[..1] } else { hosts };
    if course.is_ok() {
        early::connect(play, task, &full, &on[..on.len().min(lanes)]);
    }
    play.run.emit(Event::TaskStarted { task: Arc::clone(&label), hosts: on.len() });
    play.run.stop.wait(&label, on);
    let order = Order::of(on.len());
    let work = Arc::new(Work {
        play: Arc::clone(play),
        task: Arc::clone(task),
        context: full,
        label,
        everyone: once.then(|| hosts.clone()),
        refused: course.err(),
    });
    let ends: Vec<(String, bool)> = stream::iter(on.iter().cloned().enumerate())
        .map(|(place, host)| {
            let (work, turn) = (Arc::clone(&work), order.turn(place));
            async move {
                if work.play.run.stop.is_cancelled() {
                    return (host, false);
                }
                work.play.run.stop.begin(&host, &work.label);
                let here = host.clone();
                // Each host on its own: one that computes, or waits in a lookup, holds no other up.
                let own = tokio::spawn(async move { work.on(&here, &turn).await });
                let failed = match AbortOnDropHandle::new(own).await {
                    Ok(failed) => failed,
                    // A panic while a result is reported is our fault, and no host's: it ends the run.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime ends, and the run with it.
                    Err(_) => true,
                };
                (host, failed)
            }
        })
        .buffer_unordered(lanes.max(1))
        .collect()
        .await;
    let mut failed: Hosts = ends.into_iter().filter_map(|(host, failed)| failed.then_some(host)).collect();
    if !failed.is_empty() && (once || fatal) {
        failed.clone_from(hosts);
    }
    Ok(failed)
}

/// A task that goes over its hosts.
struct Work {
    play: Arc<PlayRun>,
    task: Arc<Task>,
    /// With the task's own keywords innermost.
    context: Context,
    label: Arc<TaskLabel>,
    /// The hosts for which the result of one counts.
    everyone: Option<Hosts>,
    /// Why the task cannot be run anywhere.
    refused: Option<Diagnostic>,
}

impl Work {
    /// Does it on one host; `true` where the host fails by it.
    async fn on(&self, host: &str, turn: &Turn) -> bool {
        let Self { play, task, context, .. } = self;
        let label = Arc::clone(&self.label);
        let one = HostTask { play, task, context, label, host, turn, refused: self.refused.as_ref() };
        let started = Instant::now();
        // A fault of our own on one host costs no other host anything.
        let outcome = AssertUnwindSafe(turn.of(one.run())).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_told_by_the_hook| HostTask::broke());
        turn.comes().await;
        play.run.stop.end(host);
        one.settle(outcome, started, self.everyone.as_ref())
    }
}

/// How a task goes over its hosts.
#[derive(Debug, Clone, Copy)]
struct Course {
    once: bool,
    fatal: bool,
    lanes: usize,
}

impl Default for Course {
    fn default() -> Self {
        Self { once: false, fatal: false, lanes: 1 }
    }
}

impl Course {
    fn read(
        play: &PlayRun,
        task: &Task,
        context: &Context,
        scope: &Arc<dyn Scope>,
    ) -> Result<Self, Diagnostic> {
        let reader = Reader { templar: &play.run.templar, scope };
        let throttle = reader.get(context.nearest(|k| k.throttle.as_ref()))?;
        let throttle = throttle.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let forks = play.run.options.forks;
        Ok(Self {
            // A host that is added is there for all.
            once: task.action == Action::AddHost || reader.flag(context, |k| k.run_once.as_ref())?,
            fatal: reader.flag(context, |k| k.any_errors_fatal.as_ref())?,
            lanes: throttle.map_or(forks, |most| most.min(forks)),
        })
    }
}
