//! The play's own course: `meta` tasks.

use std::sync::Arc;

use super::event::Event;
use super::flow::Hosts;
use super::handlers;
use super::play::PlayRun;
use super::scope::{Context, HostScope};
use super::task::{chosen, label};
use crate::diag::Diagnostic;
use crate::playbook::Task;
use crate::yaml::Node;

/// Does what a `meta` task says.
pub(super) async fn perform(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    hosts: &Hosts,
    context: &Context,
) -> Result<(), Diagnostic> {
    const KNOWN: [&str; 10] = [
        "noop",
        "flush_handlers",
        "end_play",
        "end_batch",
        "end_host",
        "end_role",
        "clear_facts",
        "clear_host_errors",
        "refresh_inventory",
        "reset_connection",
    ];
    let full = context.inside(&task.keywords, None);
    let what = task
        .args
        .as_map()
        .and_then(|m| m.get("_raw_params").or_else(|| m.get("free_form")))
        .map(Node::key_text)
        .unwrap_or_default();
    // What concerns the whole play is decided by its first host.
    let each =
        ["noop", "flush_handlers", "end_host", "end_role", "reset_connection"].contains(&what.as_str());
    let mut on = Hosts::new();
    for host in hosts.iter().take(if each { hosts.len() } else { 1 }) {
        let scope = HostScope::new(play, host, &full).shared();
        if !chosen(play, task, context, &scope)? {
            continue;
        }
        let holds =
            full.keywords.iter().flat_map(|k| &k.when).try_fold(true, |all, n| {
                Ok::<_, Diagnostic>(all && play.run.templar.condition(n, &scope)?)
            })?;
        play.run.emit(Event::Meta {
            task: label(play, task, context, &scope, context.handler),
            host: host.clone(),
            skipped: !holds,
        });
        if holds {
            on.push(host.clone());
        }
    }
    if on.is_empty() {
        return Ok(());
    }
    match what.as_str() {
        "noop" => {}
        "flush_handlers" => {
            let outer = Context::default().inside(&play.play.keywords, None);
            handlers::flush(play, &on, &outer).await?;
        }
        "end_play" => play.end(false),
        "end_batch" | "end_host" => {
            for host in if each { &on } else { hosts } {
                play.run.host(host).state().ended = true;
            }
        }
        "end_role" if full.role.is_none() => {
            return Err(Diagnostic::new("end_role stands in no role").at(&task.origin));
        }
        "end_role" => {
            for host in &on {
                play.run.host(host).state().left_role = true;
            }
        }
        "clear_facts" => {
            for host in hosts {
                play.run.host(host).state().facts = Arc::default();
            }
        }
        "clear_host_errors" => {
            for host in play.inventory_hosts() {
                let host = play.run.host(&host);
                let mut state = host.state();
                state.failed = false;
                state.unreachable = false;
            }
        }
        "refresh_inventory" => play.forget_inventory(),
        "reset_connection" => {
            for host in &on {
                let scope = HostScope::new(play, host, &full).shared();
                play.run.target(super::connection::spec(play, host, &full, &scope)?).close().await;
            }
        }
        other => {
            let near = crate::diag::closest(other, KNOWN).map(|n| format!("did you mean {n}?"));
            return Err(Diagnostic::new(format!("meta does not know {other:?}"))
                .at(&task.origin)
                .hint_opt(near));
        }
    }
    Ok(())
}
