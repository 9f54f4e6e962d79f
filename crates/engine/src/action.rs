use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::builtin;
use super::connection;
use super::control::TaskController;
use super::event::Event;
use super::jobs;
use super::keyword::Reader;
use super::play::PlayRun;
use super::register::{ItemOutcome, add_lines};
use super::restricted;
use super::scope::{Context, HostScope};
use super::speculate;
use crate::diag::Diagnostic;
use crate::host::Limits;
use crate::modules::{Module, ModuleError, Outcome, RunMode, TaskContext, registry};
use crate::playbook::{Action, Task};
use crate::value::{Map, Value, plain};
use crate::vars::Scope;
use crate::yaml::{Kind, Node};

/// Templates the arguments and does what the task says, once.
pub(super) async fn perform(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    context: &Context,
    host: &str,
    scope: &HostScope,
) -> ItemOutcome {
    let shared = scope.clone().shared();
    // With the stop, what a lookup had started is ended: that is no failure of the task's own.
    let refused = |error: &Diagnostic| {
        if play.run.stop.is_cancelled() {
            ItemOutcome::interrupted(&task_name(task))
        } else {
            ItemOutcome::failed(error.to_string())
        }
    };
    let delegated = match delegate(play, context, &shared) {
        Ok(delegated) => delegated.filter(|d| d != host),
        Err(error) => return refused(&error),
    };
    let mut outcome = match &task.action {
        Action::Module(name) => {
            let args = match arguments(play, task, context, name, &shared) {
                Ok(args) => args,
                Err(error) => return refused(&error),
            };
            let run = run_module(play, task, context, (host, delegated.as_deref()), scope, name, args);
            tokio::select! {
                biased;
                // With the stop the connections are closed: what that does to the task is no failure of its own.
                () = play.run.stop.cancelled() => ItemOutcome::interrupted(&task_name(task)),
                outcome = run => outcome,
            }
        }
        other => match with_defaults(play, task, context, other.name(), &shared) {
            Ok(args) => {
                let _change = (!speculate::is_harmless(other)).then(|| play.run.world.change());
                builtin::perform(play, task, other, host, scope, args.into_owned())
            }
            Err(error) => return refused(&error),
        },
    };
    outcome.delegated = delegated;
    if task.register.is_some() && !outcome.facts.is_empty() {
        let facts = Value::Object(outcome.facts.clone());
        outcome.result.entry("ansible_facts").or_insert(facts);
    }
    outcome
}

fn task_name(task: &Task) -> String {
    task.name.as_ref().map_or_else(|| task.action.name().to_owned(), Node::key_text)
}

pub(super) fn delegate(
    play: &PlayRun,
    context: &Context,
    scope: &Arc<dyn Scope>,
) -> Result<Option<String>, Diagnostic> {
    let reader = Reader { templar: &play.run.templar, scope };
    let name = reader.get(context.nearest(|k| k.delegate_to.as_ref()))?;
    Ok(name.filter(|name| !name.is_empty()))
}

/// The module's arguments, known: templates rendered, omitted ones left out, module defaults filled in.
pub(super) fn arguments(
    play: &PlayRun,
    task: &Task,
    context: &Context,
    module: &str,
    scope: &Arc<dyn Scope>,
) -> Result<Map, Diagnostic> {
    let args = with_defaults(play, task, context, module, scope)?;
    match play.run.templar.render(&args, scope)? {
        None => Ok(Map::new()),
        Some(Value::Object(args)) => Ok(args),
        Some(other) => {
            Err(Diagnostic::new(format!("the arguments of {module} must be a mapping, got {other}"))
                .at(&task.args.origin))
        }
    }
}

/// A task's arguments as they are written, over what `module_defaults` gives: the inner over the outer ones, the module's own name
/// over its group's. What was a template in either stays one, and is rendered once.
fn with_defaults<'a>(
    play: &PlayRun,
    task: &'a Task,
    context: &Context,
    module: &str,
    scope: &Arc<dyn Scope>,
) -> Result<Cow<'a, Node>, Diagnostic> {
    // By the names that were written: of one name the inner defaults take the place of the outer ones.
    let mut given: IndexMap<String, Node> = IndexMap::new();
    for node in context.keywords.iter().flat_map(|k| &k.module_defaults) {
        for (name, defaults) in &*whole_mapping(play, node, scope)? {
            let name = name.key_text();
            if means(&name, module) {
                given.insert(name, defaults.clone());
            }
        }
    }
    if given.is_empty() {
        return Ok(Cow::Borrowed(&task.args));
    }
    let own = whole_mapping(play, &task.args, scope)?;
    let mut args: Vec<(Node, Node)> = Vec::new();
    let (groups, names): (Vec<_>, Vec<_>) = given.iter().partition(|(name, _)| name.starts_with("group/"));
    for (_, defaults) in groups.into_iter().chain(names) {
        for (key, value) in &*whole_mapping(play, defaults, scope)? {
            args.retain(|(known, _)| known.key_text() != key.key_text());
            args.push((key.clone(), value.clone()));
        }
    }
    args.retain(|(key, _)| !own.iter().any(|(mine, _)| mine.key_text() == key.key_text()));
    args.extend(own.iter().cloned());
    Ok(Cow::Owned(Node::new(Kind::Map(args.into()), &task.args.origin)))
}

/// The pairs of a mapping; a template that gives one is rendered, and gives data.
fn whole_mapping<'a>(
    play: &PlayRun,
    node: &'a Node,
    scope: &Arc<dyn Scope>,
) -> Result<Cow<'a, [(Node, Node)]>, Diagnostic> {
    if let Kind::Map(map) = &node.kind {
        return Ok(Cow::Borrowed(map.pairs()));
    }
    let known = Node::known(&play.run.templar.render(node, scope)?.unwrap_or_default(), &node.origin);
    match known.kind {
        Kind::Map(map) => Ok(Cow::Owned(map.into_pairs())),
        Kind::Null => Ok(Cow::Borrowed(&[])),
        _ => {
            Err(Diagnostic::new(format!("a mapping is wanted here, not {}", known.type_name()))
                .at(&node.origin))
        }
    }
}

/// Whether a key of `module_defaults` names this module, or a group that it belongs to.
fn means(name: &str, module: &str) -> bool {
    let known = registry().get(module).map(crate::modules::Module::spec);
    if let Some(group) = name.strip_prefix("group/") {
        // A group is a collection's: `docker`, `community.docker.docker`.
        let collection = group.rsplit_once('.').map_or(group, |(collection, _)| collection);
        return known.is_some_and(|spec| {
            spec.fqcn
                .iter()
                .filter_map(|full| full.rsplit_once('.'))
                .any(|(home, _)| home == collection || home.rsplit('.').next() == Some(group))
        });
    }
    let short = name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy."));
    short.unwrap_or(name) == module
        || registry().get(name).is_some_and(|m| known.is_some_and(|spec| spec.name == m.spec().name))
}

async fn run_module(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    context: &Context,
    (host, delegated): (&str, Option<&str>),
    scope: &HostScope,
    name: &str,
    args: Map,
) -> ItemOutcome {
    let Some(module) = registry().get(name) else {
        return ItemOutcome::failed(format!("there is no module {name}"));
    };
    let prepared =
        surroundings(play, task, context, (host, delegated), scope, false).and_then(|(cx, timeout)| {
            let background = background(play, task, &scope.clone().shared(), cx.mode.check)?;
            Ok((cx, timeout, background))
        });
    let (mut cx, timeout, background) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return ItemOutcome::failed(error.to_string()),
    };
    speculate::remember(play, host, &cx.shell);
    if let Some(background) = background {
        return in_background(play, host, module, args, cx, &background).await;
    }
    if timeout.is_some() {
        cx.shell = cx.shell.with_caller();
    }
    let running = module.run(args, &cx);
    let shell = cx.shell.clone();
    let result = match timeout {
        Some(seconds) => {
            let Ok(result) = tokio::time::timeout(Duration::from_secs(seconds), running).await else {
                shell.free();
                return ItemOutcome::failed(format!("the task took longer than its timeout of {seconds} s"));
            };
            result
        }
        None => running.await,
    };
    for remark in shell.target().take_remarks() {
        let host = delegated.unwrap_or(host).to_owned();
        let (message, verbosity) = (remark.to_string(), remark.verbosity());
        play.run.emit(Event::Remark { host, message, verbosity });
    }
    ended(name, result, shell.target().spec().limits)
}

fn ended(name: &str, result: Result<Outcome, ModuleError>, limits: Limits) -> ItemOutcome {
    match result {
        Ok(outcome) => {
            let mut outcome = ItemOutcome::from_outcome(restricted::without(outcome));
            add_lines(&mut outcome, limits);
            outcome
        }
        Err(error) => from_error(name, error, limits),
    }
}

/// What `async` and `poll` say.
struct Background {
    limit: Duration,
    waited_for: bool,
}

/// Whether a task goes to the background, and for how long. In check mode none does.
fn background(
    play: &PlayRun,
    task: &Task,
    scope: &Arc<dyn Scope>,
    check: bool,
) -> Result<Option<Background>, Diagnostic> {
    let reader = Reader { templar: &play.run.templar, scope };
    let seconds = reader.get(task.background.as_ref())?;
    let waited_for = reader.get(task.poll.as_ref())?.is_none_or(|seconds| seconds > 0);
    let Some(seconds) = seconds.filter(|s| *s > 0 && !check) else { return Ok(None) };
    Ok(Some(Background { limit: Duration::from_secs(seconds), waited_for }))
}

async fn in_background(
    play: &Arc<PlayRun>,
    host: &str,
    module: &'static dyn Module,
    args: Map,
    mut cx: TaskContext,
    background: &Background,
) -> ItemOutcome {
    if background.waited_for {
        cx.shell = cx.shell.with_caller();
        let shell = cx.shell.clone();
        let limits = cx.shell.target().spec().limits;
        let work = async { ended(module.spec().name, module.run(args, &cx).await, limits) };
        let outcome = jobs::foreground(background.limit, work).await;
        return outcome.unwrap_or_else(|outcome| {
            shell.free();
            outcome
        });
    }
    // A job has a connection of its own: on the host's one it would hold up what follows.
    cx.shell = cx.shell.apart();
    play.run.jobs.remember(cx.shell.target());
    let change = play.run.world.change();
    let limit = background.limit;
    play.run.jobs.start(host, async move {
        let result = tokio::time::timeout(limit, module.run(args, &cx)).await;
        let limits = cx.shell.target().spec().limits;
        // With its connection what it still runs is ended.
        cx.shell.target().close().await;
        drop(change);
        result.map_or_else(
            |_| ItemOutcome::failed("Timeout exceeded"),
            |r| ended(module.spec().name, r, limits),
        )
    })
}

/// What a module is given besides its arguments, and after how many seconds it is broken off.
pub(super) fn surroundings(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    context: &Context,
    (host, delegated): (&str, Option<&str>),
    scope: &HostScope,
    guessing: bool,
) -> Result<(TaskContext, Option<u64>), Diagnostic> {
    let shared = scope.clone().shared();
    // A delegated task connects as the other host's variables say, not as this host's do.
    let connect_scope = match delegated {
        Some(other) => {
            HostScope::new(play, other, &Context { keywords: context.keywords.clone(), ..Context::default() })
                .shared()
        }
        None => Arc::clone(&shared),
    };
    let on = delegated.unwrap_or(host);
    let target = play.run.target(connection::spec(play, on, context, &connect_scope)?);
    let r#become = connection::r#become(play, context, &connect_scope, delegated.is_some())?;
    let reader = Reader { templar: &play.run.templar, scope: &shared };
    let check = reader.get(context.nearest(|k| k.check_mode.as_ref()))?;
    let diff = reader.get(context.nearest(|k| k.diff.as_ref()))?;
    let timeout = reader.get(context.nearest(|k| k.timeout.as_ref()))?.filter(|s| *s > 0);
    let cx = TaskContext {
        shell: target.shell(r#become.as_ref()),
        host: host.to_owned(),
        mode: RunMode {
            check: check.unwrap_or(play.run.options.check),
            diff: diff.unwrap_or(play.run.options.diff),
        },
        environment: environment(play, context, &shared)?,
        run: play.run.options.context.clone(),
        controller: Arc::new(TaskController {
            play: Arc::clone(play),
            task: Arc::clone(task),
            role: context.role.clone(),
            scope: Arc::clone(&shared),
            host: host.to_owned(),
            silent: guessing || reader.hidden(context).unwrap_or(true),
            guessing,
        }),
    };
    Ok((cx, timeout))
}

fn from_error(module: &str, error: ModuleError, limits: Limits) -> ItemOutcome {
    match error {
        ModuleError::Host(error) if error.is_unreachable() => {
            ItemOutcome::unreachable(error.to_string(), error.hint())
        }
        ModuleError::Host(error) => {
            let mut outcome = ItemOutcome::failed(error.to_string());
            outcome.hint = error.hint().map(str::to_owned);
            outcome
        }
        ModuleError::Arguments(message) => ItemOutcome::failed(format!("{module}: {message}")),
        ModuleError::Failed { message, hint, result } => {
            let mut outcome = ItemOutcome::failed(message.clone());
            outcome.result.extend(result);
            outcome.result.insert("msg".into(), Value::String(message));
            outcome.hint = hint;
            add_lines(&mut outcome, limits);
            outcome.flag();
            outcome
        }
    }
}

/// The environments of play, blocks and task as one; inner ones win.
fn environment(
    play: &PlayRun,
    context: &Context,
    scope: &Arc<dyn Scope>,
) -> Result<Vec<(String, String)>, Diagnostic> {
    let mut all = Map::new();
    for node in context.keywords.iter().flat_map(|k| &k.environment) {
        match play.run.templar.render(node, scope)? {
            Some(Value::Object(more)) => all.extend(more),
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(other) => {
                return Err(
                    Diagnostic::new(format!("environment must be a mapping, got {other}")).at(&node.origin)
                );
            }
        }
    }
    Ok(all.iter().map(|(k, v)| (k.clone(), plain(v))).collect())
}
