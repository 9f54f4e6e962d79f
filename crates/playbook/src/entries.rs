//! Lists of tasks: blocks, tasks, and what is imported among them.

use std::sync::Arc;

use super::load_role::role_arguments;
use super::loader::{Loader, MAX_DEPTH};
use super::role::Handler;
use super::task::import_vars;
use super::written::{known_text, mapping, parent, shared_keywords};
use super::{Block, Entry, Folder, Role, Task};
use crate::diag::Diagnostic;
use crate::vars::Level;
use crate::yaml::{self, Mapping, Node};

/// What is collected while a list of tasks is read.
pub(super) struct Reading<'a> {
    pub(super) playbook: &'a Folder,
    /// Where relative task files are looked for.
    pub(super) folder: Folder,
    pub(super) handlers: &'a mut Vec<Handler>,
    pub(super) roles: &'a mut Vec<Arc<Role>>,
    pub(super) depth: usize,
}

impl Loader {
    pub(super) fn entries(&self, node: &Node, reading: &mut Reading<'_>) -> Result<Vec<Entry>, Diagnostic> {
        if node.is_null() {
            return Ok(Vec::new());
        }
        self.note(node);
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
        Task::parse(item, map, &reading.folder, self.tells_all()).map(|task| Entry::Task(Arc::new(task)))
    }

    fn block(&self, item: &Node, map: &Mapping, reading: &mut Reading<'_>) -> Result<Entry, Diagnostic> {
        const KNOWN: &[&str] = &["block", "rescue", "always", "name", "notify"];
        let keywords = shared_keywords(map, KNOWN, "block")?;
        let this = self.knowing(Level::Block, &keywords.vars);
        let mut section =
            |name: &str| map.get(name).map_or_else(|| Ok(Vec::new()), |tasks| this.entries(tasks, reading));
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
        if reading.depth > MAX_DEPTH {
            return Err(Diagnostic::new("task files import each other in a circle").at(&value.origin));
        }
        let keywords =
            shared_keywords(map, &["name", "import_tasks", "ansible.builtin.import_tasks"], "import_tasks")?;
        let this = self.knowing(Level::Block, &keywords.vars);
        let name = &known_text(file, "import_tasks", &this.known)?;
        let source = self.source(&reading.folder, name).map_err(|e| e.at(&file.origin))?;
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
            tasks: this.entries(&node, &mut inner)?,
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
        let (usage, entry) = role_arguments(args, &item.origin, import_vars(map)?, &self.known)?;
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
}
