use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use serde_json::json;

use super::event::{Event, HostResult, Status, TaskLabel};
use super::flow::{self, Hosts};
use super::keyword::{Reader, Said};
use super::looping::{self, LoopNames};
use super::order::Turn;
use super::play::PlayRun;
use super::register::{HIDDEN_ITEM, ItemOutcome, combine};
use super::run::HostState;
use super::scope::{Context, HostScope};
use super::select;
use super::speculate::{self, Loop};
use crate::diag::Diagnostic;
use crate::playbook::{self, Task};
use crate::template::Templar;
use crate::value::{Value, plain, truth};
use crate::vars::{Known, Scope, Var};
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
            None => {}
            Some(Value::Array(more)) => tags.extend(more.iter().map(plain)),
            Some(one) => tags.extend(plain(&one).split(',').map(|t| t.trim().to_owned())),
        }
    }
    Ok(select::selected(&tags, &options.tags, &options.skip_tags))
}

/// A text, or what was written for it where it cannot be rendered.
pub(super) fn text_or_written(templar: &Templar, node: &Node, scope: &Arc<dyn Scope>) -> String {
    match templar.render(node, scope) {
        Ok(Some(value)) => plain(&value),
        Ok(None) => String::new(),
        Err(_) => node.key_text(),
    }
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
        text_or_written(&play.run.templar, node, scope)
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
pub(super) struct HostTask<'a> {
    pub play: &'a Arc<PlayRun>,
    pub task: &'a Arc<Task>,
    /// With the task's own keywords innermost.
    pub context: &'a Context,
    pub label: Arc<TaskLabel>,
    pub host: &'a str,
    /// To tell what it did.
    pub turn: &'a Turn,
    /// Why the task cannot be run anywhere.
    pub refused: Option<&'a Diagnostic>,
}

impl HostTask<'_> {
    /// Runs it.
    pub(super) async fn run(&self) -> ItemOutcome {
        let scope = HostScope::new(self.play, self.host, self.context).at(&self.task.folder);
        let items = match self.refused {
            Some(why) => Err(why.clone()),
            None => looping::items(&self.play.run.templar, self.task, &scope),
        };
        match items {
            Ok(None) => {
                self.look_ahead(None).await;
                self.notifying(&scope, self.one(&scope).await)
            }
            Ok(Some(items)) => {
                // Each item has told its own differences.
                ItemOutcome { diff: Vec::new(), ..self.each(&scope, items).await }
            }
            Err(error) => self.not_begun(&scope, &error),
        }
    }

    /// Looks at what comes next. An internal error in that does not fail this task: the other one's own turn shows it.
    async fn look_ahead(&self, left: Option<Loop<'_>>) {
        let looking = speculate::look_ahead(self.play, self.host, self.context, left);
        let _its_own_turn = AssertUnwindSafe(looking).catch_unwind().await;
    }

    /// The end of a task after an internal error: it fails on this host.
    pub(super) fn broke() -> ItemOutcome {
        let mut outcome =
            ItemOutcome::failed("quaylab hit an internal error in this task; standard error says where");
        outcome.hint = Some("the other hosts go on; please report it with this task and that line".into());
        outcome
    }

    /// The end of a task that cannot begin: a loop over what only exists when the condition holds is skipped with it.
    fn not_begun(&self, scope: &HostScope, why: &Diagnostic) -> ItemOutcome {
        let shared = scope.clone().shared();
        let mut outcome = match false_condition(self.play, self.context, &shared) {
            Ok(Some(condition)) => ItemOutcome::condition_false(Some(&condition)),
            // With the stop, what a lookup had started is ended.
            _ if self.play.run.stop.is_cancelled() => ItemOutcome::interrupted(&self.label.name),
            _ => ItemOutcome::failed(why.to_string()),
        };
        let reader = self.reader(&shared);
        // What is wrong with these as well makes the failure no worse.
        outcome.said = reader.said(self.context).unwrap_or_default();
        outcome.said.hidden = reader.hidden(self.context).unwrap_or(true);
        outcome
    }

    fn reader<'s>(&'s self, scope: &'s Arc<dyn Scope>) -> Reader<'s> {
        Reader { templar: &self.play.run.templar, scope }
    }

    /// One item from its condition to its end, with what the keywords say of that.
    async fn one(&self, scope: &HostScope) -> ItemOutcome {
        let shared = scope.clone().shared();
        let reader = self.reader(&shared);
        let hidden = reader.hidden(self.context);
        let said = reader.said(self.context);
        let mut outcome = match false_condition(self.play, self.context, &shared) {
            Ok(Some(condition)) => ItemOutcome::condition_false(Some(&condition)),
            Err(error) => ItemOutcome::condition_unclear(&error),
            Ok(None) => match (&hidden, &said) {
                (Err(unclear), _) => {
                    self.turn.comes().await;
                    self.play.run.warn(unclear.clone());
                    ItemOutcome::failed(unclear.to_string())
                }
                (_, Err(error)) => ItemOutcome::failed(error.to_string()),
                (Ok(_), Ok(_)) => {
                    let tried = self.attempt(scope, &reader).await;
                    tried.unwrap_or_else(|error| ItemOutcome::failed(error.to_string()))
                }
            },
        };
        // What cannot be read forgives nothing and hides everything.
        outcome.said = Said { hidden: hidden.unwrap_or(true), ..said.unwrap_or_default() };
        outcome
    }

    /// Registers, counts, notifies and reports.
    pub(super) fn settle(
        &self,
        mut outcome: ItemOutcome,
        started: Instant,
        everyone: Option<&Hosts>,
    ) -> bool {
        let said = outcome.said;
        let ignored = outcome.status == Status::Failed && said.ignore_errors;
        let forgiven = outcome.status == Status::Unreachable && said.ignore_unreachable;
        let failed = !ignored && !forgiven && matches!(outcome.status, Status::Failed | Status::Unreachable);
        let hidden = said.hidden.then(|| Known::from(outcome.shown()));
        let remembered = (failed && self.context.rescuable && said.hidden).then(|| outcome.remembered());
        // One for all who see it.
        let result = Known::from(std::mem::take(&mut outcome.result));
        let facts: Vec<(String, Known)> = std::mem::take(&mut outcome.facts)
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let one = [self.host.to_owned()];
        let fact_host = Self::fact_host(&outcome);
        for host in everyone.map_or(&one[..], Vec::as_slice) {
            let state = self.play.run.host(host);
            let mut state = state.state();
            if let Some(name) = &self.task.register {
                Arc::make_mut(&mut state.set).insert(name.clone(), Var::Known(result.clone()));
            }
            let own_facts = fact_host.as_deref().is_none_or(|h| h == host);
            if !facts.is_empty() && own_facts {
                self.keep(&mut state, &facts, outcome.cached);
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
            Arc::make_mut(&mut other.state().facts).extend(variables(&facts));
        }
        if failed && self.context.rescuable {
            let name = self.task.name.as_ref().map(|_| self.label.name.as_str()).unwrap_or_default();
            flow::remember_failure(
                self.play,
                self.host,
                name,
                &self.label.action,
                remembered.map_or_else(|| result.clone(), Known::from),
            );
        }
        self.count(&outcome, failed, ignored || forgiven);
        // Of a loop, hints and warnings of hidden items are not among these.
        let silent = said.hidden && outcome.hidden_items.is_empty();
        for warning in outcome.warnings.iter().filter(|_| !silent) {
            self.play.run.warn(Diagnostic::new(warning.clone()).at(&self.task.origin));
        }
        self.play.run.emit(Event::Result {
            host: self.host.to_owned(),
            task: Arc::clone(&self.label),
            result: HostResult {
                status: outcome.status,
                result: hidden.unwrap_or(result),
                diff: if said.hidden { Vec::new() } else { outcome.diff },
                delegated: outcome.delegated,
                hint: outcome.hint.filter(|_| !silent),
                ignored: ignored || forgiven,
                elapsed: started.elapsed(),
            },
        });
        failed
    }

    /// Puts facts where they belong; cached ones count as gathered too.
    fn keep(&self, state: &mut HostState, facts: &[(String, Known)], cached: bool) {
        let is_set = self.task.action == playbook::Action::SetFact;
        let store = if is_set { &mut state.set } else { &mut state.facts };
        Arc::make_mut(store).extend(variables(facts));
        if is_set && cached {
            Arc::make_mut(&mut state.facts).extend(variables(facts));
        }
    }

    /// What a change notifies, named while the item is known.
    fn notifying(&self, scope: &HostScope, mut outcome: ItemOutcome) -> ItemOutcome {
        if matches!(outcome.status, Status::Ok | Status::Changed) {
            let scope = scope.clone().shared();
            for node in &self.task.notify {
                match self.play.run.templar.render(node, &scope) {
                    Ok(Some(Value::Array(all))) => outcome.notified.extend(all.iter().map(plain)),
                    Ok(Some(one)) => outcome.notified.push(plain(&one)),
                    Ok(None) => {}
                    // Nobody would miss a handler that is not named, and what it restarts would stay as it was.
                    Err(error) => outcome.fail(&format!("notify: {error}")),
                }
            }
        }
        outcome
    }

    fn fact_host(outcome: &ItemOutcome) -> Option<String> {
        outcome.delegated.clone().filter(|_| outcome.said.delegate_facts)
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
            Err(error) => return self.not_begun(outer, &error),
        };
        // Where it is given up before something is kept, that is not copied for it.
        let mut outer = Some(outer.clone());
        let mut outcomes = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if self.play.run.stop.is_cancelled() {
                break;
            }
            if index > 0 && !names.pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(names.pause) => {}
                    () = self.play.run.stop.cancelled() => break,
                }
                speculate::time_has_passed(self.play);
            }
            let left = Loop { task: self.task, names: &names, items: &items, next: index + 1 };
            self.look_ahead(Some(left)).await;
            let around = outer.get_or_insert_with(|| HostScope::new(self.play, self.host, self.context));
            let scope = around.with_locals(names.locals(&items, index));
            let started = Instant::now();
            let mut outcome = self.notifying(&scope, self.one(&scope).await);
            outcome.result.insert(names.item.clone(), item.clone());
            outcome.result.insert("ansible_loop_var".into(), json!(names.item));
            if let Some(name) = &names.index {
                outcome.result.insert(name.clone(), json!(index));
                outcome.result.insert("ansible_index_var".into(), json!(name));
            }
            let shared = self.with_result(&scope, &outcome.result).shared();
            let shown = self.item_label(&names, item, &shared, &mut outcome);
            outcome.result.insert("_ansible_item_label".into(), shown.clone());
            let stop = self.breaks(&names, &shared, &mut outcome);
            self.turn.comes().await;
            self.report_item(&outcome, &shown, started);
            let keeps = !outcome.facts.is_empty();
            if keeps || !matches!(self.task.action, playbook::Action::Module(_)) {
                drop((scope, shared));
                outer = None;
            }
            // What one item sets, the next one sees.
            if keeps && Self::fact_host(&outcome).is_none() {
                let facts: Vec<_> =
                    outcome.facts.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
                self.keep(&mut self.play.run.host(self.host).state(), &facts, outcome.cached);
            }
            let unreachable = outcome.status == Status::Unreachable;
            outcomes.push(outcome);
            if unreachable || stop {
                break;
            }
        }
        combine(outcomes)
    }

    /// The item as people see it. One whose label cannot be computed is not shown in full instead: the label may be there to hide it.
    fn item_label(
        &self,
        names: &LoopNames,
        item: &Value,
        scope: &Arc<dyn Scope>,
        outcome: &mut ItemOutcome,
    ) -> Value {
        let Some(node) = &names.label else { return item.clone() };
        match self.play.run.templar.render(node, scope) {
            Ok(label) => label.unwrap_or_default(),
            Err(error) => {
                outcome.fail(&format!("loop_control.label: {error}"));
                node.to_value()
            }
        }
    }

    /// Whether `break_when` ends the loop here.
    fn breaks(&self, names: &LoopNames, scope: &Arc<dyn Scope>, outcome: &mut ItemOutcome) -> bool {
        let wanted = |n| self.play.run.templar.condition(n, scope);
        match names.break_when.iter().try_fold(false, |any, n| Ok::<_, Diagnostic>(any || wanted(n)?)) {
            Ok(stop) => stop,
            Err(error) => {
                outcome.fail(&format!("loop_control.break_when: {error}"));
                true
            }
        }
    }

    fn report_item(&self, outcome: &ItemOutcome, shown: &Value, started: Instant) {
        let hidden = outcome.said.hidden;
        let item = if hidden { HIDDEN_ITEM.to_owned() } else { crate::template::shown(shown) };
        self.play.run.emit(Event::Item {
            host: self.host.to_owned(),
            task: Arc::clone(&self.label),
            item,
            result: HostResult {
                status: outcome.status,
                result: outcome.shown().into(),
                diff: if hidden { Vec::new() } else { outcome.diff.clone() },
                delegated: outcome.delegated.clone(),
                hint: outcome.hint.clone().filter(|_| !hidden),
                ignored: outcome.said.ignore_errors,
                elapsed: started.elapsed(),
            },
        });
    }
}

fn variables(facts: &[(String, Known)]) -> impl Iterator<Item = (String, Var)> {
    facts.iter().map(|(name, value)| (name.clone(), Var::Known(value.clone())))
}
