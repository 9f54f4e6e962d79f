//! What can be found wrong before any host is touched.

use std::sync::{Arc, PoisonError};

use super::connection;
use super::event::Event;
use super::play::PlayRun;
use super::run::Run;
use super::scope::{Context, HostScope};
use crate::diag::Diagnostic;
use crate::playbook::{Action, Entry, Keywords, Play, Role, Task};
use crate::value::{Map, plain};

/// Checks the arguments of every role that is used statically, for every host, as far as they are known by now.
pub(super) fn check(run: &Arc<Run>, plays: &[Arc<Play>]) -> Result<(), Diagnostic> {
    for play in plays {
        for section in &play.sections {
            names_in(run, section)?;
        }
        for handler in &play.handlers {
            names_of(run, &handler.task)?;
        }
        let preview = PlayRun::preview(run, play, Vec::new());
        let nobody = HostScope::new(&preview, "", &Context::default()).shared();
        // A pattern that needs a variable is judged when its turn comes.
        let Ok(Some(pattern)) = run.templar.render(&play.hosts, &nobody) else { continue };
        let pattern = match pattern.as_array() {
            Some(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(":"),
            None => plain(&pattern),
        };
        let hosts = {
            let inventory = run.inventory.read().unwrap_or_else(PoisonError::into_inner);
            let limit = run.options.limit.as_deref();
            inventory.select_limited(&pattern, limit).map_err(|e| e.at_least(&play.hosts.origin))?.0
        };
        for host in &hosts {
            let context = Context { keywords: vec![Arc::clone(&play.keywords)], ..Context::default() };
            for idle in connection::check(&preview, host, &context)? {
                run.emit(Event::Remark { host: host.clone(), message: idle, verbosity: 3 });
            }
            for role in &play.roles {
                let context = Context {
                    role: Some(Arc::clone(role)),
                    keywords: vec![Arc::clone(&play.keywords)],
                    ..Context::default()
                };
                let scope = HostScope::new(&preview, host, &context).shared();
                // What is missing may still be set by a task; what is there must be right.
                let errors: Vec<String> =
                    violations(run, role, &scope).into_iter().filter(|e| !e.starts_with("missing")).collect();
                if !errors.is_empty() {
                    let mut error =
                        Diagnostic::new(format!("role {} on {host}: {}", role.name, errors.join("; "))).note(
                            format!(
                                "what it takes is written in {}",
                                role.folder.describe("meta/argument_specs.yml")
                            ),
                        );
                    if let Some(origin) = origin_of(&errors, role, &scope) {
                        error = error.at(&origin);
                    }
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Filters and tests that nobody has, wherever a task names them.
fn names_in(run: &Run, entries: &[Entry]) -> Result<(), Diagnostic> {
    entries.iter().try_for_each(|entry| match entry {
        Entry::Task(task) => names_of(run, task),
        Entry::Block(block) => {
            names_of_keywords(run, &block.keywords)?;
            names_in(run, &block.tasks)?;
            names_in(run, &block.rescue)?;
            names_in(run, &block.always)
        }
    })
}

fn names_of(run: &Run, task: &Task) -> Result<(), Diagnostic> {
    names_of_keywords(run, &task.keywords)?;
    run.templar.check_names(&task.args, false)?;
    let that = task.args.as_map().and_then(|m| m.get("that")).filter(|_| task.action == Action::Assert);
    that.into_iter().try_for_each(|node| run.templar.check_names(node, true))?;
    let looping = task.looping.as_ref().map(|l| &l.items);
    task.name.iter().chain(looping).try_for_each(|node| run.templar.check_names(node, false))?;
    let conditions = task.until.iter().chain(&task.changed_when).chain(&task.failed_when);
    conditions.into_iter().try_for_each(|node| run.templar.check_names(node, true))
}

fn names_of_keywords(run: &Run, keywords: &Keywords) -> Result<(), Diagnostic> {
    keywords.when.iter().try_for_each(|node| run.templar.check_names(node, true))?;
    keywords
        .vars
        .values()
        .chain(&keywords.environment)
        .try_for_each(|node| run.templar.check_names(node, false))
}

/// What is wrong with the variables that a role's specification describes.
pub(super) fn violations(run: &Run, role: &Role, scope: &Arc<dyn crate::vars::Scope>) -> Vec<String> {
    let Some(spec) = &role.spec else { return Vec::new() };
    let mut args = Map::new();
    for name in spec.names() {
        // A value that cannot be rendered yet is judged where the role runs.
        if let Ok(Some(value)) = run.templar.lookup(name, scope) {
            args.insert(name.to_owned(), value);
        }
    }
    spec.check(&args)
}

/// Where the variable that the first error names was written.
fn origin_of(
    errors: &[String],
    role: &Role,
    scope: &Arc<dyn crate::vars::Scope>,
) -> Option<crate::diag::Origin> {
    let named = |name: &&str| {
        errors.first().is_some_and(|e| e.split([' ', '.', '[', ',', ':']).any(|word| word == *name))
    };
    let name = role.spec.as_ref()?.names().find(named)?;
    match scope.get(name)? {
        crate::vars::Var::Raw(node) => Some(node.origin),
        crate::vars::Var::Known(_) => None,
    }
}
