use std::sync::Arc;
use std::time::Duration;

use super::builtin;
use super::connection;
use super::control::TaskController;
use super::play::PlayRun;
use super::register::{ItemOutcome, add_lines};
use super::scope::{Context, HostScope};
use super::speculate;
use crate::diag::Diagnostic;
use crate::modules::{ModuleError, TaskContext, registry};
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
        other => {
            let _change = (!speculate::is_harmless(other)).then(|| play.run.world.change());
            builtin::perform(play, task, other, host, scope)
        }
    };
    outcome.delegated = delegated;
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
    let mut args = Map::new();
    for node in context.keywords.iter().flat_map(|k| &k.module_defaults) {
        if let Value::Object(all) = play.run.templar.render(node, scope)? {
            for (name, defaults) in all {
                let same = registry().get(&name).is_some_and(|m| m.spec().name == module);
                if let (true, Value::Object(defaults)) = (same, defaults) {
                    args.extend(defaults);
                }
            }
        }
    }
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
    let (cx, timeout) = match surroundings(play, task, context, (host, delegated), scope, false) {
        Ok(prepared) => prepared,
        Err(error) => return ItemOutcome::failed(error.to_string()),
    };
    speculate::remember(play, host, &cx.shell);
    let running = module.run(args, &cx);
    let result = match timeout {
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), running).await {
            Ok(result) => result,
            Err(_) => {
                return ItemOutcome::failed(format!("the task took longer than its timeout of {seconds} s"));
            }
        },
        None => running.await,
    };
    match result {
        Ok(outcome) => {
            let mut outcome = ItemOutcome::from_outcome(outcome);
            add_lines(&mut outcome.result);
            outcome
        }
        Err(error) => from_error(name, error),
    }
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
