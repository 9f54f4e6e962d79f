use std::sync::{Arc, PoisonError};

use indexmap::IndexMap;
use serde_json::json;

use super::event::{Event, Status};
use super::flow::{self, Hosts};
use super::keyword::Reader;
use super::looping::{self, LoopNames};
use super::play::PlayRun;
use super::register::{HIDDEN_ITEM, ItemOutcome};
use super::scope::{Context, HostScope};
use super::task::{chosen, label};
use crate::diag::Diagnostic;
use crate::playbook::{Action, Entry, Folder, Include, Keywords, Task, role_arguments};
use crate::value::{Map, Value, plain, truth};
use crate::vars::{Layers, Level, Scope, Var, Vars};
use crate::yaml::{Kind, Mapping, Node};

/// How deep includes may be nested: a file that includes itself to try again does so a few dozen times.
const MOST_INCLUDES: usize = 1000;

/// What one host wants included, and with which variables.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    args: Map,
    locals: Vec<(String, Value)>,
    /// The loop's item as people see it.
    shown: Option<String>,
}

/// `include_tasks` and `include_role`: hosts that want the same go through it together.
pub(super) async fn run(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    hosts: &Hosts,
    context: &Context,
    handler: bool,
) -> Result<Hosts, Diagnostic> {
    let Some(first) = hosts.first() else { return Ok(Hosts::new()) };
    play.run.stop.begin_task(task);
    let scope = HostScope::new(play, first, context).with_task_vars(&task.keywords.vars).shared();
    if !handler && !chosen(play, task, context, &scope)? {
        return Ok(Hosts::new());
    }
    let mut label = label(play, task, context, &scope, handler);
    let role = task.args.as_map().and_then(|m| m.get("name")).filter(|_| task.name.is_none());
    if let (Action::Include(Include::Role), Some(node)) = (&task.action, role) {
        // The role says more than the module's name.
        let role = super::task::text_or_written(&play.run.templar, node, &scope);
        Arc::make_mut(&mut label).name.push_str(&format!(" : {role}"));
    }
    play.run.emit(Event::TaskStarted { task: Arc::clone(&label), hosts: hosts.len() });
    let mut groups: Vec<(Wanted, Hosts)> = Vec::new();
    let mut outcomes: Vec<(String, ItemOutcome)> = Vec::new();
    for host in hosts {
        let mut outcome = match wanted(play, task, context, host) {
            Ok(all) if all.is_empty() => ItemOutcome::condition_false(None),
            Ok(all) => {
                let included = all.iter().filter_map(|w| target_name(task, &w.args)).collect::<Vec<_>>();
                for one in all {
                    match groups.iter_mut().find(|(w, _)| *w == one) {
                        Some((_, members)) => members.push(host.clone()),
                        None => groups.push((one, vec![host.clone()])),
                    }
                }
                let mut result = Map::new();
                result.insert("included".into(), json!(included));
                ItemOutcome::from_outcome(crate::modules::Outcome::ok(result))
            }
            Err(error) => ItemOutcome::failed(error.to_string()),
        };
        let full = context.inside(&task.keywords, None);
        let shared = HostScope::new(play, host, &full).shared();
        let reader = Reader { templar: &play.run.templar, scope: &shared };
        // Where it depends on the item, each item's word is hidden or not; what is told of all of them is hidden.
        outcome.said.hidden = reader.hidden(&full).unwrap_or(true);
        outcomes.push((host.clone(), outcome));
    }
    // Everything is read before the hosts' results are told: what cannot be read is the task's failure.
    let mut loaded = Vec::new();
    for (wanted, members) in groups {
        match entries(play, task, context, &wanted, handler) {
            Ok(found) => loaded.push((wanted, members, found)),
            Err(error) => {
                for (host, outcome) in &mut outcomes {
                    if members.contains(host) && outcome.status == Status::Ok {
                        let said = outcome.said;
                        *outcome = ItemOutcome::failed(error.to_string());
                        outcome.said = said;
                        outcome.result.insert("reason".into(), json!(error.to_string()));
                    }
                }
            }
        }
    }
    let mut failed = Hosts::new();
    for (host, outcome) in outcomes {
        if outcome.status == Status::Failed {
            failed.push(host.clone());
        }
        if let Some(name) = &task.register {
            let state = play.run.host(&host);
            let result = Var::known(Value::Object(outcome.result.clone()));
            Arc::make_mut(&mut state.state().set).insert(name.clone(), result);
        }
        // Each file counts, as often as it is included.
        let times = loaded.iter().filter(|(_, members, _)| members.contains(&host)).count();
        flow::finish(play, context, &label, host, outcome, times);
    }
    let staying = |members: &Hosts, failed: &Hosts| -> Hosts {
        members.iter().filter(|h| !failed.contains(h) && play.run.host(h).active()).cloned().collect()
    };
    for (wanted, members, (_, inner)) in &loaded {
        let members = staying(members, &failed);
        if !members.is_empty() {
            play.run.emit(Event::Included {
                file: inner.included.clone().unwrap_or_default(),
                hosts: members,
                item: wanted.shown.clone(),
                task: Arc::clone(&label),
            });
        }
    }
    for (_, members, (entries, inner)) in loaded {
        let members = staying(&members, &failed);
        if !members.is_empty() {
            failed.extend(flow::entries_on(play, &entries, members, inner).await?);
        }
    }
    Ok(failed)
}

fn target_name(task: &Task, args: &Map) -> Option<String> {
    let key = if task.action == Action::Include(Include::Role) { "name" } else { "file" };
    args.get(key).or_else(|| args.get("_raw_params")).map(plain)
}

/// What this host wants included: nothing, one thing, or one for each item of a loop.
fn wanted(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    context: &Context,
    host: &str,
) -> Result<Vec<Wanted>, Diagnostic> {
    let full = context.inside(&task.keywords, None);
    let scope = HostScope::new(play, host, &full);
    let templar = &play.run.templar;
    let holds = |scope: &Arc<dyn Scope>| -> Result<bool, Diagnostic> {
        full.keywords
            .iter()
            .flat_map(|k| &k.when)
            .try_fold(true, |all, n| Ok(all && templar.condition(n, scope)?))
    };
    let args = |scope: &Arc<dyn Scope>| -> Result<Map, Diagnostic> {
        // `apply` stays a node: it holds keywords, not arguments.
        let plain_args: Mapping = task
            .args
            .as_map()
            .map(|m| m.pairs().iter().filter(|(k, _)| k.as_str() != Some("apply")).cloned().collect())
            .unwrap_or_default();
        match templar.render(&Node::new(Kind::Map(plain_args), &task.args.origin), scope)? {
            Some(Value::Object(args)) => Ok(args),
            _ => Ok(Map::new()),
        }
    };
    let items = match looping::items(templar, task, &scope) {
        Ok(items) => items,
        // A loop over what only exists when the condition holds is skipped with it.
        Err(error) => match holds(&scope.clone().shared()) {
            Ok(false) => return Ok(Vec::new()),
            _ => return Err(error),
        },
    };
    let Some(items) = items else {
        let shared = scope.shared();
        return if holds(&shared)? {
            Ok(vec![Wanted { args: args(&shared)?, locals: Vec::new(), shown: None }])
        } else {
            Ok(Vec::new())
        };
    };
    let names = LoopNames::of(templar, task, &scope.clone().shared())?;
    let mut all = Vec::new();
    for index in 0..items.len() {
        let locals = names.locals(&items, index);
        let shared = scope.with_locals(locals.clone()).shared();
        if holds(&shared)? {
            let reader = Reader { templar, scope: &shared };
            let shown = if reader.hidden(&full).unwrap_or(true) {
                Some(HIDDEN_ITEM.to_owned())
            } else {
                let label = names.label.as_ref().map(|n| templar.render(n, &shared)).transpose()?;
                label.flatten().or_else(|| items.get(index).cloned()).map(|v| crate::template::shown(&v))
            };
            all.push(Wanted { args: args(&shared)?, locals, shown });
        }
    }
    Ok(all)
}

/// Reads what is included, and what it inherits.
fn entries(
    play: &Arc<PlayRun>,
    task: &Task,
    context: &Context,
    wanted: &Wanted,
    handler: bool,
) -> Result<(Vec<Entry>, Context), Diagnostic> {
    let mut handlers = Vec::new();
    // The include's own condition and tags chose whether it happens; what is inside inherits its variables only.
    let mut inner =
        context.inside(&Arc::new(Keywords { vars: task.keywords.vars.clone(), ..Keywords::default() }), None);
    if let Some(apply) = task.args.as_map().and_then(|m| m.get("apply")) {
        let mut keywords = Keywords::default();
        for (key, value) in apply.as_map().into_iter().flat_map(Mapping::iter) {
            if !keywords.take(&key.key_text(), value)? {
                return Err(
                    Diagnostic::new(format!("apply does not take {:?}", key.key_text())).at(&key.origin)
                );
            }
        }
        inner = inner.inside(&Arc::new(keywords), None);
    }
    let mut include_vars: Vars = (*inner.include_vars).clone();
    include_vars.extend(wanted.locals.iter().map(|(k, v)| (k.clone(), Var::known(v.clone()))));
    inner.include_vars = Arc::new(include_vars);
    inner.handler = context.handler || handler;
    inner.depth = context.depth + 1;
    if inner.depth > MOST_INCLUDES {
        let name = target_name(task, &wanted.args).unwrap_or_default();
        return Err(Diagnostic::new(format!(
            "includes are nested more than {MOST_INCLUDES} deep, here of {name:?}"
        ))
        .at(&task.origin)
        .hint("a file that includes itself needs a condition that ends it"));
    }
    let playbook = &play.play.folder;
    let reader = play.run.loader.knowing(Level::Play, &play.play.keywords.vars);
    let entries = if task.action == Action::Include(Include::Role) {
        let args = Node::known(&Value::Object(wanted.args.clone()), &task.args.origin);
        let args = args.as_map().cloned().unwrap_or_default();
        let (usage, entry) = role_arguments(&args, &task.origin, IndexMap::new(), &Layers::new())?;
        let loaded = reader.role(playbook, &usage, &entry)?;
        handlers.extend(loaded.handlers);
        if wanted.args.get("public").and_then(truth).unwrap_or(false) {
            play.publish(&loaded.roles);
        }
        inner.included = Some(usage.name);
        vec![Entry::Block(loaded.block)]
    } else {
        let file = target_name(task, &wanted.args)
            .ok_or_else(|| Diagnostic::new("include_tasks needs a file").at(&task.origin))?;
        let role = context.role.as_ref().map(|r| r.folder.join("tasks"));
        let folders: Vec<&Folder> = [&task.folder].into_iter().chain(&role).chain([playbook]).collect();
        let folder =
            folders.iter().find(|f| f.read(&file).is_some() || file.starts_with('/')).copied().ok_or_else(
                || {
                    let looked: Vec<String> = folders.iter().map(|f| f.describe(&file)).collect();
                    Diagnostic::new(format!(
                        "could not find the task file {file:?}; looked for {}",
                        looked.join(", ")
                    ))
                    .at(&task.origin)
                },
            )?;
        inner.included =
            Some(if file.starts_with('/') { file.clone() } else { folder.whole().join(&file).name() });
        reader.tasks(playbook, folder, &file, &mut handlers)?
    };
    play.handlers.lock().unwrap_or_else(PoisonError::into_inner).extend(handlers);
    for warning in play.run.loader.take_warnings() {
        play.run.warn(warning);
    }
    Ok((entries, inner))
}
