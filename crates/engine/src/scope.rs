use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;

use super::play::PlayRun;
use super::speculate::Rest;
use crate::inventory::VarMap;
use crate::playbook::{Folder, Keywords, Role};
use crate::vars::{Known, Layers, Level, Scope, TASK_FOLDER, Var, Vars, raw};

/// What a task inherits from what stands around it: keywords and role, outermost first.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub keywords: Vec<Arc<Keywords>>,
    pub role: Option<Arc<Role>>,
    /// Roles around this one, whose variables it sees too; the nearest first.
    pub parents: Vec<Arc<Role>>,
    /// Given to an include: stronger than everything but `-e`.
    pub include_vars: Arc<Vars>,
    /// A block around has a rescue for what fails here.
    pub rescuable: bool,
    /// A block around has a rescue or an always, so that a failure does not yet end the host's play.
    pub guarded: bool,
    /// The file or role that was included last on the way here.
    pub included: Option<String>,
    /// Inside a handler, where tags choose nothing.
    pub handler: bool,
    /// How many includes lead here.
    pub depth: usize,
    /// What comes after the task, or after the list of tasks.
    pub rest: Option<Arc<Rest>>,
}

impl Context {
    /// This context inside a block.
    pub(super) fn inside(&self, keywords: &Arc<Keywords>, role: Option<&Arc<Role>>) -> Self {
        let mut inner = self.clone();
        inner.keywords.push(Arc::clone(keywords));
        if let Some(role) = role {
            if let Some(outer) = &self.role {
                inner.parents.insert(0, Arc::clone(outer));
            }
            inner.role = Some(Arc::clone(role));
        }
        inner
    }

    /// The innermost of a keyword's values.
    pub(super) fn nearest<'a, T>(&'a self, of: impl Fn(&'a Keywords) -> Option<&'a T>) -> Option<&'a T> {
        self.keywords.iter().rev().find_map(|k| of(k))
    }
}

/// The variables of one host at one moment.
#[derive(Clone)]
pub(super) struct HostScope {
    play: Arc<PlayRun>,
    host: String,
    layers: Layers,
    /// `item` and its kind, results being judged, role names.
    locals: Arc<IndexMap<String, Var>>,
    /// What is rendered is not sure to be used.
    guessing: bool,
}

impl std::fmt::Debug for HostScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostScope").field("host", &self.host).finish_non_exhaustive()
    }
}

impl HostScope {
    /// Everything that a task on this host sees, before its own `vars`.
    pub(super) fn new(play: &Arc<PlayRun>, host: &str, context: &Context) -> Self {
        let mut layers = play.host_layers(host);
        let given = |layers: Layers, level, vars: &Arc<Vars>| {
            if vars.is_empty() { layers } else { layers.with(level, Arc::clone(vars)) }
        };
        for role in play.roles().iter().chain(context.parents.iter().rev()).chain(&context.role) {
            let vars = play.role_vars(role);
            layers = given(layers, Level::RoleDefaults, &vars.defaults);
            layers = given(layers, Level::Role, &vars.vars);
        }
        for role in context.parents.iter().rev().chain(&context.role) {
            layers = given(layers, Level::RoleParams, &play.role_vars(role).params);
        }
        // The play's own variables have a level of their own.
        for keywords in context.keywords.iter().filter(|k| !Arc::ptr_eq(k, &play.play.keywords)) {
            if !keywords.vars.is_empty() {
                layers = layers.with(Level::Block, Arc::new(raw(&keywords.vars)));
            }
        }
        if !context.include_vars.is_empty() {
            layers = layers.with(Level::IncludeParams, Arc::clone(&context.include_vars));
        }
        let mut locals = IndexMap::new();
        if let Some(role) = &context.role {
            locals.insert("role_name".into(), Var::known(json!(role.name)));
            locals.insert("ansible_role_name".into(), Var::known(json!(role.name)));
            locals.insert("role_path".into(), Var::known(json!(role.folder.name())));
            let parents: Vec<&str> = context.parents.iter().map(|r| r.name.as_str()).collect();
            locals.insert("ansible_parent_role_names".into(), Var::known(json!(parents)));
        }
        Self {
            play: Arc::clone(play),
            host: host.to_owned(),
            layers,
            locals: Arc::new(locals),
            guessing: false,
        }
    }

    /// The scope with a task's own variables.
    pub(super) fn with_task_vars(&self, vars: &VarMap) -> Self {
        if vars.is_empty() {
            return self.clone();
        }
        Self { layers: self.layers.with(Level::Task, Arc::new(raw(vars))), ..self.clone() }
    }

    /// The scope for a guess at what a later task will be: nothing is done by rendering in it.
    pub(super) fn guessing(&self) -> Self {
        Self { guessing: true, ..self.clone() }
    }

    /// The scope of a task that stands in this folder.
    pub(super) fn at(&self, folder: &Folder) -> Self {
        self.with_locals([(TASK_FOLDER.to_owned(), json!(folder.name()))])
    }

    /// The scope with names that stand above all others while a task runs.
    pub(super) fn with_locals<V: Into<Known>>(&self, more: impl IntoIterator<Item = (String, V)>) -> Self {
        let mut locals = (*self.locals).clone();
        locals.extend(more.into_iter().map(|(name, value)| (name, Var::Known(value.into()))));
        Self { locals: Arc::new(locals), ..self.clone() }
    }

    pub(super) fn shared(self) -> Arc<dyn Scope> {
        Arc::new(self)
    }
}

impl Scope for HostScope {
    fn get(&self, name: &str) -> Option<Var> {
        if let Some(found) = self.locals.get(name) {
            return Some(found.clone());
        }
        if let Some(value) = self.play.magic(&self.host, name) {
            return Some(Var::Known(value));
        }
        let unset =
            || (name == "ansible_host" && !self.host.is_empty()).then(|| Var::known(json!(self.host)));
        self.layers.get(name).or_else(unset)
    }

    fn names(&self) -> Vec<String> {
        let shown = self.locals.keys().filter(|name| *name != TASK_FOLDER);
        let mut names: Vec<String> = shown.cloned().collect();
        names.extend(self.layers.names());
        names.extend(PlayRun::MAGIC.iter().map(|n| (*n).to_owned()));
        names.sort_unstable();
        names.dedup();
        names
    }

    fn host(&self, name: &str) -> Option<Arc<dyn Scope>> {
        self.play.knows(name).then(|| {
            let scope = Self::new(&self.play, name, &Context::default());
            Self { guessing: self.guessing, ..scope }.shared()
        })
    }

    fn is_guess(&self) -> bool {
        self.guessing
    }

    fn host_names(&self) -> Vec<String> {
        self.play.inventory_hosts()
    }
}
