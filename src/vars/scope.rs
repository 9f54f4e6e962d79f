use std::fmt::Debug;
use std::sync::Arc;

use crate::value::Value;
use crate::yaml::Node;

/// The variable that tells lookups in which folder the task's file is; no playbook can name it.
pub const TASK_FOLDER: &str = "task folder";

/// A variable's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Var {
    /// As a person wrote it: templated each time it is used.
    Raw(Node),
    /// A fact, a registered result, a magic variable: never templated.
    Known(Value),
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
