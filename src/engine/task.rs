use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use super::event::{Event, HostResult, Status, TaskLabel};
use super::flow::{self, Hosts};
use super::looping::{self, LoopNames};
use super::play::PlayRun;
use super::register::{ItemOutcome, censored, combine};
use super::run::HostState;
use super::scope::{Context, HostScope};
use super::speculate::{self, Loop};
use super::{action, early, select};
use crate::diag::Diagnostic;
use crate::playbook::{self, Task};
use crate::value::{Map, Value, plain, truth};
use crate::vars::{Scope, Var};
use crate::yaml::Node;

/// Whether tags let a task run.
pub(super) fn chosen(
    play: &PlayRun,
    task: &Task,
    context: &Context,
    scope: &Arc<dyn Scope>,
) -> Result<bool, Diagnostic> {
    let options = &play.run.options;
    let mut tags = BTreeSet::new();
    for node in context.keywords.iter().chain([&task.keywords]).flat_map(|k| &k.tags) {
        match play.run.templar.render(node, scope)? {
            Value::Array(more) => tags.extend(more.iter().map(plain)),
            one => tags.extend(plain(&one).split(',').map(|t| t.trim().to_owned())),
        }
    }
    Ok(select::selected(&tags, &options.tags, &options.skip_tags))
}

/// What people see of a task.
pub(super) fn label(
    play: &PlayRun,
    task: &Task,
    context: &Context,
    scope: &Arc<dyn Scope>,
    handler: bool,
) -> Arc<TaskLabel> {
    let own = task.name.as_ref().map(|node| {
        // A name that cannot be rendered (it uses the loop's item, say) is shown as written.
        play.run.templar.render(node, scope).map_or_else(|_| node.key_text(), |v| plain(&v))
    });
    let own = own.filter(|n| !n.is_empty()).unwrap_or_else(|| task.written.clone());
    let name = context.role.as_ref().map_or_else(|| own.clone(), |role| format!("{} : {own}", role.name));
    let quiet = task.args.as_map().and_then(|m| m.get("quiet")).and_then(|n| truth(&n.to_value()));
    Arc::new(TaskLabel {
        name,
        action: task.action.name().to_owned(),
        origin: task.origin.clone(),
        handler,
        looped: task.looping.is_some(),
        quiet: quiet.unwrap_or(false),
        module: matches!(task.action, playbook::Action::Module(_)),
    })
}

/// Runs a task on hosts side by side; returns those on which it failed.
pub(super) async fn on_hosts(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    hosts: &Hosts,
    context: &Context,
) -> Result<Hosts, Diagnostic> {
    on_hosts_as(play, task, hosts, context, context.handler).await
}

/// The same for a handler where `handler` is set: tags do not choose handlers.
pub(super) async fn on_hosts_as(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    hosts: &Hosts,
    context: &Context,
    handler: bool,
) -> Result<Hosts, Diagnostic> {
    let Some(first) = hosts.first() else { return Ok(Hosts::new()) };
    let scope = HostScope::new(play, first, context).with_task_vars(&task.keywords.vars).shared();
    if !handler && !chosen(play, task, context, &scope)? {
        return Ok(Hosts::new());
    }
    let label = label(play, task, context, &scope, handler);
    let full = context.inside(&task.keywords, None);
    let flag = |node: Option<&Node>| -> Result<bool, Diagnostic> {
        node.map_or(Ok(false), |n| Ok(truth(&play.run.templar.render(n, &scope)?).unwrap_or(false)))
    };
    // A host that is added is there for all.
    let once = task.action == playbook::Action::AddHost || flag(full.nearest(|k| k.run_once.as_ref()))?;
    let fatal = flag(full.nearest(|k| k.any_errors_fatal.as_ref()))?;
    let throttle = match full.nearest(|k| k.throttle.as_ref()) {
        Some(node) => plain(&play.run.templar.render(node, &scope)?).parse().unwrap_or(0),
        None => 0,
    };
    let lanes = if throttle > 0 { throttle.min(play.run.options.forks) } else { play.run.options.forks };
    let on: &[String] = if once { &hosts[..1] } else { hosts };
    early::connect(play, task, &full, &on[..on.len().min(lanes)]);
    play.run.emit(Event::TaskStarted { task: Arc::clone(&label), hosts: on.len() });
    let ends: Vec<(String, bool)> = stream::iter(on.iter().cloned())
        .map(|host| {
            let (label, full) = (Arc::clone(&label), &full);
            async move {
                let failed = HostTask { play, task, context: full, label, host: &host }
                    .run(once.then_some(hosts))
                    .await;
                (host, failed)
            }
        })
        .buffer_unordered(lanes.max(1))
        .collect()
        .await;
    let mut failed: Hosts = ends.into_iter().filter_map(|(host, failed)| failed.then_some(host)).collect();
    if !failed.is_empty() && (once || fatal) {
        failed.clone_from(hosts);
    }
    Ok(failed)
}

/// The first condition that does not hold.
pub(super) fn false_condition(
    play: &PlayRun,
    context: &Context,
    scope: &Arc<dyn Scope>,
) -> Result<Option<Node>, Diagnostic> {
    for node in context.keywords.iter().flat_map(|k| &k.when) {
        if !play.run.templar.condition(node, scope)? {
            return Ok(Some(node.clone()));
        }
    }
    Ok(None)
}

/// One task on one host.
struct HostTask<'a> {
    play: &'a Arc<PlayRun>,
    task: &'a Arc<Task>,
    /// With the task's own keywords innermost.
    context: &'a Context,
    label: Arc<TaskLabel>,
    host: &'a str,
}

impl HostTask<'_> {
    /// Runs it; `true` where the host fails by it. With `everyone`, the result counts for all of them.
    async fn run(&self, everyone: Option<&Hosts>) -> bool {
        let started = Instant::now();
        let scope = HostScope::new(self.play, self.host, self.context).at(&self.task.folder);
        let outcome = match looping::items(&self.play.run.templar, self.task, &scope) {
            Ok(None) => {
                speculate::look_ahead(self.play, self.host, self.context, None).await;
                self.notifying(&scope, self.attempt(&scope).await)
            }
            Ok(Some(items)) => self.each(&scope, items).await,
            Err(error) => match false_condition(self.play, self.context, &scope.clone().shared()) {
                // A loop over what only exists when the condition holds is skipped with it.
                Ok(Some(condition)) => ItemOutcome::condition_false(Some(&condition)),
                _ => ItemOutcome::failed(error.to_string()),
            },
        };
        self.settle(&scope, outcome, started, everyone)
    }

    fn flag(&self, scope: &Arc<dyn Scope>, node: Option<&Node>) -> bool {
        node.and_then(|n| self.play.run.templar.render(n, scope).ok())
            .and_then(|v| truth(&v))
            .unwrap_or(false)
    }

    /// Registers, counts, notifies and reports.
    fn settle(
        &self,
        scope: &HostScope,
        outcome: ItemOutcome,
        started: Instant,
        everyone: Option<&Hosts>,
    ) -> bool {
        let scope = scope.clone().shared();
        let ignored = outcome.status == Status::Failed
            && self.flag(&scope, self.context.nearest(|k| k.ignore_errors.as_ref()));
        let forgiven = outcome.status == Status::Unreachable
            && self.flag(&scope, self.context.nearest(|k| k.ignore_unreachable.as_ref()));
        let failed = !ignored && !forgiven && matches!(outcome.status, Status::Failed | Status::Unreachable);
        let one = [self.host.to_owned()];
        let fact_host = self.fact_host(&scope, &outcome);
        for host in everyone.map_or(&one[..], Vec::as_slice) {
            let state = self.play.run.host(host);
            let mut state = state.state();
            if let Some(name) = &self.task.register {
                Arc::make_mut(&mut state.set)
                    .insert(name.clone(), Var::Known(Value::Object(outcome.result.clone())));
            }
            let own_facts = fact_host.as_deref().is_none_or(|h| h == host);
            if !outcome.facts.is_empty() && own_facts {
                self.keep(&mut state, &outcome.facts);
            }
            // One changed item notifies for all; of the hosts only the one on which it ran.
            let notifies = outcome.status == Status::Changed && host == self.host;
            for name in outcome.notified.iter().filter(|_| notifies) {
                if !state.notified.iter().any(|(known, _)| known == name) {
                    state.notified.push((name.clone(), self.task.origin.clone()));
                }
            }
        }
        if let Some(other) = fact_host.filter(|h| h != self.host) {
            let other = self.play.run.host(&other);
            Arc::make_mut(&mut other.state().facts)
                .extend(outcome.facts.iter().map(|(k, v)| (k.clone(), Var::Known(v.clone()))));
        }
        if failed && self.context.rescuable {
            let name = self.task.name.as_ref().map(|_| self.label.name.as_str()).unwrap_or_default();
            flow::remember_failure(self.play, self.host, name, &self.label.action, &outcome.result);
        }
        self.count(&outcome, failed, ignored || forgiven);
        let hidden = self.flag(&scope, self.context.nearest(|k| k.no_log.as_ref()));
        for warning in &outcome.warnings {
            self.play.run.warn(Diagnostic::new(warning.clone()).at(&self.task.origin));
        }
        self.play.run.emit(Event::Result {
            host: self.host.to_owned(),
            task: Arc::clone(&self.label),
            result: HostResult {
                status: outcome.status,
                result: if hidden { censored(&outcome.result) } else { outcome.result },
                diff: if hidden || self.task.looping.is_some() { Vec::new() } else { outcome.diff },
                delegated: outcome.delegated,
                hint: outcome.hint,
                ignored: ignored || forgiven,
                elapsed: started.elapsed(),
            },
        });
        failed
    }

    /// Puts facts where they belong.
    fn keep(&self, state: &mut HostState, facts: &Map) {
        let known = facts.iter().map(|(k, v)| (k.clone(), Var::Known(v.clone())));
        let store =
            if self.task.action == playbook::Action::SetFact { &mut state.set } else { &mut state.facts };
        Arc::make_mut(store).extend(known);
        let cacheable = self.task.args.as_map().and_then(|m| m.get("cacheable"));
        if cacheable.and_then(|n| truth(&n.to_value())).unwrap_or(false) {
            Arc::make_mut(&mut state.facts)
                .extend(facts.iter().map(|(k, v)| (k.clone(), Var::Known(v.clone()))));
        }
    }

    /// What a change notifies, named while the item is known.
    fn notifying(&self, scope: &HostScope, mut outcome: ItemOutcome) -> ItemOutcome {
        if matches!(outcome.status, Status::Ok | Status::Changed) {
            let scope = scope.clone().shared();
            let names = self.task.notify.iter().filter_map(|n| self.play.run.templar.render(n, &scope).ok());
            outcome.notified = names
                .flat_map(|v| match v {
                    Value::Array(all) => all.iter().map(plain).collect(),
                    one => vec![plain(&one)],
                })
                .collect();
        }
        outcome
    }

    fn fact_host(&self, scope: &Arc<dyn Scope>, outcome: &ItemOutcome) -> Option<String> {
        let delegated = outcome.delegated.clone()?;
        self.flag(scope, self.context.nearest(|k| k.delegate_facts.as_ref())).then_some(delegated)
    }

    fn count(&self, outcome: &ItemOutcome, failed: bool, ignored: bool) {
        let host = self.play.run.host(self.host);
        let mut state = host.state();
        state.seen = true;
        match outcome.status {
            Status::Ok => state.stats.ok += 1,
            Status::Changed => {
                state.stats.ok += 1;
                state.stats.changed += 1;
            }
            Status::Skipped => state.stats.skipped += 1,
            Status::Failed | Status::Unreachable if ignored => {
                state.stats.ok += 1;
                state.stats.ignored += 1;
                state.stats.changed += u32::from(outcome.changed);
            }
            Status::Unreachable => {
                state.stats.unreachable += 1;
                state.unreachable = true;
            }
            Status::Failed if failed && self.context.rescuable => state.stats.rescued += 1,
            Status::Failed => state.stats.failed += 1,
        }
    }

    async fn each(&self, outer: &HostScope, items: Vec<Value>) -> ItemOutcome {
        let names = match LoopNames::of(&self.play.run.templar, self.task, &outer.clone().shared()) {
            Ok(names) => names,
            Err(error) => return ItemOutcome::failed(error.to_string()),
        };
        let mut outer = outer.clone();
        let mut outcomes = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if self.play.run.stop.is_cancelled() {
                break;
            }
            if index > 0 && !names.pause.is_zero() {
                tokio::time::sleep(names.pause).await;
                speculate::time_has_passed(self.play);
            }
            let left = Loop { task: self.task, names: &names, items: &items, next: index + 1 };
            speculate::look_ahead(self.play, self.host, self.context, Some(left)).await;
            let scope = outer.with_locals(names.locals(&items, index));
            let started = Instant::now();
            let mut outcome = self.notifying(&scope, self.attempt(&scope).await);
            outcome.result.insert(names.item.clone(), item.clone());
            outcome.result.insert("ansible_loop_var".into(), json!(names.item));
            if let Some(name) = &names.index {
                outcome.result.insert(name.clone(), json!(index));
                outcome.result.insert("ansible_index_var".into(), json!(name));
            }
            let shared = self.with_result(&scope, &outcome.result).shared();
            let shown = names
                .label
                .as_ref()
                .and_then(|n| self.play.run.templar.render(n, &shared).ok())
                .unwrap_or_else(|| item.clone());
            outcome.result.insert("_ansible_item_label".into(), shown.clone());
            self.report_item(&shared, &outcome, &shown, started);
            // What one item sets, the next one sees.
            if self.fact_host(&shared, &outcome).is_none() && !outcome.facts.is_empty() {
                self.keep(&mut self.play.run.host(self.host).state(), &outcome.facts);
            }
            if !outcome.facts.is_empty() || !matches!(self.task.action, playbook::Action::Module(_)) {
                outer = HostScope::new(self.play, self.host, self.context);
            }
            let unreachable = outcome.status == Status::Unreachable;
            outcomes.push(outcome);
            let stop =
                names.break_when.iter().any(|n| self.play.run.templar.condition(n, &shared).unwrap_or(false));
            if unreachable || stop {
                break;
            }
        }
        combine(outcomes)
    }

    fn report_item(&self, scope: &Arc<dyn Scope>, outcome: &ItemOutcome, shown: &Value, started: Instant) {
        let hidden = self.flag(scope, self.context.nearest(|k| k.no_log.as_ref()));
        let ignored = self.flag(scope, self.context.nearest(|k| k.ignore_errors.as_ref()));
        let item = if hidden { "(censored due to no_log)".to_owned() } else { crate::template::shown(shown) };
        self.play.run.emit(Event::Item {
            host: self.host.to_owned(),
            task: Arc::clone(&self.label),
            item,
            result: HostResult {
                status: outcome.status,
                result: if hidden { censored(&outcome.result) } else { outcome.result.clone() },
                diff: if hidden { Vec::new() } else { outcome.diff.clone() },
                delegated: outcome.delegated.clone(),
                hint: outcome.hint.clone(),
                ignored,
                elapsed: started.elapsed(),
            },
        });
    }

    /// One item: condition, action, retries.
    async fn attempt(&self, scope: &HostScope) -> ItemOutcome {
        let shared = scope.clone().shared();
        match false_condition(self.play, self.context, &shared) {
            Ok(None) => {}
            Ok(Some(condition)) => return ItemOutcome::condition_false(Some(&condition)),
            Err(error) => {
                return ItemOutcome::condition_unclear(&error);
            }
        }
        let number = |node: Option<&Node>, default: u32| -> u32 {
            let rendered = node.and_then(|n| self.play.run.templar.render(n, &shared).ok());
            rendered.and_then(|v| plain(&v).parse::<f64>().ok()).map_or(default, |n| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of tries or seconds"
                )]
                let n = n.max(0.0) as u32;
                n
            })
        };
        let retrying = !self.task.until.is_empty() || self.task.retries.is_some();
        let retries = if retrying { number(self.task.retries.as_ref(), 3) } else { 0 };
        let delay = self.task.delay.as_ref().and_then(|n| self.play.run.templar.render(n, &shared).ok());
        let delay = delay.and_then(|v| plain(&v).trim().parse::<f64>().ok()).unwrap_or(5.0);
        let delay = Duration::try_from_secs_f64(delay).unwrap_or_default();
        let mut tries = 0;
        loop {
            tries += 1;
            if retrying {
                // What is waited for comes about by itself.
                speculate::time_has_passed(self.play);
            }
            let mut outcome = action::perform(self.play, self.task, self.context, self.host, scope).await;
            outcome.flag();
            if retrying {
                outcome.result.insert("attempts".into(), json!(tries));
            }
            let judged = self.judge(scope, &mut outcome);
            if let Err(error) = judged {
                let mut wrong = ItemOutcome::failed(error.to_string());
                (wrong.delegated, wrong.changed) = (outcome.delegated, outcome.changed);
                wrong.flag();
                return wrong;
            }
            if !retrying || matches!(outcome.status, Status::Skipped | Status::Unreachable) {
                return outcome;
            }
            let done = if self.task.until.is_empty() {
                Ok(outcome.status != Status::Failed)
            } else {
                let scope = self.with_result(scope, &outcome.result).shared();
                self.task.until.iter().try_fold(true, |all, n| {
                    Ok::<_, Diagnostic>(all && self.play.run.templar.condition(n, &scope)?)
                })
            };
            match done {
                Ok(true) => return outcome,
                Ok(false) if tries <= retries && !self.play.run.stop.is_cancelled() => {
                    let left = retries + 1 - tries;
                    self.play.run.emit(Event::Retry {
                        host: self.host.to_owned(),
                        task: Arc::clone(&self.label),
                        left,
                    });
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.play.run.stop.cancelled() => {}
                    }
                }
                Ok(false) => {
                    // The last try is not counted, as in Ansible.
                    outcome.result.insert("attempts".into(), json!(retries));
                    outcome.status = Status::Failed;
                    outcome.flag();
                    outcome.result.entry("msg").or_insert_with(|| {
                        json!("the condition of until was still false after the last try")
                    });
                    return outcome;
                }
                Err(error) => return ItemOutcome::failed(format!("until could not be evaluated: {error}")),
            }
        }
    }

    /// The scope in which a result is judged: it sees the result under its registered name.
    fn with_result(&self, scope: &HostScope, result: &Map) -> HostScope {
        match &self.task.register {
            Some(name) => scope.with_locals([(name.clone(), Value::Object(result.clone()))]),
            None => scope.clone(),
        }
    }

    /// `changed_when` and `failed_when`.
    fn judge(&self, scope: &HostScope, outcome: &mut ItemOutcome) -> Result<(), Diagnostic> {
        if outcome.status == Status::Skipped || outcome.status == Status::Unreachable {
            return Ok(());
        }
        let templar = &self.play.run.templar;
        if !self.task.changed_when.is_empty() {
            let scope = self.with_result(scope, &outcome.result).shared();
            let mut changed = true;
            for node in &self.task.changed_when {
                changed = changed && templar.condition(node, &scope)?;
            }
            outcome.changed = changed;
            outcome.settle();
        }
        if !self.task.failed_when.is_empty() {
            let scope = self.with_result(scope, &outcome.result).shared();
            let mut failed = true;
            for node in &self.task.failed_when {
                failed = failed && templar.condition(node, &scope)?;
            }
            outcome.result.insert("failed_when_result".into(), json!(failed));
            outcome.status = if failed { Status::Failed } else { Status::Ok };
            outcome.settle();
        }
        Ok(())
    }
}
