use std::sync::Arc;

use super::keywords::{list, variables};
use super::split;
use super::{Folder, Keywords};
use crate::diag::{Diagnostic, Origin, closest};
use crate::modules::{ModuleError, registry};
use crate::template::Templated;
use crate::yaml::{Kind, Mapping, Node};

/// One task as written; nothing is templated yet.
#[derive(Debug, Clone)]
pub struct Task {
    pub origin: Origin,
    /// Where the task list stands: relative includes are looked for from here.
    pub folder: Folder,
    pub name: Option<Node>,
    pub action: Action,
    /// The action's name as it stands in the file, perhaps with its collection.
    pub written: String,
    /// A mapping of arguments, or a string that holds one in a template.
    pub args: Node,
    pub keywords: Arc<Keywords>,
    pub looping: Option<Loop>,
    pub loop_control: Option<Mapping>,
    pub register: Option<String>,
    pub notify: Vec<Node>,
    /// Topics on which a handler listens.
    pub listen: Vec<Node>,
    pub until: Vec<Node>,
    pub retries: Option<Templated<u64>>,
    /// Seconds.
    pub delay: Option<Templated<f64>>,
    pub changed_when: Vec<Node>,
    pub failed_when: Vec<Node>,
    /// `async`: the seconds that it may take in the background.
    pub background: Option<Templated<u64>>,
    /// The seconds between two looks at it; 0 goes on without waiting.
    pub poll: Option<Templated<u64>>,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs on the target; the name is one that the registry has.
    Module(String),
    SetFact,
    Debug,
    Assert,
    Fail,
    Meta,
    IncludeVars,
    AddHost,
    GroupBy,
    ValidateArgumentSpec,
    AsyncStatus,
    Include(Include),
}

/// What is included while the play runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    Tasks,
    Role,
}

/// `loop` or a `with_` lookup.
#[derive(Debug, Clone)]
pub struct Loop {
    /// The lookup's name; `None` for `loop`.
    pub lookup: Option<String>,
    pub items: Node,
}

/// What `loop_control` takes.
const LOOP_CONTROL: &[&str] =
    &["loop_var", "index_var", "label", "pause", "extended", "extended_allitems", "break_when"];

/// The task keywords besides the shared ones.
const TASK_KEYWORDS: &[&str] = &[
    "name",
    "args",
    "action",
    "local_action",
    "loop",
    "loop_control",
    "register",
    "notify",
    "listen",
    "until",
    "retries",
    "delay",
    "async",
    "poll",
    "changed_when",
    "failed_when",
    "block",
    "rescue",
    "always",
    "import_tasks",
    "include_tasks",
    "import_role",
    "include_role",
];

fn strip_builtin(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy.")).unwrap_or(name)
}

/// The words of a bare command line that are options, whichever of them the module knows.
const COMMAND_OPTIONS: &[&str] =
    &["chdir", "creates", "executable", "removes", "stdin", "stdin_add_newline", "strip_empty_ends", "warn"];

impl Action {
    fn of(name: &str) -> Option<Self> {
        Some(match strip_builtin(name) {
            "set_fact" => Self::SetFact,
            "debug" => Self::Debug,
            "assert" => Self::Assert,
            "fail" => Self::Fail,
            "meta" => Self::Meta,
            "include_vars" => Self::IncludeVars,
            "add_host" => Self::AddHost,
            "group_by" => Self::GroupBy,
            "validate_argument_spec" => Self::ValidateArgumentSpec,
            "async_status" => Self::AsyncStatus,
            "include_tasks" => Self::Include(Include::Tasks),
            "include_role" => Self::Include(Include::Role),
            _ => Self::Module(
                registry().get(name).or_else(|| registry().get(strip_builtin(name)))?.spec().name.to_owned(),
            ),
        })
    }

    /// The name as events show it.
    pub fn name(&self) -> &str {
        match self {
            Self::Module(name) => name,
            Self::SetFact => "set_fact",
            Self::Debug => "debug",
            Self::Assert => "assert",
            Self::Fail => "fail",
            Self::Meta => "meta",
            Self::IncludeVars => "include_vars",
            Self::AddHost => "add_host",
            Self::GroupBy => "group_by",
            Self::ValidateArgumentSpec => "validate_argument_spec",
            Self::AsyncStatus => "async_status",
            Self::Include(Include::Tasks) => "include_tasks",
            Self::Include(Include::Role) => "include_role",
        }
    }

    /// The arguments that a bare string is taken apart for; `None` means `key=value` only.
    fn free_form(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::Module(name) => {
                registry().get(name).is_some_and(|module| module.spec().free_form).then_some(COMMAND_OPTIONS)
            }
            Self::Meta => Some(&[]),
            Self::IncludeVars => Some(&["file", "dir", "name"]),
            Self::Include(Include::Tasks) => Some(&["file", "apply"]),
            _ => None,
        }
    }

    /// The names of the arguments, where they are fixed.
    fn arguments(&self) -> Option<&'static [&'static str]> {
        Some(match self {
            Self::Module(name) => registry().get(name)?.spec().arguments,
            Self::Debug => &["msg", "var", "verbosity"],
            Self::Assert => &["that", "fail_msg", "msg", "success_msg", "quiet"],
            Self::Fail => &["msg"],
            Self::Meta => &["_raw_params", "free_form"],
            Self::IncludeVars => &[
                "_raw_params",
                "file",
                "dir",
                "name",
                "depth",
                "files_matching",
                "ignore_files",
                "extensions",
                "hash_behaviour",
            ],
            Self::GroupBy => &["key", "parents"],
            Self::Include(Include::Tasks) => &["_raw_params", "file", "apply"],
            Self::Include(Include::Role) => &[
                "name",
                "tasks_from",
                "vars_from",
                "defaults_from",
                "handlers_from",
                "apply",
                "public",
                "allow_duplicates",
                "rolespec_validate",
            ],
            Self::ValidateArgumentSpec => &["argument_spec", "provided_arguments", "validate_args_context"],
            Self::AsyncStatus => &["jid", "mode"],
            Self::SetFact | Self::AddHost => return None,
        })
    }
}

impl Task {
    /// A task that says nothing yet.
    pub(super) fn bare(origin: &Origin, folder: &Folder) -> Self {
        Self {
            origin: origin.clone(),
            folder: folder.clone(),
            name: None,
            action: Action::Meta,
            written: String::new(),
            args: Node::new(Kind::Null, origin),
            keywords: Arc::default(),
            looping: None,
            loop_control: None,
            register: None,
            notify: Vec::new(),
            listen: Vec::new(),
            until: Vec::new(),
            retries: None,
            delay: None,
            changed_when: Vec::new(),
            failed_when: Vec::new(),
            background: None,
            poll: None,
        }
    }

    /// Reads one task. `map` is known not to be a block or a static import.
    ///
    /// Where its arguments are all that its module gets (`tells_all`), they are checked as a whole.
    pub(super) fn parse(
        node: &Node,
        map: &Mapping,
        folder: &Folder,
        tells_all: bool,
    ) -> Result<Self, Diagnostic> {
        let mut keywords = Keywords::default();
        let mut action: Option<(Action, Node, &Node)> = None;
        let mut extra: Option<&Node> = None;
        let mut task = Self::bare(&node.origin, folder);
        for (key, value) in map.iter() {
            let name = key.key_text();
            match name.as_str() {
                "name" => task.name = Some(value.clone()),
                "loop" => task.set_loop(key, None, value)?,
                "loop_control" => {
                    let control = value
                        .as_map()
                        .ok_or_else(|| Diagnostic::new("loop_control must be a mapping").at(&value.origin))?;
                    if let Some((key, _)) =
                        control.iter().find(|(k, _)| !LOOP_CONTROL.contains(&k.key_text().as_str()))
                    {
                        return Err(unknown("loop_control option", key, LOOP_CONTROL.iter().copied()));
                    }
                    task.loop_control = Some(control.clone());
                }
                "register" => {
                    task.register = Some(value.as_str().map(str::to_owned).ok_or_else(|| {
                        Diagnostic::new("register takes a variable's name").at(&value.origin)
                    })?);
                }
                "notify" => task.notify = list(value),
                "listen" => task.listen = list(value),
                "until" => task.until = list(value),
                "retries" => task.retries = Some(Templated::new("retries", value.clone())),
                "delay" => task.delay = Some(Templated::new("delay", value.clone())),
                "changed_when" => task.changed_when = list(value),
                "failed_when" => task.failed_when = list(value),
                "args" => extra = Some(value),
                "async" => task.background = Some(Templated::new("async", value.clone())),
                "poll" => task.poll = Some(Templated::new("poll", value.clone())),
                "debugger" => {
                    return Err(Diagnostic::new("there is no debugger")
                        .at(&key.origin)
                        .hint("leave it out; --step asks before each task, -vvv tells what happens"));
                }
                with if with.starts_with("with_") => {
                    task.set_loop(key, Some(with["with_".len()..].to_owned()), value)?;
                }
                "action" | "local_action" => {
                    let (found, args) = old_style(key, value)?;
                    if name == "local_action" {
                        let here = Node::word("localhost", &key.origin);
                        keywords.delegate_to = Some(Templated::new("delegate_to", here));
                    }
                    set_action(&mut action, found, args, key)?;
                }
                other => {
                    if keywords.take(other, value)? {
                        continue;
                    }
                    let Some(found) = Action::of(other) else {
                        let known = Keywords::NAMES
                            .iter()
                            .chain(TASK_KEYWORDS)
                            .copied()
                            .chain(registry().names())
                            .chain(BUILTIN);
                        return Err(unknown("module or task keyword", key, known));
                    };
                    set_action(&mut action, found, value.clone(), key)?;
                }
            }
        }
        let Some((found, args, key)) = action else {
            return Err(Diagnostic::new("this task names no module")
                .at(&node.origin)
                .hint("add one, such as ansible.builtin.command"));
        };
        task.args = normalise(&found, &args, extra)?;
        check_names(&found, &task.args)?;
        if tells_all {
            check_values(&found, &task.args, key)?;
        }
        task.written = match key.key_text().as_str() {
            "action" | "local_action" => found.name().to_owned(),
            written => written.to_owned(),
        };
        task.action = found;
        task.keywords = Arc::new(keywords);
        Ok(task)
    }

    fn set_loop(&mut self, key: &Node, lookup: Option<String>, items: &Node) -> Result<(), Diagnostic> {
        if self.looping.is_some() {
            return Err(Diagnostic::new("a task can have one loop only").at(&key.origin));
        }
        self.looping = Some(Loop { lookup, items: items.clone() });
        Ok(())
    }
}

const BUILTIN: [&str; 10] = [
    "async_status",
    "set_fact",
    "debug",
    "assert",
    "fail",
    "meta",
    "include_vars",
    "add_host",
    "group_by",
    "validate_argument_spec",
];

fn unknown<'a>(what: &str, key: &Node, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let name = key.key_text();
    let near = closest(&name, known).map(|near| format!("did you mean {near}?"));
    Diagnostic::new(format!("unknown {what} {name:?}")).at(&key.origin).hint_opt(near)
}

fn set_action<'a>(
    action: &mut Option<(Action, Node, &'a Node)>,
    found: Action,
    args: Node,
    key: &'a Node,
) -> Result<(), Diagnostic> {
    if let Some((first, ..)) = action {
        return Err(Diagnostic::new(format!(
            "a task can name one module only; this one names {} and {}",
            first.name(),
            found.name()
        ))
        .at(&key.origin)
        .hint("start a new list item with - for the second module"));
    }
    *action = Some((found, args, key));
    Ok(())
}

/// `action: module args` and `action: {module: name, ...}`.
fn old_style(key: &Node, value: &Node) -> Result<(Action, Node), Diagnostic> {
    let (name, args) = match &value.kind {
        Kind::Str(text) => {
            let (name, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
            (name.to_owned(), value.part(rest.trim()))
        }
        Kind::Map(map) => {
            let name = map
                .get("module")
                .and_then(Node::as_str)
                .ok_or_else(|| Diagnostic::new("the mapping has no `module`").at(&value.origin))?;
            let rest = map.pairs().iter().filter(|(k, _)| k.as_str() != Some("module")).cloned().collect();
            (name.to_owned(), Node::new(Kind::Map(rest), &value.origin))
        }
        _ => return Err(Diagnostic::new("action takes a module's name and arguments").at(&key.origin)),
    };
    let action = Action::of(&name).ok_or_else(|| {
        let near = closest(&name, registry().names()).map(|near| format!("did you mean {near}?"));
        Diagnostic::new(format!("unknown module {name:?}")).at(&value.origin).hint_opt(near)
    })?;
    Ok((action, args))
}

/// All ways to write arguments as one mapping.
fn normalise(action: &Action, args: &Node, extra: Option<&Node>) -> Result<Node, Diagnostic> {
    let mut pairs = match &args.kind {
        Kind::Null => Vec::new(),
        Kind::Map(map) => map.clone().into_pairs(),
        Kind::Str(text) if text.trim_start().starts_with("{{") && action.free_form().is_none() => {
            return Ok(args.clone());
        }
        Kind::Str(text) => split::arguments(args, text, action.free_form())?,
        _ => {
            return Err(Diagnostic::new(format!(
                "the arguments of {} must be a mapping, not {}",
                action.name(),
                args.type_name()
            ))
            .at(&args.origin));
        }
    };
    if let Some(extra) = extra {
        let more =
            extra.as_map().ok_or_else(|| Diagnostic::new("args must be a mapping").at(&extra.origin))?;
        for (key, value) in more.iter() {
            if !pairs.iter().any(|(k, _)| k.key_text() == key.key_text()) {
                pairs.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(Node::new(Kind::Map(pairs.into()), &args.origin))
}

fn check_names(action: &Action, args: &Node) -> Result<(), Diagnostic> {
    let (Some(known), Some(map)) = (action.arguments(), args.as_map()) else { return Ok(()) };
    if known.is_empty() && !matches!(action, Action::Module(_)) {
        return Ok(());
    }
    match map.iter().find(|(key, _)| !known.contains(&key.key_text().as_str())) {
        Some((key, _)) => Err(unknown(&format!("argument of {}", action.name()), key, known.iter().copied())),
        None => Ok(()),
    }
}

/// Arguments that hold no template are checked as a whole before anything runs.
fn check_values(action: &Action, args: &Node, key: &Node) -> Result<(), Diagnostic> {
    let Action::Module(name) = action else { return Ok(()) };
    let (Some(module), crate::value::Value::Object(map)) = (registry().get(name), args.to_value()) else {
        return Ok(());
    };
    if holds_template(args) {
        return Ok(());
    }
    module.check(&map).map_err(|error| {
        let told = Diagnostic::new(format!("{name}: {error}")).at(&key.origin);
        match error {
            ModuleError::Failed { hint: Some(hint), .. } => told.hint(hint),
            _ => told,
        }
    })
}

fn holds_template(node: &Node) -> bool {
    match &node.kind {
        Kind::Str(text) => text.contains("{{") || text.contains("{%") || text.contains("{#"),
        Kind::Vault(_) => true,
        Kind::Seq(items) => items.iter().any(holds_template),
        Kind::Map(map) => map.iter().any(|(k, v)| holds_template(k) || holds_template(v)),
        _ => false,
    }
}

/// The `vars` of a static import.
pub(super) fn import_vars(map: &Mapping) -> Result<indexmap::IndexMap<String, Node>, Diagnostic> {
    map.get("vars").map_or_else(|| Ok(indexmap::IndexMap::new()), variables)
}
