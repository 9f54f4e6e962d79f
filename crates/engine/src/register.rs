//! What `register` sees.

use serde_json::json;

use super::event::Status;
use super::keyword::Said;
use crate::diag::Diagnostic;
use crate::host::Limits;
use crate::modules::{Diff, Outcome};
use crate::value::{Map, Value};
use crate::yaml::Node;

/// What stands for an item that must not be shown.
pub(super) const HIDDEN_ITEM: &str = "(censored due to no_log)";

/// How one item (or a task without a loop) went.
#[derive(Debug, Clone)]
pub(super) struct ItemOutcome {
    pub status: Status,
    /// Something was changed, also where the task failed after that.
    pub changed: bool,
    /// Handlers, by the names under which they were notified.
    pub notified: Vec<String>,
    /// With `changed`, `failed` and `skipped`.
    pub result: Map,
    pub diff: Vec<Diff>,
    pub facts: Map,
    /// The facts are kept as gathered ones too.
    pub cached: bool,
    pub hint: Option<String>,
    pub delegated: Option<String>,
    pub warnings: Vec<String>,
    pub said: Said,
    /// Which of a loop's items are hidden; for one item it is `said` that tells.
    pub hidden_items: Vec<bool>,
}

impl ItemOutcome {
    pub(super) fn from_outcome(outcome: Outcome) -> Self {
        let mut result = outcome.result;
        let status = if let Some(message) = outcome.failed {
            result.entry("msg").or_insert_with(|| json!(message));
            Status::Failed
        } else if let Some(reason) = outcome.skipped {
            result.insert("skip_reason".into(), json!(reason));
            Status::Skipped
        } else if outcome.changed {
            Status::Changed
        } else {
            Status::Ok
        };
        let mut this = Self {
            status,
            changed: outcome.changed,
            notified: Vec::new(),
            result,
            diff: outcome.diff,
            facts: outcome.facts,
            cached: outcome.cached,
            hint: None,
            delegated: None,
            warnings: outcome.warnings,
            said: Said::default(),
            hidden_items: Vec::new(),
        };
        this.flag();
        this
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::from_outcome(Outcome::failed(message, Map::new()))
    }

    /// Makes a failure of what had gone well until then.
    pub(super) fn fail(&mut self, message: &str) {
        if self.status != Status::Unreachable {
            self.status = Status::Failed;
        }
        self.result.insert("msg".into(), json!(message));
        self.flag();
    }

    /// The user stopped the run while this task was at work.
    pub(super) fn interrupted(task: &str) -> Self {
        let mut this = Self::failed(format!(
            "{task:?} was at work; what it had done by then stays as it is, and the next run looks at it first"
        ));
        this.result.insert("interrupted".into(), json!(true));
        this
    }

    pub(super) fn unreachable(message: impl Into<String>, hint: Option<&str>) -> Self {
        let mut this = Self::failed(message);
        this.status = Status::Unreachable;
        this.hint = hint.map(str::to_owned);
        this.result.insert("unreachable".into(), json!(true));
        this
    }

    /// A condition was false.
    pub(super) fn condition_false(condition: Option<&Node>) -> Self {
        let mut this = Self::from_outcome(Outcome::skipped("Conditional result was False"));
        if let Some(condition) = condition {
            this.result.insert("false_condition".into(), condition.to_value());
        }
        this
    }

    pub(super) fn condition_unclear(error: &Diagnostic) -> Self {
        Self::failed(format!("the condition could not be evaluated: {error}"))
    }

    /// Brings the status in line with `changed` where nothing failed, and writes both into the result.
    pub(super) fn settle(&mut self) {
        if matches!(self.status, Status::Ok | Status::Changed) {
            self.status = if self.changed { Status::Changed } else { Status::Ok };
        }
        self.flag();
    }

    /// Writes the status into the result.
    pub(super) fn flag(&mut self) {
        self.result.insert("changed".into(), json!(self.changed));
        // An unreachable host has not failed: it was never asked.
        self.result.insert("failed".into(), json!(self.status == Status::Failed));
        if self.status == Status::Skipped {
            self.result.shift_remove("failed");
            self.result.insert("skipped".into(), json!(true));
        }
    }
}

/// The outcomes of a loop's items as one.
pub(super) fn combine(items: Vec<ItemOutcome>) -> ItemOutcome {
    let all = |status: Status| items.iter().all(|i| i.status == status);
    let any = |status: Status| items.iter().any(|i| i.status == status);
    let all_of = |status: Status, says: fn(&Said) -> bool| {
        any(status) && items.iter().filter(|i| i.status == status).all(|i| says(&i.said))
    };
    let status = if any(Status::Unreachable) {
        Status::Unreachable
    } else if any(Status::Failed) {
        Status::Failed
    } else if all(Status::Skipped) {
        Status::Skipped
    } else if any(Status::Changed) {
        Status::Changed
    } else {
        Status::Ok
    };
    let mut result = Map::new();
    let message = match status {
        Status::Failed | Status::Unreachable => "One or more items failed",
        Status::Skipped if items.is_empty() => "No items in the list",
        Status::Skipped => "All items skipped",
        _ => "All items completed",
    };
    if items.is_empty() {
        result.insert("skipped_reason".into(), json!("No items in the list"));
    } else {
        result.insert("msg".into(), json!(message));
    }
    let mut facts = Map::new();
    let mut combined = ItemOutcome {
        status,
        changed: items.iter().any(|i| i.changed),
        notified: items.iter().flat_map(|i| i.notified.clone()).collect(),
        result: Map::new(),
        diff: Vec::new(),
        facts: Map::new(),
        cached: items.iter().any(|i| i.cached),
        hint: items.iter().filter(|i| !i.said.hidden).find_map(|i| i.hint.clone()),
        delegated: items.iter().find_map(|i| i.delegated.clone()),
        warnings: Vec::new(),
        said: Said {
            hidden: items.iter().any(|i| i.said.hidden),
            // Only what fails is there to be ignored, and all of that has to be.
            ignore_errors: all_of(Status::Failed, |said| said.ignore_errors),
            ignore_unreachable: all_of(Status::Unreachable, |said| said.ignore_unreachable),
            delegate_facts: items.iter().any(|i| i.said.delegate_facts),
        },
        hidden_items: items.iter().map(|i| i.said.hidden).collect(),
    };
    for warning in items.iter().filter(|i| !i.said.hidden).flat_map(|i| &i.warnings) {
        if !combined.warnings.contains(warning) {
            combined.warnings.push(warning.clone());
        }
    }
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        facts.extend(item.facts);
        results.push(Value::Object(item.result));
    }
    result.insert("results".into(), Value::Array(results));
    combined.result = result;
    combined.facts = facts;
    combined.flag();
    if status != Status::Skipped {
        combined.result.insert("skipped".into(), json!(false));
    }
    if status != Status::Failed {
        combined.result.shift_remove("failed");
    }
    combined
}

impl ItemOutcome {
    /// The result as it may be shown. Of a loop with hidden items each of these is left out, and what stands beside them.
    pub(super) fn shown(&self) -> Map {
        if !self.said.hidden {
            return self.result.clone();
        }
        let mut shown = censored(&self.result);
        if let (false, Some(Value::Array(all))) = (self.hidden_items.is_empty(), self.result.get("results")) {
            let items = all.iter().zip(&self.hidden_items).map(|(item, hidden)| match item {
                Value::Object(item) if *hidden => Value::Object(censored(item)),
                other => other.clone(),
            });
            shown.insert("results".into(), items.collect());
        }
        shown
    }

    /// What a rescue sees of it. A hidden failure tells its status, so that a report of every failure does not tell a secret.
    pub(super) fn remembered(&self) -> Map {
        let mut seen = self.shown();
        if let (true, Some(status)) = (self.said.hidden, self.result.get("rc")) {
            seen.insert("rc".into(), status.clone());
        }
        seen
    }
}

/// What stands in for a result that must not be shown.
fn censored(result: &Map) -> Map {
    let mut shown = Map::new();
    shown.insert(
        "censored".into(),
        json!("the output has been hidden due to the fact that 'no_log: true' was specified for this result"),
    );
    for key in ["attempts", "changed", "failed", "skipped", "unreachable", "interrupted"] {
        if let Some(value) = result.get(key) {
            shown.insert(key.into(), value.clone());
        }
    }
    shown
}

/// Adds the standard output and error as lines, as Ansible does. Of too many lines there is the text alone, and a warning.
pub(super) fn add_lines(outcome: &mut ItemOutcome, limits: Limits) {
    for key in ["stdout", "stderr"] {
        let lines_key = format!("{key}_lines");
        if let (Some(Value::String(text)), false) =
            (outcome.result.get(key), outcome.result.contains_key(&lines_key))
        {
            let lines: Vec<&str> = text.lines().take(limits.parts() + 1).collect();
            if lines.len() > limits.parts() {
                let most = limits.parts();
                let warning = format!(
                    "{key} has more than {most} lines, so {lines_key} is left out: use {key}, or raise max_reply_size"
                );
                outcome.warnings.push(warning);
                continue;
            }
            let lines = json!(lines);
            outcome.result.insert(lines_key, lines);
        }
    }
}
