use std::sync::{Arc, PoisonError};

use super::flow::Hosts;
use super::play::PlayRun;
use super::scope::{Context, HostScope};
use super::{include, task};
use crate::diag::Diagnostic;
use crate::playbook::{Action, Handler};
use crate::value::plain;

/// Runs the handlers that were notified, in the order in which they are defined.
pub(super) async fn flush(play: &Arc<PlayRun>, hosts: &Hosts, context: &Context) -> Result<(), Diagnostic> {
    // A handler may notify another one; each round runs what the one before it notified.
    for _ in 0..100 {
        let handlers: Vec<Handler> = play.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ran = false;
        for handler in &handlers {
            let names = names(play, handler, context, hosts);
            let on: Hosts = hosts.iter().filter(|h| take(play, h, &names)).cloned().collect();
            if on.is_empty() || play.is_over() {
                continue;
            }
            ran = true;
            let mut context = context.clone();
            for keywords in &handler.keywords {
                context = context.inside(keywords, None);
            }
            context.role.clone_from(&handler.role);
            let failed = match &handler.task.action {
                Action::Include(_) => include::run(play, &handler.task, &on, &context).await?,
                _ => task::on_hosts_as(play, &handler.task, &on, &context, true).await?,
            };
            for host in failed {
                play.run.host(&host).state().failed = true;
            }
        }
        if !ran {
            break;
        }
    }
    unknown(play, hosts);
    Ok(())
}

/// What a handler answers to: its name, `role : name`, and what it listens to.
fn names(play: &Arc<PlayRun>, handler: &Handler, context: &Context, hosts: &Hosts) -> Vec<String> {
    let mut context = context.clone();
    context.role.clone_from(&handler.role);
    let scope = HostScope::new(play, hosts.first().map_or("", String::as_str), &context).shared();
    let text = |node| play.run.templar.render(node, &scope).ok().map(|v| plain(&v));
    let mut names: Vec<String> = handler.task.listen.iter().filter_map(text).collect();
    if let Some(name) = handler.task.name.as_ref().and_then(text) {
        if let Some(role) = &handler.role {
            names.push(format!("{} : {name}", role.name));
        }
        names.push(name);
    }
    names
}

/// Whether a host was notified under one of these names; the notification is used up.
fn take(play: &PlayRun, host: &str, names: &[String]) -> bool {
    let host = play.run.host(host);
    if !(host.active() || play.force_handlers && !host.state().unreachable) {
        return false;
    }
    let mut state = host.state();
    let before = state.notified.len();
    state.notified.retain(|n| !names.contains(n));
    state.notified.len() != before
}

/// A notification that no handler answers to is a mistake in the playbook.
fn unknown(play: &PlayRun, hosts: &Hosts) {
    let mut said = Vec::new();
    for host in hosts {
        let host = play.run.host(host);
        if !host.active() {
            continue;
        }
        for name in std::mem::take(&mut host.state().notified) {
            if !said.contains(&name) {
                play.run.warn(
                    Diagnostic::new(format!("no handler is called {name:?} or listens to it"))
                        .at(&play.play.origin),
                );
                said.push(name);
            }
        }
    }
}
