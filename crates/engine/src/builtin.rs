//! What is done on the controller: facts, assertions, messages.

use std::sync::{Arc, PoisonError};

use indexmap::IndexMap;
use serde_json::json;

use super::play::PlayRun;
use super::register::ItemOutcome;
use super::role_arguments::judged;
use super::scope::HostScope;
use crate::diag::Diagnostic;
use crate::modules::Outcome;
use crate::playbook::{Action, ArgumentSpec, Folder, Task};
use crate::value::{Map, Value, plain, truth};
use crate::vars::{Scope, Var, raw};
use crate::yaml::{Kind, Node};

/// Does what a task says that needs no host.
pub(super) fn perform(
    play: &Arc<PlayRun>,
    task: &Task,
    action: &Action,
    host: &str,
    scope: &HostScope,
    args: Node,
) -> ItemOutcome {
    let work = Work { play, task, args, host, scope: scope.clone().shared() };
    let outcome = match action {
        Action::AsyncStatus => return work.async_status(),
        Action::SetFact => work.set_fact(),
        Action::Debug => work.debug(),
        Action::Assert => work.assert(),
        Action::Fail => work.value("msg").map(|message| {
            let message = message.unwrap_or_else(|| json!("Failed as requested from task"));
            Outcome::failed(plain(&message), Map::from_iter([("msg".to_owned(), message)]))
        }),
        Action::IncludeVars => work.include_vars(),
        Action::AddHost => work.add_host(),
        Action::GroupBy => work.group_by(),
        Action::ValidateArgumentSpec => work.validate(),
        Action::Meta | Action::Include(_) | Action::Module(_) => Ok(Outcome::default()),
    };
    outcome.map_or_else(|e| ItemOutcome::failed(e.to_string()), ItemOutcome::from_outcome)
}

/// Whether a template could name it.
fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

struct Work<'a> {
    play: &'a Arc<PlayRun>,
    task: &'a Task,
    /// With `module_defaults`.
    args: Node,
    host: &'a str,
    scope: Arc<dyn Scope>,
}

impl Work<'_> {
    fn arg(&self, name: &str) -> Option<&Node> {
        self.args.as_map()?.get(name)
    }

    fn value(&self, name: &str) -> Result<Option<Value>, Diagnostic> {
        let value = self.arg(name).map(|n| self.play.run.templar.render(n, &self.scope)).transpose()?;
        Ok(value.flatten())
    }

    fn text(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        Ok(self.value(name)?.map(|v| plain(&v)))
    }

    fn all(&self) -> Result<Map, Diagnostic> {
        match self.play.run.templar.render(&self.args, &self.scope)? {
            Some(Value::Object(all)) => Ok(all),
            _ => Ok(Map::new()),
        }
    }

    fn set_fact(&self) -> Result<Outcome, Diagnostic> {
        let mut facts = self.all()?;
        let cached = facts.shift_remove("cacheable").and_then(|said| truth(&said)).unwrap_or(false);
        if let Some(name) = facts.keys().find(|name| !is_variable_name(name)) {
            return Err(Diagnostic::new(format!("{name:?} is no name for a variable"))
                .at(&self.task.origin)
                .hint("a name is made of letters, digits and underscores, and does not begin with a digit"));
        }
        let mut result = Map::new();
        result.insert("ansible_facts".into(), Value::Object(facts.clone()));
        Ok(Outcome { result, facts, cached, ..Outcome::default() })
    }

    fn debug(&self) -> Result<Outcome, Diagnostic> {
        let least: u8 = self.text("verbosity")?.and_then(|v| v.parse().ok()).unwrap_or(0);
        if least > self.play.run.options.verbosity {
            return Ok(Outcome::skipped("Verbosity threshold not met."));
        }
        let mut result = Map::new();
        if let Some(node) = self.arg("var") {
            let templar = &self.play.run.templar;
            let value = match &node.kind {
                Kind::Str(text) => templar.expression(text, &node.origin, &self.scope),
                // Data names a variable, and is never evaluated.
                Kind::Unsafe(name) => Ok(Some(templar.lookup(name, &self.scope)?.ok_or_else(|| {
                    Diagnostic::new(format!("there is no variable {name:?}"))
                        .at(&node.origin)
                        .note("a name that comes out of data is looked up, not evaluated")
                })?)),
                _ => templar.render(node, &self.scope),
            };
            let value = value.ok().flatten().unwrap_or_else(|| json!("VARIABLE IS NOT DEFINED!"));
            result.insert(node.key_text(), value);
        } else {
            result.insert("msg".into(), self.value("msg")?.unwrap_or_else(|| json!("Hello world!")));
        }
        Ok(Outcome::ok(result))
    }

    fn assert(&self) -> Result<Outcome, Diagnostic> {
        let that =
            self.arg("that").ok_or_else(|| Diagnostic::new("assert needs `that`").at(&self.task.origin))?;
        let conditions = that.as_seq().map_or_else(|| vec![that.clone()], <[Node]>::to_vec);
        for condition in &conditions {
            if !self.play.run.templar.condition(condition, &self.scope)? {
                let message = self
                    .value("fail_msg")?
                    .or(self.value("msg")?)
                    .unwrap_or_else(|| json!("Assertion failed"));
                let mut result = Map::new();
                result.insert("assertion".into(), condition.to_value());
                result.insert("evaluated_to".into(), json!(false));
                result.insert("msg".into(), message.clone());
                return Ok(Outcome::failed(plain(&message), result));
            }
        }
        let mut result = Map::new();
        let message = self.value("success_msg")?.unwrap_or_else(|| json!("All assertions passed"));
        result.insert("msg".into(), message);
        Ok(Outcome::ok(result))
    }

    fn include_vars(&self) -> Result<Outcome, Diagnostic> {
        let file = self.text("_raw_params")?.or(self.text("file")?);
        let dir = self.text("dir")?;
        let wanted = file
            .clone()
            .or(dir)
            .ok_or_else(|| Diagnostic::new("include_vars needs a file or a dir").at(&self.task.origin))?;
        let role = self.play.run.templar.lookup("role_path", &self.scope)?.map(|v| plain(&v));
        let role = role.map(|path| match path.strip_prefix("<quaylab>/") {
            Some(inner) => Folder::Embedded(inner.to_owned()),
            None => Folder::Disk(path.into()),
        });
        let mut folders: Vec<Folder> = role.iter().flat_map(|r| [r.join("vars"), r.clone()]).collect();
        folders.extend([
            self.task.folder.join("vars"),
            self.task.folder.clone(),
            self.play.play.folder.join("vars"),
            self.play.play.folder.clone(),
        ]);
        let there = |f: &&Folder| {
            wanted.starts_with('/')
                || if file.is_some() { f.read(&wanted).is_some() } else { f.join(&wanted).exists() }
        };
        let folder = folders.iter().find(there).ok_or_else(|| {
            let looked: Vec<String> = folders.iter().map(|f| f.describe(&wanted)).collect();
            Diagnostic::new(format!(
                "could not find the variables {wanted:?}; looked for {}",
                looked.join(", ")
            ))
            .at(&self.task.origin)
        })?;
        let mut vars = IndexMap::new();
        let mut files = Vec::new();
        if file.is_some() {
            vars = self.play.run.loader.variables(folder, &wanted)?;
            files.push(folder.join(&wanted).name());
        } else {
            let folder =
                if wanted.starts_with('/') { Folder::Disk(wanted.into()) } else { folder.join(&wanted) };
            for name in self.variable_files(&folder)? {
                vars.extend(self.play.run.loader.variables(&folder, &name)?);
                files.push(folder.join(&name).name());
            }
        }
        let whole: Map = vars.iter().map(|(k, n)| (k.clone(), n.to_value())).collect();
        // Before the host's state is held: the name may ask for it.
        let name = self.text("name")?;
        let state = self.play.run.host(self.host);
        let mut state = state.state();
        let included = Arc::make_mut(&mut state.included);
        let mut facts = whole.clone();
        if let Some(name) = name {
            facts = Map::from_iter([(name.clone(), Value::Object(whole))]);
            let inside = vars
                .iter()
                .map(|(k, n)| (Node::new(Kind::Unsafe(k.as_str().into()), &n.origin), n.clone()))
                .collect();
            included.insert(name, Var::Raw(Node::new(Kind::Map(inside), &self.task.origin)));
        } else {
            included.extend(raw(&vars));
        }
        let mut result = Map::new();
        result.insert("ansible_facts".into(), Value::Object(facts));
        result.insert("ansible_included_var_files".into(), json!(files));
        Ok(Outcome::ok(result))
    }

    /// The files of `include_vars: dir=`, in order.
    fn variable_files(&self, folder: &Folder) -> Result<Vec<String>, Diagnostic> {
        let list = |name: &str| -> Result<Option<Vec<String>>, Diagnostic> {
            Ok(self.value(name)?.map(|v| match v {
                Value::Array(all) => all.iter().map(plain).collect(),
                one => plain(&one).split(',').map(|p| p.trim().to_owned()).collect(),
            }))
        };
        let endings =
            list("extensions")?.unwrap_or_else(|| ["yml", "yaml", "json"].map(str::to_owned).into());
        let ignored = list("ignore_files")?.unwrap_or_default();
        let ignored =
            ignored.iter().map(|p| fancy_regex::Regex::new(&format!("{p}$"))).collect::<Result<Vec<_>, _>>();
        let ignored =
            ignored.map_err(|e| Diagnostic::new(format!("ignore_files: {e}")).at(&self.task.origin))?;
        let depth: usize = self.text("depth")?.and_then(|d| d.parse().ok()).unwrap_or(0);
        let matching = self.text("files_matching")?.map(|p| fancy_regex::Regex::new(&p)).transpose();
        let matching =
            matching.map_err(|e| Diagnostic::new(format!("files_matching: {e}")).at(&self.task.origin))?;
        let Some(root) = folder.path() else {
            return Err(Diagnostic::new("include_vars reads a folder on disk only").at(&self.task.origin));
        };
        let mut names = Vec::new();
        let mut open = vec![(root.to_owned(), 1)];
        while let Some((place, level)) = open.pop() {
            for path in
                std::fs::read_dir(&place).into_iter().flatten().filter_map(|e| e.ok().map(|e| e.path()))
            {
                let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
                if path.is_dir() {
                    if depth == 0 || level < depth {
                        open.push((path, level + 1));
                    }
                    continue;
                }
                let ending = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
                let fits = matching.as_ref().is_none_or(|m| m.is_match(&name).unwrap_or(false));
                if !fits || ignored.iter().any(|i| i.is_match(&name).unwrap_or(false)) {
                    continue;
                }
                if !endings.contains(&ending) {
                    return Err(Diagnostic::new(format!(
                        "{} does not have a valid extension: {}",
                        path.display(),
                        endings.join(", ")
                    ))
                    .at(&self.task.origin)
                    .hint("leave it out with ignore_files"));
                }
                names.extend(path.strip_prefix(root).ok().map(|p| p.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn add_host(&self) -> Result<Outcome, Diagnostic> {
        let mut args = self.all()?;
        let name = ["name", "hostname", "host"].iter().find_map(|k| args.shift_remove(*k));
        let name = name.ok_or_else(|| Diagnostic::new("add_host needs a name").at(&self.task.origin))?;
        let groups = ["groups", "group", "groupname"].iter().find_map(|k| args.shift_remove(*k));
        let groups: Vec<String> = match groups {
            Some(Value::Array(all)) => all.iter().map(plain).collect(),
            Some(one) => plain(&one).split(',').map(|g| g.trim().to_owned()).collect(),
            None => Vec::new(),
        };
        let vars = args.iter().map(|(k, v)| (k.clone(), Node::known(v, &self.task.origin))).collect();
        let name = plain(&name);
        {
            let mut inventory = self.play.run.inventory.write().unwrap_or_else(PoisonError::into_inner);
            inventory.add_host(&name, &groups, vars);
            self.play.forget_inventory();
        }
        let mut result = Map::new();
        result.insert("add_host".into(), json!({"host_name": name, "groups": groups, "host_vars": args}));
        Ok(Outcome::changed(result))
    }

    fn group_by(&self) -> Result<Outcome, Diagnostic> {
        let key =
            self.text("key")?.ok_or_else(|| Diagnostic::new("group_by needs a key").at(&self.task.origin))?;
        let group = key.replace(' ', "-");
        let parents: Vec<String> = match self.value("parents")? {
            None => vec!["all".to_owned()],
            Some(Value::Array(all)) => all.iter().map(|p| plain(p).replace(' ', "-")).collect(),
            Some(one) => plain(&one).split(',').map(|p| p.trim().replace(' ', "-")).collect(),
        };
        {
            let mut inventory = self.play.run.inventory.write().unwrap_or_else(PoisonError::into_inner);
            inventory.add_host(self.host, std::slice::from_ref(&group), IndexMap::new());
            for parent in parents.iter().filter(|p| *p != "all") {
                inventory.add_parent(parent, &group).map_err(|e| e.at_least(&self.task.origin))?;
            }
            self.play.forget_inventory();
        }
        let mut result = Map::new();
        result.insert("add_group".into(), json!(group));
        result.insert("parent_groups".into(), json!(parents));
        Ok(Outcome::changed(result))
    }

    /// How a job in the background stands.
    fn async_status(&self) -> ItemOutcome {
        let text = |name: &str| self.text(name).map(Option::unwrap_or_default);
        let (jid, mode) = match (text("jid"), text("mode")) {
            (Ok(jid), Ok(mode)) => (jid, mode),
            (Err(e), _) | (_, Err(e)) => return ItemOutcome::failed(e.to_string()),
        };
        let jobs = &self.play.run.jobs;
        if mode == "cleanup" {
            let mut result = super::jobs::about(&jid);
            let erased = if jobs.forget(self.host, &jid) { jid } else { String::new() };
            result.insert("erased".into(), json!(erased));
            result.insert("finished".into(), json!(false));
            return ItemOutcome::from_outcome(Outcome::ok(result));
        }
        jobs.status(self.host, &jid).unwrap_or_else(|| {
            let mut outcome = ItemOutcome::failed("could not find job");
            outcome.result.extend(super::jobs::about(&jid));
            outcome.result.insert("finished".into(), json!(true));
            outcome
        })
    }

    fn validate(&self) -> Result<Outcome, Diagnostic> {
        let spec = self
            .arg("argument_spec")
            .ok_or_else(|| Diagnostic::new("argument_spec is missing").at(&self.task.origin))?;
        let spec = ArgumentSpec::from_node(spec).map_err(|e| Diagnostic::new(e).at(&self.task.origin))?;
        let mut args =
            self.value("provided_arguments")?.and_then(|v| v.as_object().cloned()).unwrap_or_default();
        for name in spec.names() {
            if let (false, Ok(Some(value))) =
                (args.contains_key(name), self.play.run.templar.lookup(name, &self.scope))
            {
                args.insert(name.to_owned(), value);
            }
        }
        Ok(judged(&spec.check(&args)))
    }
}
