//! What can be found wrong before any host is touched.

use std::sync::{Arc, PoisonError};

use super::play::PlayRun;
use super::run::Run;
use super::scope::{Context, HostScope};
use crate::diag::Diagnostic;
use crate::playbook::{Play, Role};
use crate::value::{Map, plain};

/// Checks the arguments of every role that is used statically, for every host, as far as they are known by now.
pub(super) fn check(run: &Arc<Run>, plays: &[Arc<Play>]) -> Result<(), Diagnostic> {
    for play in plays {
        let preview = PlayRun::preview(run, play, Vec::new());
        let nobody = HostScope::new(&preview, "", &Context::default()).shared();
        // A pattern that needs a variable is judged when its turn comes.
        let Ok(pattern) = run.templar.render(&play.hosts, &nobody) else { continue };
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
