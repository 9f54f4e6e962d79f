use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;

use super::entries::Reading;
use super::keywords::{list, variables};
use super::load_role::role_use;
use super::role::{EntryPoint, Handler, LoadedRole};
use super::written::{self, known_text, mapping, parent, shared_keywords};
use super::{Entry, Folder, Keywords, Play, Playbook, Prompt, Role, RoleUse};
use crate::diag::{Diagnostic, SourceFile, closest};
use crate::template::Templated;
use crate::value::truth;
use crate::vars::{Layers, Level, Var};
use crate::vault::Vault;
use crate::yaml::{self, Mapping, Node};

/// Imports nested deeper than this are taken for a cycle.
pub(super) const MAX_DEPTH: usize = 60;

fn gives_defaults(node: &Node) -> bool {
    match (node.as_map(), node.as_seq()) {
        (Some(map), _) => {
            map.iter().any(|(key, value)| key.key_text() == "module_defaults" || gives_defaults(value))
        }
        (_, Some(items)) => items.iter().any(gives_defaults),
        _ => false,
    }
}

/// Reads playbooks, roles and task files, and says what is wrong with them before anything runs.
#[derive(Debug, Clone)]
pub struct Loader {
    /// Where roles are looked for after the playbook's own `roles` folder and before the embedded ones.
    pub(super) roles_path: Vec<PathBuf>,
    /// Opens files that are encrypted as a whole.
    vault: Arc<Vault>,
    /// Variables that do not depend on a host, which names of imports may hold.
    pub(super) known: Layers,
    warnings: Arc<Mutex<Vec<Diagnostic>>>,
    /// Something that was read gives modules defaults, so that a task alone does not say all of its arguments.
    defaults: Arc<AtomicBool>,
}

impl Loader {
    pub fn new(roles_path: Vec<PathBuf>) -> Self {
        Self {
            roles_path,
            vault: Arc::default(),
            known: Layers::new(),
            warnings: Arc::default(),
            defaults: Arc::default(),
        }
    }

    /// The same loader, which can open what is encrypted with these secrets.
    #[must_use]
    pub fn with_vault(self, vault: Arc<Vault>) -> Self {
        Self { vault, ..self }
    }

    /// The same loader, for what is read where these variables are known.
    #[must_use]
    pub fn knowing(&self, level: Level, vars: &IndexMap<String, Node>) -> Self {
        if vars.is_empty() {
            return self.clone();
        }
        let vars = vars.iter().map(|(name, node)| (name.clone(), Var::Raw(node.clone()))).collect();
        Self { known: self.known.with(level, Arc::new(vars)), ..self.clone() }
    }

    /// Notes whether what was read gives modules defaults.
    pub(super) fn note(&self, node: &Node) {
        if gives_defaults(node) {
            self.defaults.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a task's own arguments are all that its module gets.
    pub(super) fn tells_all(&self) -> bool {
        !self.defaults.load(Ordering::Relaxed)
    }

    pub(super) fn source(&self, folder: &Folder, file: &str) -> Result<Arc<SourceFile>, Diagnostic> {
        written::source(folder, file, &self.vault)
    }

    /// Reads a playbook with all that it imports.
    pub fn playbook(&self, folder: &Folder, file: &str) -> Result<Playbook, Diagnostic> {
        let mut plays = Vec::new();
        self.plays(&folder.whole(), file, 0, &mut plays)?;
        let folder = parent(&folder.whole(), file).path().map(ToOwned::to_owned);
        Ok(Playbook { folder, plays, warnings: self.take_warnings() })
    }

    /// A playbook that is not a file: what it names is looked for from the folder.
    pub fn parsed(&self, node: &Node, folder: &Folder) -> Result<Playbook, Diagnostic> {
        let mut plays = Vec::new();
        self.plays_of(node, &folder.whole(), 0, &mut plays)?;
        let folder = folder.whole().path().map(ToOwned::to_owned);
        Ok(Playbook { folder, plays, warnings: self.take_warnings() })
    }

    /// Reads a task file while the play runs, for `include_tasks`.
    pub fn tasks(
        &self,
        playbook: &Folder,
        folder: &Folder,
        file: &str,
        handlers: &mut Vec<Handler>,
    ) -> Result<Vec<Entry>, Diagnostic> {
        let source = self.source(folder, file)?;
        let (node, warnings) = yaml::load_one(&source)?;
        self.warn(warnings);
        let folder = parent(folder, file);
        let mut roles = Vec::new();
        let mut reading = Reading { playbook, folder, handlers, roles: &mut roles, depth: 0 };
        self.entries(&node, &mut reading)
    }

    /// Reads a variables file.
    pub fn variables(&self, folder: &Folder, file: &str) -> Result<IndexMap<String, Node>, Diagnostic> {
        let (node, warnings) = yaml::load_one(&self.source(folder, file)?)?;
        self.warn(warnings);
        variables(&node)
    }

    /// Finds and reads a role with its dependencies.
    pub fn role(
        &self,
        playbook: &Folder,
        usage: &RoleUse,
        entry: &EntryPoint,
    ) -> Result<LoadedRole, Diagnostic> {
        self.load_role(playbook, usage, entry, false, 0)
    }

    /// What was suspicious in the files read since the last call.
    pub fn take_warnings(&self) -> Vec<Diagnostic> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn warn(&self, more: Vec<Diagnostic>) {
        self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(more);
    }

    fn plays(
        &self,
        folder: &Folder,
        file: &str,
        depth: usize,
        plays: &mut Vec<Play>,
    ) -> Result<(), Diagnostic> {
        let source = self.source(folder, file)?;
        let (node, warnings) = yaml::load_one(&source)?;
        self.warn(warnings);
        self.plays_of(&node, &parent(folder, file), depth, plays)
    }

    fn plays_of(
        &self,
        node: &Node,
        folder: &Folder,
        depth: usize,
        plays: &mut Vec<Play>,
    ) -> Result<(), Diagnostic> {
        let items = node.as_seq().ok_or_else(|| {
            Diagnostic::new(format!("a playbook is a list of plays, not {}", node.type_name()))
                .at(&node.origin)
                .hint("start each play with `- hosts: ...`")
        })?;
        self.note(node);
        for item in items {
            let map = mapping(item, "a play")?;
            let import =
                map.entry("import_playbook").or_else(|| map.entry("ansible.builtin.import_playbook"));
            if let Some((key, value)) = import {
                if depth > MAX_DEPTH {
                    return Err(Diagnostic::new("playbooks import each other in a circle").at(&key.origin));
                }
                let name = known_text(value, "import_playbook", &self.known)?;
                let known = ["name", "import_playbook", "ansible.builtin.import_playbook"];
                let given = shared_keywords(map, &known, "import_playbook")?;
                let from = plays.len();
                self.plays(folder, &name, depth + 1, plays).map_err(|e| e.at_least(&value.origin))?;
                for play in plays.iter_mut().skip(from) {
                    let keywords = Arc::make_mut(&mut play.keywords);
                    keywords.vars.extend(given.vars.clone());
                    keywords.tags.extend(given.tags.iter().cloned());
                    keywords.when.splice(0..0, given.when.iter().cloned());
                }
            } else {
                plays.push(self.play(item, map, folder)?);
            }
        }
        Ok(())
    }

    fn play(&self, node: &Node, map: &Mapping, folder: &Folder) -> Result<Play, Diagnostic> {
        const KNOWN: &[&str] = &[
            "name",
            "hosts",
            "gather_facts",
            "vars_files",
            "vars_prompt",
            "pre_tasks",
            "roles",
            "tasks",
            "post_tasks",
            "handlers",
            "serial",
            "strategy",
            "max_fail_percentage",
            "force_handlers",
            "order",
            "gather_subset",
            "gather_timeout",
            "fact_path",
            "import_playbook",
        ];
        let mut keywords = Keywords::default();
        let mut play = Play {
            origin: node.origin.clone(),
            folder: folder.clone(),
            name: map.get("name").cloned(),
            hosts: map.get("hosts").cloned().ok_or_else(|| {
                Diagnostic::new("this play has no hosts")
                    .at(&node.origin)
                    .hint("add `hosts: all` or a group's name")
            })?,
            keywords: Arc::default(),
            gather_facts: map.get("gather_facts").map(|node| Templated::new("gather_facts", node.clone())),
            gathering: map
                .pairs()
                .iter()
                .filter(|(k, _)| matches!(k.as_str(), Some("gather_subset" | "gather_timeout" | "fact_path")))
                .cloned()
                .collect(),
            vars_files: map.get("vars_files").map(list).unwrap_or_default(),
            prompts: Vec::new(),
            sections: [const { Vec::new() }; 4],
            handlers: Vec::new(),
            roles: Vec::new(),
            role_names: Vec::new(),
            dependencies: Vec::new(),
            serial: map.get("serial").map(list).unwrap_or_default(),
            strategy: map.get("strategy").map(|node| Templated::new("strategy", node.clone())),
            max_fail_percentage: map
                .get("max_fail_percentage")
                .map(|node| Templated::new("max_fail_percentage", node.clone())),
            force_handlers: map
                .get("force_handlers")
                .map(|node| Templated::new("force_handlers", node.clone())),
            order: map.get("order").map(|node| Templated::new("order", node.clone())),
        };
        for (key, value) in map.iter() {
            let name = key.key_text();
            if name == "vars_prompt" {
                play.prompts = list(value).iter().map(prompt).collect::<Result<_, _>>()?;
            } else if !KNOWN.contains(&name.as_str()) && !keywords.take(&name, value)? {
                let near = closest(&name, KNOWN.iter().chain(Keywords::NAMES).copied());
                return Err(Diagnostic::new(format!("unknown play keyword {name:?}"))
                    .at(&key.origin)
                    .hint_opt(near.map(|n| format!("did you mean {n}?"))));
            }
        }
        let mut this = self.knowing(Level::Play, &keywords.vars);
        for file in play.vars_files.iter().filter_map(Node::as_str) {
            // Names with templates, and files that are not there, are the run's matter.
            if !file.contains("{{") && folder.read(file).is_some() {
                this = this.knowing(Level::PlayFiles, &self.variables(folder, file)?);
            }
        }
        play.keywords = Arc::new(keywords);
        let mut handlers = Vec::new();
        let mut roles = Vec::new();
        if let Some(uses) = map.get("roles") {
            for item in list(uses) {
                let usage = role_use(&item, &this.known)?;
                let loaded = this.load_role(folder, &usage, &EntryPoint::default(), true, 0)?;
                handlers.extend(loaded.handlers);
                if let Some((own, dependencies)) = loaded.roles.split_last() {
                    push_new(&mut play.role_names, &own.name);
                    for role in dependencies {
                        push_new(&mut play.dependencies, &role.name);
                    }
                }
                roles.extend(loaded.roles);
                play.sections[1].push(Entry::Block(loaded.block));
            }
        }
        for (index, section) in [(0, "pre_tasks"), (2, "tasks"), (3, "post_tasks")] {
            if let Some(tasks) = map.get(section) {
                let mut reading = Reading {
                    playbook: folder,
                    folder: folder.clone(),
                    handlers: &mut handlers,
                    roles: &mut roles,
                    depth: 0,
                };
                play.sections[index] = this.entries(tasks, &mut reading)?;
            }
        }
        if let Some(own) = map.get("handlers") {
            let own = this.handlers(own, folder, folder, None)?;
            handlers.extend(own);
        }
        play.handlers = handlers;
        play.roles = roles;
        Ok(play)
    }

    pub(super) fn handlers(
        &self,
        node: &Node,
        playbook: &Folder,
        folder: &Folder,
        role: Option<&Arc<Role>>,
    ) -> Result<Vec<Handler>, Diagnostic> {
        let mut nested = Vec::new();
        let mut roles = Vec::new();
        let mut reading =
            Reading { playbook, folder: folder.clone(), handlers: &mut nested, roles: &mut roles, depth: 0 };
        let entries = self.entries(node, &mut reading)?;
        let mut handlers = Vec::new();
        flatten(&entries, &[], role, &mut handlers);
        Ok(handlers)
    }
}

fn push_new(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|n| n == name) {
        names.push(name.to_owned());
    }
}

fn flatten(
    entries: &[Entry],
    outer: &[Arc<Keywords>],
    role: Option<&Arc<Role>>,
    handlers: &mut Vec<Handler>,
) {
    for entry in entries {
        match entry {
            Entry::Task(task) => {
                handlers.push(Handler {
                    task: Arc::clone(task),
                    role: role.cloned(),
                    keywords: outer.to_vec(),
                });
            }
            Entry::Block(block) => {
                let mut keywords = outer.to_vec();
                keywords.push(Arc::clone(&block.keywords));
                flatten(&block.tasks, &keywords, block.role.as_ref().or(role), handlers);
            }
        }
    }
}

fn prompt(node: &Node) -> Result<Prompt, Diagnostic> {
    const KNOWN: &[&str] =
        &["name", "prompt", "default", "private", "confirm", "encrypt", "salt", "salt_size", "unsafe"];
    let map = mapping(node, "a prompt")?;
    let name = map
        .get("name")
        .and_then(Node::as_str)
        .ok_or_else(|| Diagnostic::new("the prompt has no name").at(&node.origin))?;
    let flag =
        |key: &str, default: bool| map.get(key).map_or(default, |n| truth(&n.to_value()).unwrap_or(default));
    if let Some((key, _)) = map.iter().find(|(k, _)| !KNOWN.contains(&k.key_text().as_str())) {
        return Err(
            Diagnostic::new(format!("unknown option {:?} of vars_prompt", key.key_text())).at(&key.origin)
        );
    }
    Ok(Prompt {
        name: name.to_owned(),
        prompt: map.get("prompt").cloned(),
        default: map.get("default").cloned(),
        private: flag("private", true),
        confirm: flag("confirm", false),
    })
}
