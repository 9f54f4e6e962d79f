use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde::Serialize;

use crate::engine::{Event, HostResult, Status, TaskLabel};
use crate::modules::Diff;
use crate::value::plain;

/// What a run would change, over all layers. Its JSON is what `quaylab plan --json` prints; fields are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LabPlan {
    pub format_version: u32,
    pub lab: String,
    /// Whether a run would change anything.
    pub changes: bool,
    pub infrastructure: Vec<InfraChange>,
    pub hosts: Vec<HostPlan>,
    /// What could not be planned, and why.
    pub failures: Vec<PlanFailure>,
    /// VMs of the lab that no host of the inventory has.
    pub unclaimed: Vec<String>,
    pub summary: PlanSummary,
}

/// The present shape of the JSON.
pub const PLAN_FORMAT: u32 = 1;

/// One thing on a hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InfraChange {
    pub kind: InfraKind,
    pub name: String,
    pub action: InfraAction,
    /// The inventory's host for which it is.
    pub host: String,
    pub keys: Vec<KeyChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InfraKind {
    Network,
    Pool,
    Image,
    Volume,
    Installation,
    Vm,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InfraAction {
    Add,
    Change,
    /// Changes only with a restart of what stands on it.
    Restart,
    /// Goes away with all that it holds, and is made anew.
    Replace,
    Remove,
}

/// One key of a definition; `before` is missing where it is new, `after` where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    pub key: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What would change in one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostPlan {
    pub host: String,
    /// Whether there is a machine that could be looked into.
    pub exists: bool,
    /// Why there is none, where its VM is there.
    pub reason: Option<String>,
    pub roles: Vec<RolePlan>,
    /// For a host that does not exist yet: what will run there, as far as it is known.
    pub follows: Option<Follows>,
}

/// The tasks of one role (or of a play itself, without a name) that would change something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RolePlan {
    pub role: Option<String>,
    pub tasks: Vec<TaskPlan>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TaskPlan {
    pub task: String,
    pub module: String,
    pub item: Option<String>,
    pub handler: bool,
    pub delegated_to: Option<String>,
    pub diff: Vec<TextDiff>,
}

/// A difference as two texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TextDiff {
    pub before_header: String,
    pub after_header: String,
    pub before: String,
    pub after: String,
}

/// What will run in a host that does not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Follows {
    pub roles: Vec<String>,
    /// Counted as written: a loop counts once, an include as one.
    pub tasks: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlanFailure {
    pub host: String,
    pub task: String,
    pub origin: String,
    pub message: String,
    pub hint: Option<String>,
    pub unreachable: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PlanSummary {
    pub add: usize,
    pub change: usize,
    pub restart: usize,
    pub replace: usize,
    pub remove: usize,
    /// Tasks that would change something, in hosts that exist.
    pub tasks: usize,
    /// Hosts that exist and would change.
    pub hosts: usize,
    /// Hosts that do not exist yet.
    pub hosts_to_come: usize,
}

/// Modules whose changes are the lab's infrastructure.
pub const INFRASTRUCTURE: [&str; 6] =
    ["virt_net", "virt_pool", "virt_image", "virt_volume", "virt_install", "virt_domain"];

/// Gathers a plan from the events of a run in check mode.
#[derive(Debug, Default)]
pub struct PlanCollector {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    infrastructure: Vec<InfraChange>,
    hosts: IndexMap<String, Vec<RolePlan>>,
    failures: Vec<PlanFailure>,
    /// Hosts whose VM cannot be looked into yet, and why, where more is known than that it does not run.
    to_come: BTreeMap<String, Option<String>>,
    /// Where a task was told about item by item.
    itemized: HashSet<(String, String)>,
    /// The places of the tasks that a host has come by.
    seen: HashMap<String, HashSet<String>>,
    /// Hosts on which a failure counted in the end.
    failed: HashSet<String>,
}

impl PlanCollector {
    /// Takes in one event.
    pub fn see(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Item { host, task, item, result } => {
                state.itemized.insert((host.clone(), task.origin.to_string()));
                state.result(host, task, Some(item), result);
            }
            Event::Result { host, task, result } => {
                let place = task.origin.to_string();
                state.seen.entry(host.clone()).or_default().insert(place.clone());
                // The items have told already; what is left is a failure before the first of them.
                if !state.itemized.remove(&(host.clone(), place)) {
                    state.result(host, task, None, result);
                }
            }
            Event::Finished { stats, .. } => {
                state.failed = stats
                    .iter()
                    .filter(|(_, s)| s.failed + s.unreachable > 0)
                    .map(|(host, _)| host.clone())
                    .collect();
            }
            _ => {}
        }
    }

    /// The plan; `follows` says what is written for a host besides the tasks at these places.
    pub fn finish(&self, lab: &str, follows: impl Fn(&str, &HashSet<String>) -> Option<Follows>) -> LabPlan {
        let mut state = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        state.infrastructure.sort_by(|a, b| (a.kind, &a.host).cmp(&(b.kind, &b.host)));
        // A base image or a network that several hosts share is one thing.
        let mut told = HashSet::new();
        state.infrastructure.retain(|c| {
            !matches!(c.kind, InfraKind::Image | InfraKind::Network | InfraKind::Pool)
                || told.insert((c.kind as u8, c.name.clone()))
        });
        // What was rescued is no failure, and a host that the plan would make cannot be reached yet.
        let (failed, to_come) = (&state.failed, &state.to_come);
        state
            .failures
            .retain(|f| failed.contains(&f.host) && !(f.unreachable && to_come.contains_key(&f.host)));
        let mut hosts: Vec<HostPlan> = Vec::new();
        let nowhere = HashSet::new();
        for (host, roles) in state.hosts {
            let exists = !state.to_come.contains_key(&host);
            let follows =
                if exists { None } else { follows(&host, state.seen.get(&host).unwrap_or(&nowhere)) };
            let reason = state.to_come.remove(&host).flatten();
            hosts.push(HostPlan { host, exists, reason, roles, follows });
        }
        for (host, reason) in state.to_come {
            let follows = follows(&host, state.seen.get(&host).unwrap_or(&nowhere));
            hosts.push(HostPlan { host, exists: false, reason, roles: Vec::new(), follows });
        }
        let summary = PlanSummary::of(&state.infrastructure, &hosts);
        LabPlan {
            format_version: PLAN_FORMAT,
            lab: lab.to_owned(),
            changes: summary != PlanSummary::default(),
            infrastructure: state.infrastructure,
            hosts,
            failures: state.failures,
            unclaimed: Vec::new(),
            summary,
        }
    }
}

impl LabPlan {
    /// Where hosts are replaced, VMs and volumes that go are made anew.
    pub fn replacing(&mut self, some: bool) {
        for change in self.infrastructure.iter_mut().filter(|_| some) {
            if change.action == InfraAction::Remove
                && matches!(change.kind, InfraKind::Vm | InfraKind::Volume)
            {
                change.action = InfraAction::Replace;
            }
        }
        self.summary = PlanSummary::of(&self.infrastructure, &self.hosts);
    }
}

impl PlanSummary {
    fn of(infrastructure: &[InfraChange], hosts: &[HostPlan]) -> Self {
        let count = |action| infrastructure.iter().filter(|c| c.action == action).count();
        let tasks = |host: &HostPlan| host.roles.iter().map(|r| r.tasks.len()).sum::<usize>();
        Self {
            add: count(InfraAction::Add),
            change: count(InfraAction::Change),
            restart: count(InfraAction::Restart),
            replace: count(InfraAction::Replace),
            remove: count(InfraAction::Remove),
            tasks: hosts.iter().map(tasks).sum(),
            hosts: hosts.iter().filter(|h| h.exists && tasks(h) > 0).count(),
            hosts_to_come: hosts.iter().filter(|h| !h.exists).count(),
        }
    }
}

impl State {
    fn result(&mut self, host: &str, task: &TaskLabel, item: Option<&str>, result: &HostResult) {
        match result.status {
            Status::Changed if INFRASTRUCTURE.contains(&task.action.as_str()) => {
                let changes = result.diff.iter().map(|d| infra_change(host, &task.action, d));
                self.infrastructure.extend(changes);
                if task.action == "virt_domain" && result.diff.iter().any(|d| d.before.is_empty()) {
                    self.to_come.insert(host.to_owned(), None);
                }
            }
            Status::Changed => self.task(host, task, item, result),
            Status::Skipped
                if task.action == "virt_wait" && result.result.fields().contains_key("skip_reason")
                // A false condition is no word about the VM.
                && !result.result.fields().contains_key("false_condition") =>
            {
                let reason = result.result.fields().get("skip_reason").map(plain);
                self.to_come.entry(host.to_owned()).or_insert(reason);
            }
            Status::Failed | Status::Unreachable if !result.ignored => {
                let message = ["msg", "censored"].iter().find_map(|key| result.result.fields().get(*key));
                let message = message.map(plain).unwrap_or_default();
                self.failures.push(PlanFailure {
                    host: host.to_owned(),
                    task: task.name.clone(),
                    origin: task.origin.to_string(),
                    message,
                    hint: result.hint.clone(),
                    unreachable: result.status == Status::Unreachable,
                });
            }
            _ => {}
        }
    }

    fn task(&mut self, host: &str, task: &TaskLabel, item: Option<&str>, result: &HostResult) {
        let (role, name) = match task.name.split_once(" : ") {
            Some((role, name)) => (Some(role.to_owned()), name.to_owned()),
            None => (None, task.name.clone()),
        };
        let roles = self.hosts.entry(host.to_owned()).or_default();
        let one = TaskPlan {
            task: name,
            module: task.action.clone(),
            item: item.map(str::to_owned),
            handler: task.handler,
            delegated_to: result.delegated.clone(),
            diff: result.diff.iter().map(TextDiff::from).collect(),
        };
        match roles.last_mut().filter(|last| last.role == role) {
            Some(last) => last.tasks.push(one),
            None => roles.push(RolePlan { role, tasks: vec![one] }),
        }
    }
}

impl From<&Diff> for TextDiff {
    fn from(diff: &Diff) -> Self {
        Self {
            before_header: diff.before_header.clone(),
            after_header: diff.after_header.clone(),
            before: diff.before.clone(),
            after: diff.after.clone(),
        }
    }
}

fn infra_change(host: &str, module: &str, diff: &Diff) -> InfraChange {
    let title = diff.before_header.strip_prefix("before: ").unwrap_or(&diff.before_header);
    let kind = match module {
        "virt_net" => InfraKind::Network,
        "virt_pool" => InfraKind::Pool,
        "virt_image" => InfraKind::Image,
        "virt_volume" => InfraKind::Volume,
        "virt_install" => InfraKind::Installation,
        "virt_domain" => InfraKind::Vm,
        _ => InfraKind::Other,
    };
    let name = match kind {
        InfraKind::Image => diff.after.trim().to_owned(),
        _ => title.split_once(' ').map_or(title, |(_, name)| name).to_owned(),
    };
    // What restarts says so in its diff.
    let restarts = diff.after.lines().any(|l| l.starts_with("restarted:") || l.ends_with(", restarted"));
    let action = match (diff.before.is_empty(), diff.after.is_empty()) {
        (true, _) => InfraAction::Add,
        (_, true) => InfraAction::Remove,
        _ if restarts => InfraAction::Restart,
        _ => InfraAction::Change,
    };
    let keys = if kind == InfraKind::Image { Vec::new() } else { key_changes(&diff.before, &diff.after) };
    InfraChange { kind, name, action, host: host.to_owned(), keys }
}

/// What differs between two definitions of `key: value` lines, in the order of the later one.
fn key_changes(before: &str, after: &str) -> Vec<KeyChange> {
    let pairs = |text: &str| -> Vec<(String, String)> {
        text.lines()
            .filter(|l| !l.trim().is_empty())
            .map(|l| l.split_once(": ").unwrap_or((l, "")))
            .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
            .collect()
    };
    let (mut old, new) = (pairs(before), pairs(after));
    let mut changes = Vec::new();
    for (key, value) in new {
        // A key may stand there more than once (subnets, say): equal pairs first, then pairs in order.
        let same = old.iter().position(|(k, v)| *k == key && *v == value);
        if let Some(at) = same {
            old.remove(at);
            continue;
        }
        let was = old.iter().position(|(k, _)| *k == key).map(|at| old.remove(at).1);
        changes.push(KeyChange { key, before: was, after: Some(value) });
    }
    changes.extend(old.into_iter().map(|(key, value)| KeyChange { key, before: Some(value), after: None }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_compared_key_by_key() {
        let change = |key: &str, before: Option<&str>, after: Option<&str>| KeyChange {
            key: key.into(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let before = "vcpus: 1\nmemory: 512 MiB\ndisk vda: /p/a\naddress: 10.0.0.1/24\naddress: fd00::1/64\n";
        let after = "vcpus: 2\nmemory: 512 MiB\ndisk vda: /p/a\ndisk vdb: /p/b\naddress: fd00::1/64\n";
        assert_eq!(
            key_changes(before, after),
            [
                change("vcpus", Some("1"), Some("2")),
                change("disk vdb", None, Some("/p/b")),
                change("address", Some("10.0.0.1/24"), None),
            ]
        );
        assert_eq!(key_changes(before, before), []);
        assert_eq!(key_changes("", "a: 1\n"), [change("a", None, Some("1"))]);
    }
}
