use std::sync::Arc;

use indexmap::IndexMap;

use super::{ArgumentSpec, Block, Folder, Keywords, Task};
use crate::yaml::Node;

/// A role's content besides its tasks, which stand in the block that uses it.
#[derive(Debug)]
pub struct Role {
    /// As it was asked for.
    pub name: String,
    pub folder: Folder,
    pub defaults: IndexMap<String, Node>,
    pub vars: IndexMap<String, Node>,
    /// Parameters given where the role is used.
    pub params: IndexMap<String, Node>,
    /// The specification of the entry point that is used, checked before its tasks run.
    pub spec: Option<ArgumentSpec>,
    /// Set where it runs once on a host: what tells this use of it from others.
    pub once: Option<String>,
}

impl Role {
    /// The name of the task that checks its arguments.
    pub fn validation(&self) -> String {
        let description = self.spec.as_ref().and_then(|s| s.short_description.as_deref());
        let more = description.map(|d| format!(" - {d}")).unwrap_or_default();
        format!("{} : Validating arguments against arg spec 'main'{more}", self.name)
    }
}

/// A handler with what it inherits.
#[derive(Debug, Clone)]
pub struct Handler {
    pub task: Arc<Task>,
    pub role: Option<Arc<Role>>,
    /// Outermost first.
    pub keywords: Vec<Arc<Keywords>>,
}

/// A role ready to run.
#[derive(Debug)]
pub struct LoadedRole {
    pub block: Arc<Block>,
    /// The role's own and its dependencies' handlers.
    pub handlers: Vec<Handler>,
    /// The role and its dependencies, dependencies first: their variables are seen by what follows.
    pub roles: Vec<Arc<Role>>,
}

/// Which of a role's files are used.
#[derive(Debug, Clone)]
pub struct EntryPoint {
    pub tasks: String,
    pub vars: String,
    pub defaults: String,
    pub handlers: String,
}

impl Default for EntryPoint {
    fn default() -> Self {
        let main = || "main".to_owned();
        Self { tasks: main(), vars: main(), defaults: main(), handlers: main() }
    }
}
