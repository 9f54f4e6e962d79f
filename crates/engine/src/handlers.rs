use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::flow::Hosts;
use super::play::PlayRun;
use super::scope::{Context, HostScope};
use super::{across, include};
use crate::diag::{Diagnostic, closest};
use crate::playbook::{Action, Handler};
use crate::value::plain;

/// Runs the handlers that were notified, in the order in which they are defined.
///
/// A handler may notify one that is defined after it; one that is before it waits for the next time.
pub(super) async fn flush(play: &Arc<PlayRun>, hosts: &Hosts, context: &Context) -> Result<(), Diagnostic> {
    let mut waiting: BTreeMap<usize, Hosts> = BTreeMap::new();
    let mut next = 0;
    loop {
        let handlers: Vec<Handler> = play.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        collect(play, &handlers, hosts, context, &mut waiting)?;
        let Some(index) = waiting.range(next..).map(|(index, _)| *index).next() else { break };
        let on = waiting.remove(&index).unwrap_or_default();
        next = index + 1;
        let Some(handler) = handlers.get(index) else { break };
        let on: Hosts = hosts.iter().filter(|h| on.contains(h) && takes_part(play, h)).cloned().collect();
        if on.is_empty() || play.is_over() {
            continue;
        }
        let mut context = context.clone();
        for keywords in &handler.keywords {
            context = context.inside(keywords, None);
        }
        context.role.clone_from(&handler.role);
        let failed = match &handler.task.action {
            Action::Include(_) => include::run(play, &handler.task, &on, &context, true).await?,
            _ => across::on_hosts_as(play, &handler.task, &on, &context, true).await?,
        };
        play.leave(&failed);
    }
    let handlers: Vec<Handler> = play.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for (index, on) in waiting {
        let Some(handler) = handlers.get(index) else { continue };
        let Some(name) = Names::of(play, handler, context, hosts).own.pop() else { continue };
        for host in on {
            play.run.host(&host).state().notified.push((name.clone(), handler.task.origin.clone()));
        }
    }
    Ok(())
}

fn takes_part(play: &PlayRun, host: &str) -> bool {
    let host = play.run.host(host);
    host.active() || play.force_handlers && !host.state().unreachable
}

/// Turns what hosts were notified of into handlers.
fn collect(
    play: &Arc<PlayRun>,
    handlers: &[Handler],
    hosts: &Hosts,
    context: &Context,
    waiting: &mut BTreeMap<usize, Hosts>,
) -> Result<(), Diagnostic> {
    let notified = |h: &&String| takes_part(play, h) && !play.run.host(h).state().notified.is_empty();
    let notified: Hosts = hosts.iter().filter(notified).cloned().collect();
    if notified.is_empty() {
        return Ok(());
    }
    let names: Vec<Names> = handlers.iter().map(|h| Names::of(play, h, context, hosts)).collect();
    for host in notified {
        let taken = std::mem::take(&mut play.run.host(&host).state().notified);
        for (name, origin) in taken {
            let found = answering(handlers, &names, &name);
            if found.is_empty() {
                let known = names.iter().flat_map(|n| n.own.iter().chain(&n.listens)).map(String::as_str);
                let near = closest(&name, known).map(|near| format!("did you mean {near:?}?"));
                return Err(Diagnostic::new(format!("no handler is called {name:?} or listens to it"))
                    .at(&origin)
                    .hint_opt(near));
            }
            for index in found {
                let on = waiting.entry(index).or_default();
                if !on.contains(&host) {
                    on.push(host.clone());
                }
            }
        }
    }
    Ok(())
}

/// What a handler answers to.
struct Names {
    /// Its name and `role : name`.
    own: Vec<String>,
    listens: Vec<String>,
}

impl Names {
    fn of(play: &Arc<PlayRun>, handler: &Handler, context: &Context, hosts: &Hosts) -> Self {
        let mut context = context.clone();
        context.role.clone_from(&handler.role);
        let scope = HostScope::new(play, hosts.first().map_or("", String::as_str), &context).shared();
        let text = |node| play.run.templar.render(node, &scope).ok().flatten().map(|v| plain(&v));
        let mut own = Vec::new();
        if let Some(name) = handler.task.name.as_ref().and_then(text) {
            own.push(name.clone());
            own.extend(handler.role.as_ref().map(|role| format!("{} : {name}", role.name)));
        }
        Self { own, listens: handler.task.listen.iter().filter_map(text).collect() }
    }
}

/// The handlers that a notification means: one of that name, and all that listen to it.
///
/// Of several with one name, a play's own wins over a role's, and a later role's over an earlier one's.
fn answering(handlers: &[Handler], names: &[Names], notification: &str) -> Vec<usize> {
    let home = |index: usize| handlers.get(index).and_then(|h| h.role.as_ref()).map(|r| r.name.clone());
    let mut found: Vec<usize> = Vec::new();
    let mut by_name: Option<usize> = None;
    for (index, one) in names.iter().enumerate() {
        let same_home = by_name.is_some_and(|before| home(before) == home(index));
        if one.own.iter().any(|n| n == notification) && !same_home {
            by_name = Some(index);
        }
        if one.listens.iter().any(|n| n == notification) {
            found.push(index);
        }
    }
    found.extend(by_name.filter(|index| !found.contains(index)));
    found
}
