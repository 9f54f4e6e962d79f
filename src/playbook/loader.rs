use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;

use super::keywords::{list, variables};
use super::role::{EntryPoint, Handler, LoadedRole};
use super::task::import_vars;
use super::{ArgumentSpec, Block, Entry, Folder, Keywords, Play, Playbook, Prompt, Role, RoleUse, Task};
use crate::diag::{Diagnostic, Origin, SourceFile, closest};
use crate::value::truth;
use crate::yaml::{self, Mapping, Node};

/// Imports nested deeper than this are taken for a cycle.
const MAX_DEPTH: usize = 60;

/// Reads playbooks, roles and task files, and says what is wrong with them before anything runs.
#[derive(Debug)]
pub struct Loader {
    /// Where roles are looked for after the playbook's own `roles` folder and before the embedded ones.
    roles_path: Vec<PathBuf>,
    warnings: Mutex<Vec<Diagnostic>>,
}

/// What is collected while a list of tasks is read.
struct Reading<'a> {
    playbook: &'a Folder,
    /// Where relative task files are looked for.
    folder: Folder,
    handlers: &'a mut Vec<Handler>,
    roles: &'a mut Vec<Arc<Role>>,
    depth: usize,
}

impl Loader {
    pub fn new(roles_path: Vec<PathBuf>) -> Self {
        Self { roles_path, warnings: Mutex::default() }
    }

    /// Reads a playbook with all that it imports.
    pub fn playbook(&self, folder: &Folder, file: &str) -> Result<Playbook, Diagnostic> {
        let mut plays = Vec::new();
        self.plays(&folder.whole(), file, 0, &mut plays)?;
        Ok(Playbook { plays, warnings: self.take_warnings() })
    }

    /// Reads a task file while the play runs, for `include_tasks`.
    pub fn tasks(
        &self,
        playbook: &Folder,
        folder: &Folder,
        file: &str,
        handlers: &mut Vec<Handler>,
    ) -> Result<Vec<Entry>, Diagnostic> {
        let source = source(folder, file)?;
        let (node, warnings) = yaml::load_one(&source)?;
        self.warn(warnings);
        let folder = parent(folder, file);
        let mut roles = Vec::new();
        let mut reading = Reading { playbook, folder, handlers, roles: &mut roles, depth: 0 };
        self.entries(&node, &mut reading)
    }

    /// Reads a variables file.
    pub fn variables(&self, folder: &Folder, file: &str) -> Result<IndexMap<String, Node>, Diagnostic> {
        let (node, warnings) = yaml::load_one(&source(folder, file)?)?;
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

    fn warn(&self, more: Vec<Diagnostic>) {
        self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(more);
    }

    fn plays(
        &self,
        folder: &Folder,
        file: &str,
        depth: usize,
        plays: &mut Vec<Play>,
    ) -> Result<(), Diagnostic> {
        let source = source(folder, file)?;
        let (node, warnings) = yaml::load_one(&source)?;
        self.warn(warnings);
        let folder = parent(folder, file);
        let items = node.as_seq().ok_or_else(|| {
            Diagnostic::new(format!("a playbook is a list of plays, not {}", node.type_name()))
                .at(&node.origin)
                .hint("start each play with `- hosts: ...`")
        })?;
        for item in items {
            let map = mapping(item, "a play")?;
            let import =
                map.entry("import_playbook").or_else(|| map.entry("ansible.builtin.import_playbook"));
            if let Some((key, value)) = import {
                if depth > MAX_DEPTH {
                    return Err(Diagnostic::new("playbooks import each other in a circle").at(&key.origin));
                }
                let name = plain_text(value, "import_playbook")?;
                let known = ["name", "import_playbook", "ansible.builtin.import_playbook"];
                let given = shared_keywords(map, &known, "import_playbook")?;
                let from = plays.len();
                self.plays(&folder, name, depth + 1, plays).map_err(|e| e.at_least(&value.origin))?;
                for play in plays.iter_mut().skip(from) {
                    let keywords = Arc::make_mut(&mut play.keywords);
                    keywords.vars.extend(given.vars.clone());
                    keywords.tags.extend(given.tags.iter().cloned());
                    keywords.when.splice(0..0, given.when.iter().cloned());
                }
            } else {
                plays.push(self.play(item, map, &folder)?);
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
            gather_facts: map.get("gather_facts").cloned(),
            vars_files: map.get("vars_files").map(list).unwrap_or_default(),
            prompts: Vec::new(),
            sections: [const { Vec::new() }; 4],
            handlers: Vec::new(),
            roles: Vec::new(),
            serial: map.get("serial").map(list).unwrap_or_default(),
            strategy: map.get("strategy").cloned(),
            max_fail_percentage: map.get("max_fail_percentage").cloned(),
            force_handlers: map.get("force_handlers").cloned(),
            order: map.get("order").cloned(),
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
        play.keywords = Arc::new(keywords);
        let mut handlers = Vec::new();
        let mut roles = Vec::new();
        if let Some(uses) = map.get("roles") {
            for item in list(uses) {
                let loaded = self.load_role(folder, &role_use(&item)?, &EntryPoint::default(), true, 0)?;
                handlers.extend(loaded.handlers);
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
                play.sections[index] = self.entries(tasks, &mut reading)?;
            }
        }
        if let Some(own) = map.get("handlers") {
            let own = self.handlers(own, folder, folder, None)?;
            handlers.extend(own);
        }
        play.handlers = handlers;
        play.roles = roles;
        Ok(play)
    }

    fn handlers(
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

    fn entries(&self, node: &Node, reading: &mut Reading<'_>) -> Result<Vec<Entry>, Diagnostic> {
        if node.is_null() {
            return Ok(Vec::new());
        }
        let items = node.as_seq().ok_or_else(|| {
            Diagnostic::new(format!("tasks must be a list, not {}", node.type_name()))
                .at(&node.origin)
                .hint("start each task with `- name: ...`")
        })?;
        items.iter().map(|item| self.entry(item, reading)).collect()
    }

    fn entry(&self, item: &Node, reading: &mut Reading<'_>) -> Result<Entry, Diagnostic> {
        let map = mapping(item, "a task")?;
        let has = |name: &str| map.entry(name).or_else(|| map.entry(&format!("ansible.builtin.{name}")));
        if map.get("block").is_some() {
            return self.block(item, map, reading);
        }
        if let Some((_, value)) = has("import_tasks") {
            return self.import_tasks(item, map, value, reading);
        }
        if let Some((_, value)) = has("import_role") {
            return self.import_role(item, map, value, reading);
        }
        Task::parse(item, map, &reading.folder).map(|task| Entry::Task(Arc::new(task)))
    }

    fn block(&self, item: &Node, map: &Mapping, reading: &mut Reading<'_>) -> Result<Entry, Diagnostic> {
        const KNOWN: &[&str] = &["block", "rescue", "always", "name", "notify"];
        let keywords = shared_keywords(map, KNOWN, "block")?;
        let mut section =
            |name: &str| map.get(name).map_or_else(|| Ok(Vec::new()), |tasks| self.entries(tasks, reading));
        Ok(Entry::Block(Arc::new(Block {
            origin: item.origin.clone(),
            tasks: section("block")?,
            rescue: section("rescue")?,
            always: section("always")?,
            keywords: Arc::new(keywords),
            role: None,
        })))
    }

    fn import_tasks(
        &self,
        item: &Node,
        map: &Mapping,
        value: &Node,
        reading: &mut Reading<'_>,
    ) -> Result<Entry, Diagnostic> {
        let file = match value.as_map() {
            Some(args) => args
                .get("file")
                .ok_or_else(|| Diagnostic::new("import_tasks needs a file").at(&value.origin))?,
            None => value,
        };
        let name = plain_text(file, "import_tasks")?;
        if reading.depth > MAX_DEPTH {
            return Err(Diagnostic::new("task files import each other in a circle").at(&value.origin));
        }
        let keywords =
            shared_keywords(map, &["name", "import_tasks", "ansible.builtin.import_tasks"], "import_tasks")?;
        let source = source(&reading.folder, name).map_err(|e| e.at(&file.origin))?;
        let (node, warnings) = yaml::load_one(&source)?;
        self.warn(warnings);
        let mut inner = Reading {
            playbook: reading.playbook,
            folder: parent(&reading.folder, name),
            handlers: reading.handlers,
            roles: reading.roles,
            depth: reading.depth + 1,
        };
        Ok(Entry::Block(Arc::new(Block {
            origin: item.origin.clone(),
            tasks: self.entries(&node, &mut inner)?,
            rescue: Vec::new(),
            always: Vec::new(),
            keywords: Arc::new(keywords),
            role: None,
        })))
    }

    fn import_role(
        &self,
        item: &Node,
        map: &Mapping,
        value: &Node,
        reading: &mut Reading<'_>,
    ) -> Result<Entry, Diagnostic> {
        let args = mapping(value, "import_role")?;
        let keywords =
            shared_keywords(map, &["name", "import_role", "ansible.builtin.import_role"], "import_role")?;
        let (usage, entry) = role_arguments(args, &item.origin, import_vars(map)?)?;
        let loaded = self.load_role(reading.playbook, &usage, &entry, false, reading.depth + 1)?;
        reading.handlers.extend(loaded.handlers);
        reading.roles.extend(loaded.roles);
        Ok(Entry::Block(Arc::new(Block {
            origin: item.origin.clone(),
            tasks: vec![Entry::Block(loaded.block)],
            rescue: Vec::new(),
            always: Vec::new(),
            keywords: Arc::new(keywords),
            role: None,
        })))
    }

    fn find_role(&self, playbook: &Folder, name: &str) -> Option<Folder> {
        let mut places = vec![playbook.join("roles").join(name)];
        places.extend(self.roles_path.iter().map(|p| Folder::Disk(p.join(name))));
        places.push(playbook.join(name));
        if name.starts_with('/') {
            places.insert(0, Folder::Disk(PathBuf::from(name)));
        }
        let short = name.strip_prefix("quaylab.lab.").unwrap_or(name);
        places.push(Folder::Embedded(format!("roles/{short}")));
        places.into_iter().find(Folder::exists)
    }

    fn load_role(
        &self,
        playbook: &Folder,
        usage: &RoleUse,
        entry: &EntryPoint,
        once: bool,
        depth: usize,
    ) -> Result<LoadedRole, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(format!("role {} depends on itself", usage.name)).at(&usage.origin));
        }
        let folder = self.find_role(playbook, &usage.name).ok_or_else(|| {
            let mut places: Vec<String> = vec![playbook.join("roles").name()];
            places.extend(self.roles_path.iter().map(|p| p.display().to_string()));
            Diagnostic::new(format!("the role {:?} was not found", usage.name))
                .at(&usage.origin)
                .note(format!("looked in {} and among quaylab's own roles", places.join(", ")))
        })?;
        let file = |sub: &str, name: &str| self.role_file(&folder, sub, name);
        let vars_of = |sub: &str, name: &str| {
            file(sub, name)?.map_or_else(|| Ok(IndexMap::new()), |node| variables(&node))
        };
        let meta = file("meta", "main")?;
        let said = |key: &str| meta.as_ref().and_then(Node::as_map).and_then(|m| m.get(key));
        let repeats = said("allow_duplicates").and_then(|n| truth(&n.to_value())).unwrap_or(false);
        let role = Arc::new(Role {
            once: (once && !repeats).then(|| identity(usage)),
            name: usage.name.clone(),
            folder: folder.clone(),
            defaults: vars_of("defaults", &entry.defaults)?,
            vars: vars_of("vars", &entry.vars)?,
            params: usage.params.clone(),
            spec: self.argument_spec(&folder, &entry.tasks)?,
        });
        let mut handlers = Vec::new();
        let mut roles = Vec::new();
        let mut tasks = Vec::new();
        for item in said("dependencies").map(list).unwrap_or_default() {
            let dependency =
                self.load_role(playbook, &role_use(&item)?, &EntryPoint::default(), true, depth + 1)?;
            handlers.extend(dependency.handlers);
            roles.extend(dependency.roles);
            tasks.push(Entry::Block(dependency.block));
        }
        if let Some(node) = file("handlers", &entry.handlers)? {
            handlers.extend(self.handlers(&node, playbook, &folder.join("handlers"), Some(&role))?);
        }
        let own = match file("tasks", &entry.tasks)? {
            Some(node) => {
                let mut reading = Reading {
                    playbook,
                    folder: folder.join("tasks"),
                    handlers: &mut handlers,
                    roles: &mut roles,
                    depth: depth + 1,
                };
                self.entries(&node, &mut reading)?
            }
            None if entry.tasks == "main" => Vec::new(),
            None => {
                return Err(Diagnostic::new(format!("role {} has no tasks/{}.yml", usage.name, entry.tasks))
                    .at(&usage.origin));
            }
        };
        tasks.push(Entry::Block(Arc::new(Block {
            origin: usage.origin.clone(),
            keywords: Arc::default(),
            tasks: own,
            rescue: Vec::new(),
            always: Vec::new(),
            role: Some(Arc::clone(&role)),
        })));
        roles.push(role);
        let block = Arc::new(Block {
            origin: usage.origin.clone(),
            keywords: Arc::new(usage.keywords.clone()),
            tasks,
            rescue: Vec::new(),
            always: Vec::new(),
            role: None,
        });
        Ok(LoadedRole { block, handlers, roles })
    }

    fn role_file(&self, role: &Folder, sub: &str, name: &str) -> Result<Option<Node>, Diagnostic> {
        let folder = role.join(sub);
        let exact =
            name.rsplit_once('.').is_some_and(|(_, ending)| ["yml", "yaml", "json"].contains(&ending));
        let names = if exact {
            vec![name.to_owned()]
        } else {
            vec![format!("{name}.yml"), format!("{name}.yaml"), name.to_owned()]
        };
        for name in names {
            if folder.read(&name).is_some() {
                let (node, warnings) = yaml::load_one(&source(&folder, &name)?)?;
                self.warn(warnings);
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    fn argument_spec(&self, role: &Folder, entry: &str) -> Result<Option<ArgumentSpec>, Diagnostic> {
        let Some(node) = self.role_file(role, "meta", "argument_specs")? else { return Ok(None) };
        let entry = entry.split('.').next().unwrap_or(entry);
        let spec = node
            .as_map()
            .and_then(|m| m.get("argument_specs"))
            .and_then(Node::as_map)
            .and_then(|m| m.get(entry));
        spec.map(|spec| {
            ArgumentSpec::parse(&spec.to_value()).map_err(|e| Diagnostic::new(e).at(&spec.origin))
        })
        .transpose()
    }
}

/// The arguments of `import_role` and `include_role`, which must be known texts.
pub(crate) fn role_arguments(
    args: &Mapping,
    origin: &Origin,
    params: IndexMap<String, Node>,
) -> Result<(RoleUse, EntryPoint), Diagnostic> {
    let name = args
        .get("name")
        .or_else(|| args.get("role"))
        .ok_or_else(|| Diagnostic::new("the role's name is missing").at(origin))?;
    let text = |key: &str| args.get(key).map(|n| plain_text(n, key).map(str::to_owned)).transpose();
    let main = || "main".to_owned();
    let entry = EntryPoint {
        tasks: text("tasks_from")?.unwrap_or_else(main),
        vars: text("vars_from")?.unwrap_or_else(main),
        defaults: text("defaults_from")?.unwrap_or_else(main),
        handlers: text("handlers_from")?.unwrap_or_else(main),
    };
    let name = plain_text(name, "the role's name")?.to_owned();
    Ok((RoleUse { name, origin: origin.clone(), keywords: Keywords::default(), params }, entry))
}

fn role_use(node: &Node) -> Result<RoleUse, Diagnostic> {
    if let Some(name) = node.as_str() {
        return Ok(RoleUse {
            name: name.to_owned(),
            origin: node.origin.clone(),
            keywords: Keywords::default(),
            params: IndexMap::new(),
        });
    }
    let map = mapping(node, "a role")?;
    let (name_key, name) = map.entry("role").or_else(|| map.entry("name")).ok_or_else(|| {
        Diagnostic::new("the role's name is missing").at(&node.origin).hint("write `- role: NAME`")
    })?;
    let mut keywords = Keywords::default();
    let mut params = IndexMap::new();
    for (key, value) in map.iter() {
        if std::ptr::eq(key, name_key) {
            continue;
        }
        let key = key.key_text();
        if key == "vars" {
            params.extend(variables(value)?);
        } else if !keywords.take(&key, value)? {
            params.insert(key, value.clone());
        }
    }
    Ok(RoleUse { name: plain_text(name, "role")?.to_owned(), origin: node.origin.clone(), keywords, params })
}

/// What tells two uses of one role apart: a role runs again only where one of these differs.
fn identity(usage: &RoleUse) -> String {
    let params: Vec<_> = usage.params.iter().map(|(name, node)| (name, node.to_value())).collect();
    let written = |nodes: &[Node]| nodes.iter().map(Node::to_value).collect::<Vec<_>>();
    let keywords = (written(&usage.keywords.when), written(&usage.keywords.tags));
    serde_json::json!([usage.name, params, keywords]).to_string()
}

fn shared_keywords(map: &Mapping, known: &[&str], what: &str) -> Result<Keywords, Diagnostic> {
    let mut keywords = Keywords::default();
    for (key, value) in map.iter() {
        let name = key.key_text();
        if !known.contains(&name.as_str()) && !keywords.take(&name, value)? {
            let near = closest(&name, known.iter().chain(Keywords::NAMES).copied());
            return Err(Diagnostic::new(format!("{name:?} is not a keyword of {what}"))
                .at(&key.origin)
                .hint_opt(near.map(|n| format!("did you mean {n}?"))));
        }
    }
    Ok(keywords)
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

fn mapping<'a>(node: &'a Node, what: &str) -> Result<&'a Mapping, Diagnostic> {
    node.as_map().ok_or_else(|| {
        Diagnostic::new(format!("{what} must be a mapping, not {}", node.type_name())).at(&node.origin)
    })
}

/// A text that has to be known before anything runs.
fn plain_text<'a>(node: &'a Node, what: &str) -> Result<&'a str, Diagnostic> {
    match node.as_str() {
        Some(text) if text.contains("{{") => Err(Diagnostic::new(format!("{what} cannot hold a template"))
            .at(&node.origin)
            .hint("use include_tasks or include_role, which are resolved while the play runs")),
        Some(text) => Ok(text),
        None => {
            Err(Diagnostic::new(format!("{what} must be a string, not {}", node.type_name()))
                .at(&node.origin))
        }
    }
}

fn source(folder: &Folder, file: &str) -> Result<Arc<SourceFile>, Diagnostic> {
    let folder = if file.starts_with('/') { Folder::Disk(PathBuf::from("/")) } else { folder.clone() };
    let file = file.trim_start_matches('/');
    match folder.source(file) {
        Some(Ok(source)) => Ok(source),
        Some(Err(e)) => Err(Diagnostic::new(format!("cannot read {}: {e}", folder.describe(file)))),
        None => Err(Diagnostic::new(format!("there is no file {}", folder.describe(file)))),
    }
}

/// The folder of a file that is named relative to another folder.
fn parent(folder: &Folder, file: &str) -> Folder {
    match file.rsplit_once('/') {
        Some(("", _)) => Folder::Disk(PathBuf::from("/")),
        Some((path, _)) if file.starts_with('/') => Folder::Disk(PathBuf::from(path)),
        Some((path, _)) => folder.join(path),
        None => folder.clone(),
    }
}
