//! Ansible's order of precedence: which of several variables of one name wins.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Scope, Var, Vars};

/// Where a variable comes from, weakest first: Ansible's 22 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Values on the command line that are no variables, such as `-u user`.
    CommandLine,
    /// `roles/x/defaults/main.yml`.
    RoleDefaults,
    /// `[group:vars]` in the inventory file.
    InventoryGroup,
    /// `group_vars/all` beside the inventory.
    InventoryGroupVarsAll,
    /// `group_vars/all` beside the playbook.
    PlaybookGroupVarsAll,
    /// `group_vars/*` beside the inventory.
    InventoryGroupVars,
    /// `group_vars/*` beside the playbook.
    PlaybookGroupVars,
    /// Variables on a host's line in the inventory file.
    InventoryHost,
    /// `host_vars/*` beside the inventory.
    InventoryHostVars,
    /// `host_vars/*` beside the playbook.
    PlaybookHostVars,
    /// Facts, gathered or set with `cacheable`.
    Facts,
    /// A play's `vars`.
    Play,
    /// A play's `vars_prompt`.
    PlayPrompt,
    /// A play's `vars_files`.
    PlayFiles,
    /// `roles/x/vars/main.yml`.
    Role,
    /// A block's `vars`, for the tasks in it.
    Block,
    /// A task's own `vars`.
    Task,
    /// `include_vars`.
    IncludeVars,
    /// `set_fact` and `register`.
    SetFact,
    /// Parameters of a role where it is used.
    RoleParams,
    /// Parameters of an include.
    IncludeParams,
    /// `-e`: always wins.
    Extra,
}

/// A stack of variables, each set at its level. Cheap to clone: the sets are shared.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Weakest first; of equal level, the one that was pushed last is the strongest.
    stack: Vec<(Level, Arc<Vars>)>,
}

impl Layers {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same stack with one more set at its place.
    #[must_use]
    pub fn with(&self, level: Level, vars: Arc<Vars>) -> Self {
        let mut stack = self.stack.clone();
        let at = stack.partition_point(|(other, _)| *other <= level);
        stack.insert(at, (level, vars));
        Self { stack }
    }

    /// The same stack without the sets of one level.
    #[must_use]
    pub fn without(&self, level: Level) -> Self {
        Self { stack: self.stack.iter().filter(|(other, _)| *other != level).cloned().collect() }
    }

    /// The level whose variable of this name wins.
    pub fn level_of(&self, name: &str) -> Option<Level> {
        self.stack.iter().rev().find(|(_, vars)| vars.contains_key(name)).map(|(level, _)| *level)
    }
}

impl Scope for Layers {
    fn get(&self, name: &str) -> Option<Var> {
        self.stack.iter().rev().find_map(|(_, vars)| vars.get(name).cloned())
    }

    fn names(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        self.stack
            .iter()
            .flat_map(|(_, vars)| vars.keys())
            .filter(|name| seen.insert(name.as_str()))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: i32) -> Arc<Vars> {
        Arc::new(Vars::from([("x".to_owned(), Var::known(json!(value)))]))
    }

    #[test]
    fn the_strongest_level_wins_whatever_the_order() {
        let layers = Layers::new()
            .with(Level::Extra, set(3))
            .with(Level::RoleDefaults, set(1))
            .with(Level::Play, set(2));
        assert_eq!(layers.get("x"), Some(Var::known(json!(3))));
        assert_eq!(layers.level_of("x"), Some(Level::Extra));
        assert_eq!(layers.without(Level::Extra).get("x"), Some(Var::known(json!(2))));
        assert_eq!(layers.names(), ["x"]);
        assert_eq!(layers.get("y"), None);
    }

    #[test]
    fn of_one_level_the_later_wins() {
        let layers =
            Layers::new().with(Level::Task, set(1)).with(Level::Task, set(2)).with(Level::Play, set(0));
        assert_eq!(layers.get("x"), Some(Var::known(json!(2))));
    }
}
