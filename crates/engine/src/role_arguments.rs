//! A role's arguments, checked where it begins.

use std::sync::Arc;

use serde_json::json;

use super::event::{Event, Status, TaskLabel};
use super::flow::{self, Hosts};
use super::play::PlayRun;
use super::preflight;
use super::register::ItemOutcome;
use super::scope::{Context, HostScope};
use super::task::false_condition;
use crate::modules::Outcome;
use crate::playbook::Role;
use crate::value::Map;

/// What a check of arguments comes to.
pub(super) fn judged(errors: &[String]) -> Outcome {
    let mut result = Map::new();
    if errors.is_empty() {
        result.insert("msg".into(), json!("The arg spec validation passed"));
        return Outcome::ok(result);
    }
    result.insert("argument_errors".into(), json!(errors));
    Outcome::failed(format!("Validation of arguments failed:\n{}", errors.join("\n")), result)
}

/// Checks a role's arguments where the role begins, as a task of its own.
pub(super) fn validate(play: &Arc<PlayRun>, role: &Arc<Role>, hosts: &Hosts, context: &Context) -> Hosts {
    let origin = crate::diag::Origin::synthetic(role.folder.describe("meta/argument_specs.yml"));
    let name = role.validation();
    let mut failed = Hosts::new();
    let mut results = Vec::new();
    for host in hosts {
        let scope = HostScope::new(play, host, context).shared();
        let outcome = match false_condition(play, context, &scope) {
            Ok(None) => ItemOutcome::from_outcome(judged(&preflight::violations(&play.run, role, &scope))),
            Ok(Some(condition)) => ItemOutcome::condition_false(Some(&condition)),
            Err(error) => ItemOutcome::condition_unclear(&error),
        };
        if outcome.status == Status::Failed {
            failed.push(host.clone());
        }
        results.push((host, outcome));
    }
    let label = Arc::new(TaskLabel {
        name,
        action: "validate_argument_spec".into(),
        origin,
        handler: false,
        looped: false,
        quiet: false,
        module: false,
    });
    play.run.emit(Event::TaskStarted { task: Arc::clone(&label), hosts: hosts.len() });
    for (host, mut outcome) in results {
        if outcome.status == Status::Failed {
            outcome.hint = Some("set the variable in the inventory, in group_vars or with -e".into());
        }
        flow::finish(play, context, &label, host.clone(), outcome, 1);
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_become_one_message() {
        let outcome = judged(&[
            "missing required argument: a".into(),
            "argument b must be of type int, got \"x\"".into(),
        ]);
        assert_eq!(
            outcome.failed.as_deref(),
            Some(
                "Validation of arguments failed:\nmissing required argument: a\nargument b must be of type int, got \"x\""
            )
        );
        assert!(judged(&[]).failed.is_none());
    }
}
