use std::path::PathBuf;

use std::sync::Arc;

use indexmap::IndexMap;

use super::role::Handler;
use super::{Entry, Folder, Keywords, Role};
use crate::diag::{Diagnostic, Origin};
use crate::template::Templated;
use crate::value::{Value, plain};
use crate::yaml::{Mapping, Node};

/// The plays of a run in order.
#[derive(Debug, Clone)]
pub struct Playbook {
    /// Of the file that was named, whatever it imports; `None` where it is no file on disk.
    pub folder: Option<PathBuf>,
    pub plays: Vec<Play>,
    /// What was suspicious but not wrong.
    pub warnings: Vec<Diagnostic>,
}

impl Playbook {
    /// What relative names in lookups mean: the playbook's folder, as in Ansible, wherever it is run from; the current folder is
    /// anybody's. Only what is no file on disk has no other.
    pub fn working_dir(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| std::env::current_dir().unwrap_or_default())
    }
}

/// One play: hosts, and what is done on them.
#[derive(Debug, Clone)]
pub struct Play {
    pub origin: Origin,
    /// The playbook's folder: `playbook_dir`, `group_vars`, relative files.
    pub folder: Folder,
    pub name: Option<Node>,
    /// A pattern, or a list of patterns.
    pub hosts: Node,
    pub keywords: Arc<Keywords>,
    pub gather_facts: Option<Templated<bool>>,
    /// What the gathering of facts is told: `gather_subset`, `gather_timeout`, `fact_path`.
    pub gathering: Mapping,
    pub vars_files: Vec<Node>,
    pub prompts: Vec<Prompt>,
    /// In order: `pre_tasks`, `roles`, `tasks`, `post_tasks`.
    pub sections: [Vec<Entry>; 4],
    pub handlers: Vec<Handler>,
    /// Every role used statically, dependencies first.
    pub roles: Vec<Arc<Role>>,
    /// The names under `roles:`, each once, and those of the roles that these depend on.
    pub role_names: Vec<String>,
    pub dependencies: Vec<String>,
    pub serial: Vec<Node>,
    pub strategy: Option<Templated<String>>,
    pub max_fail_percentage: Option<Templated<String>>,
    pub force_handlers: Option<Templated<bool>>,
    pub order: Option<Templated<String>>,
}

impl Play {
    /// The hosts that it is for, as one pattern.
    pub fn pattern(&self) -> String {
        match self.hosts.to_value() {
            Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(":"),
            one => plain(&one),
        }
    }
}

/// A question asked before a play runs.
#[derive(Debug, Clone)]
pub struct Prompt {
    pub name: String,
    pub prompt: Option<Node>,
    pub default: Option<Node>,
    /// Whether the answer is hidden while it is typed (the default).
    pub private: bool,
    pub confirm: bool,
}

/// An item of `roles:` or of a role's dependencies.
#[derive(Debug, Clone)]
pub struct RoleUse {
    pub name: String,
    pub origin: Origin,
    pub keywords: Keywords,
    pub params: IndexMap<String, Node>,
}
