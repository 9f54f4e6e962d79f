use std::sync::Arc;
use std::time::Duration;

use super::builtin;
use super::connection;
use super::control::TaskController;
use super::event::Event;
use super::jobs;
use super::play::PlayRun;
use super::register::{ItemOutcome, add_lines};
use super::scope::{Context, HostScope};
use super::speculate;
use crate::diag::Diagnostic;
use crate::modules::{Module, ModuleError, Outcome, TaskContext, registry};
use crate::playbook::{Action, Task};
use crate::template::OMIT;
use crate::value::{Map, Value, plain, truth};
use crate::vars::Scope;
use crate::yaml::Node;

/// Templates the arguments and does what the task says, once.
pub(super) async fn perform(
    play: &Arc<PlayRun>,
    task: &Arc<Task>,
    context: &Context,
    host: &str,
    scope: &HostScope,
) -> ItemOutcome {
    let shared = scope.clone().shared();
    let delegated = match delegate(play, context, &shared) {
        Ok(delegated) => delegated.filter(|d| d != host),
        Err(error) => return ItemOutcome::failed(error.to_string()),
    };
    let mut outcome = match &task.action {
        Action::Module(name) => {
            let args = match arguments(play, task, context, name, &shared) {
                Ok(args) => args,
                Err(error) => return ItemOutcome::failed(error.to_string()),
            };
            let run = run_module(play, task, context, (host, delegated.as_deref()), scope, name, args);
            tokio::select! {
                outcome = run => outcome,
                () = play.run.stop.cancelled() => ItemOutcome::interrupted(&task_name(task)),
            }
        }
        other => match defaults(play, context, other.name(), &shared) {
            Ok(given) => {
                let _change = (!speculate::is_harmless(other)).then(|| play.run.world.change());
                builtin::perform(play, task, other, host, scope, &given)
            }
            Err(error) => return ItemOutcome::failed(error.to_string()),
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
    let Some(node) = context.nearest(|k| k.delegate_to.as_ref()) else { return Ok(None) };
    let name = plain(&play.run.templar.render(node, scope)?);
    Ok((!name.is_empty() && name != OMIT).then_some(name))
}

/// The module's arguments, known: templates rendered, omitted ones left out, module defaults filled in.
pub(super) fn arguments(
    play: &PlayRun,
    task: &Task,
    context: &Context,
    module: &str,
    scope: &Arc<dyn Scope>,
) -> Result<Map, Diagnostic> {
    let mut args = defaults(play, context, module, scope)?;
    match play.run.templar.render(&task.args, scope)? {
        Value::Object(own) => args.extend(own),
        other => {
            return Err(Diagnostic::new(format!("the arguments of {module} must be a mapping, got {other}"))
                .at(&task.args.origin));
        }
    }
    let mut args = Value::Object(args);
    drop_omitted(&mut args);
    match args {
        Value::Object(args) => Ok(args),
        _ => Ok(Map::new()),
    }
}

/// What `module_defaults` gives a module, inner ones over outer ones, its own name over its group's.
fn defaults(
    play: &PlayRun,
    context: &Context,
    module: &str,
    scope: &Arc<dyn Scope>,
) -> Result<Map, Diagnostic> {
    let mut args = Map::new();
    for node in context.keywords.iter().flat_map(|k| &k.module_defaults) {
        let Value::Object(all) = play.run.templar.render(node, scope)? else { continue };
        let of = |group: bool| all.iter().filter(move |(name, _)| name.starts_with("group/") == group);
        for (name, given) in of(true).chain(of(false)) {
            if let (true, Value::Object(given)) = (means(name, module), given) {
                args.extend(given.clone());
            }
        }
    }
    Ok(args)
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

/// Takes out everything that is `omit`.
pub(super) fn drop_omitted(value: &mut Value) {
    let omitted = |v: &Value| v.as_str() == Some(OMIT);
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !omitted(v));
            map.values_mut().for_each(drop_omitted);
        }
        Value::Array(items) => {
            items.retain(|v| !omitted(v));
            items.iter_mut().for_each(drop_omitted);
        }
        _ => {}
    }
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
            let background = background(play, task, &scope.clone().shared(), cx.check)?;
            Ok((cx, timeout, background))
        });
    let (cx, timeout, background) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return ItemOutcome::failed(error.to_string()),
    };
    speculate::remember(play, host, &cx.shell);
    if let Some(background) = background {
        return in_background(play, host, module, args, cx, &background).await;
    }
    let running = module.run(args, &cx);
    let shell = cx.shell.clone();
    let result = match timeout {
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), running).await {
            Ok(result) => result,
            Err(_) => {
                return ItemOutcome::failed(format!("the task took longer than its timeout of {seconds} s"));
            }
        },
        None => running.await,
    };
    for remark in shell.target().take_remarks() {
        let host = delegated.unwrap_or(host).to_owned();
        let (message, verbosity) = (remark.to_string(), remark.verbosity());
        play.run.emit(Event::Remark { host, message, verbosity });
    }
    ended(name, result)
}

fn ended(name: &str, result: Result<Outcome, ModuleError>) -> ItemOutcome {
    match result {
        Ok(outcome) => {
            let mut outcome = ItemOutcome::from_outcome(outcome);
            add_lines(&mut outcome.result);
            outcome
        }
        Err(error) => from_error(name, error),
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
    let number = |node: Option<&Node>| -> Result<Option<u64>, Diagnostic> {
        let text = node.map(|n| play.run.templar.render(n, scope).map(|v| plain(&v))).transpose()?;
        Ok(text.and_then(|t| t.trim().parse().ok()))
    };
    let Some(seconds) = number(task.background.as_ref())?.filter(|s| *s > 0 && !check) else {
        return Ok(None);
    };
    let waited_for = number(task.poll.as_ref())?.is_none_or(|seconds| seconds > 0);
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
        let work = async { ended(module.spec().name, module.run(args, &cx).await) };
        return jobs::foreground(background.limit, work).await;
    }
    // A job has a connection of its own: on the host's one it would hold up what follows.
    cx.shell = cx.shell.apart();
    let change = play.run.world.change();
    play.run.jobs.start(host, background.limit, async move {
        let outcome = ended(module.spec().name, module.run(args, &cx).await);
        cx.shell.target().close().await;
        drop(change);
        outcome
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
    let flag = |node: Option<&Node>, default: bool| -> Result<bool, Diagnostic> {
        node.map_or(Ok(default), |n| Ok(truth(&play.run.templar.render(n, &shared)?).unwrap_or(default)))
    };
    let timeout = match context.nearest(|k| k.timeout.as_ref()) {
        Some(node) => plain(&play.run.templar.render(node, &shared)?).parse::<u64>().ok().filter(|s| *s > 0),
        None => None,
    };
    let cx = TaskContext {
        shell: target.shell(r#become.as_ref()),
        host: host.to_owned(),
        check: flag(context.nearest(|k| k.check_mode.as_ref()), play.run.options.check)?,
        diff: flag(context.nearest(|k| k.diff.as_ref()), play.run.options.diff)?,
        environment: environment(play, context, &shared)?,
        controller: Arc::new(TaskController {
            play: Arc::clone(play),
            task: Arc::clone(task),
            role: context.role.clone(),
            scope: Arc::clone(&shared),
            host: host.to_owned(),
            guessing,
        }),
    };
    Ok((cx, timeout))
}

fn from_error(module: &str, error: ModuleError) -> ItemOutcome {
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
            add_lines(&mut outcome.result);
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
            Value::Object(more) => all.extend(more),
            Value::Null => {}
            Value::String(text) if text.is_empty() || text == OMIT => {}
            other => {
                return Err(
                    Diagnostic::new(format!("environment must be a mapping, got {other}")).at(&node.origin)
                );
            }
        }
    }
    let mut all = Value::Object(all);
    drop_omitted(&mut all);
    Ok(all.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), plain(v))).collect())
}
