use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use serde_json::json;

use super::event::{Event, HostResult, Status, TaskLabel};
use super::play::PlayRun;
use super::register::ItemOutcome;
use super::scope::{Context, HostScope};
use super::speculate::Rest;
use super::{across, include, meta, role_arguments, task};
use crate::diag::Diagnostic;
use crate::playbook::{Action, Block, Entry, Task};
use crate::vars::{Known, Var};

/// Names of hosts in the play's order.
pub(super) type Hosts = Vec<String>;

/// Runs one section of a play; hosts on which a task fails for good leave the run.
pub(super) async fn section(
    play: &Arc<PlayRun>,
    entries: &[Entry],
    hosts: &Hosts,
    context: &Context,
) -> Result<(), Diagnostic> {
    if entries.is_empty() {
        return Ok(());
    }
    let lanes: Vec<Hosts> =
        if play.free { hosts.iter().map(|h| vec![h.clone()]).collect() } else { vec![hosts.clone()] };
    for failed in
        join_all(lanes.into_iter().map(|lane| entries_on(play, entries, lane, context.clone()))).await
    {
        failed?;
    }
    Ok(())
}

/// Runs entries in order on hosts in step; returns the hosts on which one failed.
pub(super) fn entries_on<'a>(
    play: &'a Arc<PlayRun>,
    entries: &'a [Entry],
    mut alive: Hosts,
    context: Context,
) -> BoxFuture<'a, Result<Hosts, Diagnostic>> {
    async move {
        let mut failed = Hosts::new();
        let list: Arc<[Entry]> = entries.into();
        let outer = context;
        for (index, entry) in entries.iter().enumerate() {
            let context = Rest::after(&list, index, &outer);
            alive.retain(|h| {
                !failed.contains(h) && play.run.host(h).active() && !play.run.host(h).state().left_role
            });
            if alive.is_empty() || play.is_over() {
                break;
            }
            let more = match entry {
                Entry::Block(block) => self::block(play, block, &alive, &context).await?,
                Entry::Task(one) if !admitted(play, one, &alive, &context) => Hosts::new(),
                Entry::Task(one) => match &one.action {
                    Action::Include(_) => include::run(play, one, &alive, &context, false).await?,
                    Action::Meta => {
                        meta::perform(play, one, &alive, &context).await?;
                        Hosts::new()
                    }
                    _ => across::on_hosts(play, one, &alive, &context).await?,
                },
            };
            // With nothing around that could still rescue or clean up, the host is out at once.
            if !context.guarded && !more.is_empty() {
                play.leave(&more);
            }
            failed.extend(more);
        }
        Ok(failed)
    }
    .boxed()
}

async fn block(
    play: &Arc<PlayRun>,
    block: &Block,
    hosts: &Hosts,
    context: &Context,
) -> Result<Hosts, Diagnostic> {
    let context = context.inside(&block.keywords, block.role.as_ref());
    let mut inner = context.clone();
    inner.rescuable = context.rescuable || !block.rescue.is_empty();
    inner.guarded = context.guarded || !block.rescue.is_empty() || !block.always.is_empty();
    let mut failed = Hosts::new();
    let mut alive = hosts.clone();
    if let Some(once) = block.role.as_ref().and_then(|r| r.once.as_ref()) {
        alive = play.first_time(once, alive);
        if alive.is_empty() {
            return Ok(failed);
        }
    }
    if let Some(role) = block.role.as_ref().filter(|r| r.spec.is_some() && play.run.has_started()) {
        failed.extend(role_arguments::validate(play, role, &alive, &inner));
        alive.retain(|h| !failed.contains(h));
    }
    failed.extend(entries_on(play, &block.tasks, alive, inner).await?);
    if !failed.is_empty() && !block.rescue.is_empty() && !play.run.stop.is_cancelled() {
        let mut rescue = context.clone();
        rescue.guarded = context.guarded || !block.always.is_empty();
        failed = entries_on(play, &block.rescue, failed, rescue).await?;
    }
    if !block.always.is_empty() {
        let all: Hosts = hosts.iter().filter(|h| play.run.host(h).active()).cloned().collect();
        let more = entries_on(play, &block.always, all, context).await?;
        failed.extend(more.into_iter().filter(|h| !failed.contains(h)).collect::<Vec<_>>());
    }
    if block.role.is_some() {
        for host in hosts {
            play.run.host(host).state().left_role = false;
        }
    }
    Ok(failed)
}

/// Whether `--start-at-task` and `--step` let this task run.
fn admitted(play: &Arc<PlayRun>, task: &Arc<Task>, hosts: &Hosts, context: &Context) -> bool {
    let course = &play.run.options.course;
    if course.start_at.is_none() && course.step.is_none() {
        return true;
    }
    let host = hosts.first().map_or("", String::as_str);
    let scope = HostScope::new(play, host, context).with_task_vars(&task.keywords.vars).shared();
    let label = task::label(play, task, context, &scope, context.handler);
    let own = task.name.as_ref().map(|_| label.name.rsplit(" : ").next().unwrap_or_default());
    play.run.starts_at(&[Some(label.name.as_str()), own])
        && (task.action == Action::Meta || play.run.agreed(&label.name))
}

/// What a rescue sees of the failure.
pub(super) fn remember_failure(play: &PlayRun, host: &str, task: &str, action: &str, result: Known) {
    let host = play.run.host(host);
    let mut state = host.state();
    let set = Arc::make_mut(&mut state.set);
    set.insert("ansible_failed_task".into(), Var::known(json!({"name": task, "action": action})));
    set.insert("ansible_failed_result".into(), Var::Known(result));
}

/// Ends a task that the engine itself performs for a host: it is counted (`times`, where it went well), kept for a rescue,
/// and told.
pub(super) fn finish(
    play: &PlayRun,
    context: &Context,
    label: &Arc<TaskLabel>,
    host: String,
    outcome: ItemOutcome,
    times: usize,
) {
    {
        let host = play.run.host(&host);
        let mut state = host.state();
        state.seen = true;
        match outcome.status {
            Status::Skipped => state.stats.skipped += 1,
            Status::Failed if context.rescuable => state.stats.rescued += 1,
            Status::Failed => state.stats.failed += 1,
            _ => state.stats.ok += u32::try_from(times).unwrap_or(u32::MAX),
        }
    }
    if outcome.status == Status::Failed && context.rescuable {
        remember_failure(play, &host, &label.name, &label.action, outcome.remembered().into());
    }
    play.run.emit(Event::Result {
        host,
        task: Arc::clone(label),
        result: HostResult {
            status: outcome.status,
            result: outcome.shown().into(),
            diff: Vec::new(),
            delegated: None,
            hint: outcome.hint.filter(|_| !outcome.said.hidden),
            ignored: false,
            elapsed: Duration::ZERO,
        },
    });
}
