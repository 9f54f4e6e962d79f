use std::fmt::Debug;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Known;
use crate::yaml::Node;

/// The variable that tells lookups in which folder the task's file is; no playbook can name it.
pub const TASK_FOLDER: &str = "task folder";

/// A variable's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Var {
    /// As a person wrote it: templated each time it is used.
    Raw(Node),
    /// A fact, a registered result, a magic variable: never templated.
    Known(Known),
}

impl Var {
    pub fn known(value: impl Into<Known>) -> Self {
        Self::Known(value.into())
    }
}

/// Variables by name, in the order in which they were written.
pub type Vars = IndexMap<String, Var>;

/// Raw variables from nodes.
pub fn raw<'a>(nodes: impl IntoIterator<Item = (&'a String, &'a Node)>) -> Vars {
    nodes.into_iter().map(|(name, node)| (name.clone(), Var::Raw(node.clone()))).collect()
}

/// Those of the variables that a person wrote.
pub fn written(vars: &Vars) -> impl Iterator<Item = (&String, &Node)> {
    vars.iter().filter_map(|(name, var)| match var {
        Var::Raw(node) => Some((name, node)),
        Var::Known(_) => None,
    })
}

/// The variables that a template sees, for one host at one moment.
pub trait Scope: Debug + Send + Sync {
    fn get(&self, name: &str) -> Option<Var>;
    /// All names, each once, in no order that matters.
    fn names(&self) -> Vec<String>;
    /// Another host's variables, which `hostvars` opens when they are asked for.
    fn host(&self, _name: &str) -> Option<Arc<dyn Scope>> {
        None
    }
    /// Whether this only guesses at what will be rendered later: nothing may be done by it.
    fn is_guess(&self) -> bool {
        false
    }
    /// The hosts that `hostvars` knows.
    fn host_names(&self) -> Vec<String> {
        Vec::new()
    }
}
