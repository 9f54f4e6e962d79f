//! Has connections opened while the first requests are still being made up.

use std::sync::Arc;

use super::play::PlayRun;
use super::scope::{Context, HostScope};
use super::{action, connection};
use crate::diag::Diagnostic;
use crate::host::Target;
use crate::modules::{Effect, registry};
use crate::playbook::{Action, Task};

/// Begins to connect to those of the hosts that the task will ask and nobody has asked yet; in the background, and nothing is said of failures:
/// the task comes upon them itself. `context` ends with the task's own keywords.
pub(super) fn connect(play: &Arc<PlayRun>, task: &Task, context: &Context, hosts: &[String]) {
    let Action::Module(name) = &task.action else { return };
    // What acts may let time pass before it asks anything: until a host has been restarted, say.
    if registry().get(name).is_none_or(|module| module.effect() == Effect::Acts) {
        return;
    }
    for host in hosts {
        let is_new = play.run.host(host).scouted().shell.is_none();
        if is_new && let Ok(Some(target)) = wanted(play, context, host) {
            target.connect_early();
        }
    }
}

/// Where the task will most likely ask for this host; a loop's items are not known yet, and a task that needs them for this is let be.
fn wanted(play: &Arc<PlayRun>, context: &Context, host: &str) -> Result<Option<Target>, Diagnostic> {
    let scope = HostScope::new(play, host, context).guessing().shared();
    for condition in context.keywords.iter().flat_map(|k| &k.when) {
        if !play.run.templar.condition(condition, &scope)? {
            return Ok(None);
        }
    }
    if action::delegate(play, context, &scope)?.is_some_and(|other| other != host) {
        return Ok(None);
    }
    Ok(Some(play.run.target(connection::spec(play, host, context, &scope)?)))
}
