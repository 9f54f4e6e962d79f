use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};

use super::layer::Layer;
use crate::diag::{Diagnostic, Origin};
use crate::yaml::Node;

/// The names that mean this machine.
pub(super) const LOCALHOST: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub hosts: IndexSet<String>,
    pub children: IndexSet<String>,
    pub parents: IndexSet<String>,
    pub vars: Layer,
    /// Of two groups of one depth, the higher one wins.
    pub priority: i64,
    /// The longest way from `all`.
    depth: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    pub vars: Layer,
    /// The first source that named it.
    pub source: Option<PathBuf>,
}

/// Groups and hosts in the order in which they were named.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    pub groups: IndexMap<String, Group>,
    pub hosts: IndexMap<String, Host>,
}

impl Graph {
    pub(super) fn new() -> Self {
        let mut graph = Self { groups: IndexMap::new(), hosts: IndexMap::new() };
        graph.add_group("all");
        graph.add_group("ungrouped");
        graph.link("all", "ungrouped");
        graph
    }

    pub(super) fn add_group(&mut self, name: &str) {
        self.groups.entry(name.to_owned()).or_insert_with(|| Group {
            hosts: IndexSet::new(),
            children: IndexSet::new(),
            parents: IndexSet::new(),
            vars: Layer::default(),
            priority: 1,
            depth: 0,
        });
    }

    /// Adds a host where it is new, and to the group; a port counts only for a new host.
    pub(super) fn add_host(&mut self, name: &str, group: &str, port: Option<&Node>, source: Option<&Path>) {
        if !self.hosts.contains_key(name) {
            let mut host = Host { vars: Layer::default(), source: source.map(Path::to_path_buf) };
            if let Some(port) = port {
                host.vars.insert("ansible_port".to_owned(), port.clone());
            }
            self.hosts.insert(name.to_owned(), host);
        }
        if let Some(group) = self.groups.get_mut(group) {
            group.hosts.insert(name.to_owned());
        }
    }

    /// Makes one group a child of another.
    pub(super) fn add_child(&mut self, parent: &str, child: &str, origin: &Origin) -> Result<(), Diagnostic> {
        if parent == child {
            return Err(Diagnostic::new(format!("the group {child} cannot be its own child")).at(origin));
        }
        if self.ancestors(parent).contains(child) {
            return Err(Diagnostic::new(format!("the group {child} cannot be a child of {parent}"))
                .at(origin)
                .note(format!("{parent} is already inside {child}: the groups would go round in a circle"))
                .hint("take one of the two out of the other's children"));
        }
        self.link(parent, child);
        Ok(())
    }

    fn link(&mut self, parent: &str, child: &str) {
        if let Some(group) = self.groups.get_mut(parent) {
            group.children.insert(child.to_owned());
        }
        if let Some(group) = self.groups.get_mut(child) {
            group.parents.insert(parent.to_owned());
        }
    }

    pub(super) fn set_group_var(&mut self, group: &str, name: &str, value: Node) -> Result<(), Diagnostic> {
        let Some(group) = self.groups.get_mut(group) else { return Ok(()) };
        if name == "ansible_group_priority" {
            let text = crate::value::plain(&value.to_value());
            group.priority = text.trim().parse().map_err(|_| {
                Diagnostic::new(format!("ansible_group_priority is an integer, not {text:?}"))
                    .at(&value.origin)
            })?;
        } else {
            group.vars.insert(name.to_owned(), value);
        }
        Ok(())
    }

    pub(super) fn set_host_var(&mut self, host: &str, name: &str, value: Node) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.vars.insert(name.to_owned(), value);
        }
    }

    /// All groups that a group is inside of.
    fn ancestors(&self, name: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = vec![name];
        while let Some(next) = open.pop() {
            for parent in self.groups.get(next).into_iter().flat_map(|g| &g.parents) {
                if found.insert(parent.as_str()) {
                    open.push(parent);
                }
            }
        }
        found
    }

    /// The hosts of a group and of all groups inside it, in order.
    pub(super) fn members(&self, name: &str) -> Vec<&str> {
        let mut hosts = IndexSet::new();
        let mut seen = BTreeSet::from([name]);
        let mut open = VecDeque::from([name]);
        while let Some(group) = open.pop_front().and_then(|next| self.groups.get(next)) {
            hosts.extend(group.hosts.iter().map(String::as_str));
            open.extend(group.children.iter().map(String::as_str).filter(|child| seen.insert(child)));
        }
        hosts.into_iter().collect()
    }

    /// The groups that a host is in, without `all`, weakest first.
    pub(super) fn groups_of(&self, host: &str) -> Vec<&str> {
        let mut names = BTreeSet::new();
        for (name, group) in &self.groups {
            if group.hosts.contains(host) {
                names.insert(name.as_str());
                names.extend(self.ancestors(name));
            }
        }
        names.remove("all");
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|name| self.groups.get(*name).map(|g| (g.depth, g.priority)));
        names
    }

    /// Puts every group under `all` and every host without a group under `ungrouped`, and measures the depths.
    pub(super) fn settle(&mut self) {
        let roots: Vec<String> = self
            .groups
            .iter()
            .filter(|(name, group)| name.as_str() != "all" && group.parents.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for root in roots {
            self.link("all", &root);
        }
        let alone: Vec<(String, bool)> =
            self.hosts
                .keys()
                .map(|host| {
                    let grouped = self.groups.iter().any(|(name, group)| {
                        name != "all" && name != "ungrouped" && group.hosts.contains(host)
                    });
                    (host.clone(), !grouped)
                })
                .collect();
        if let Some(ungrouped) = self.groups.get_mut("ungrouped") {
            for (host, alone) in alone {
                if alone {
                    ungrouped.hosts.insert(host);
                } else {
                    ungrouped.hosts.shift_remove(&host);
                }
            }
        }
        self.measure();
    }

    /// Longest ways from `all`: a group is measured once all its parents are.
    fn measure(&mut self) {
        let mut waiting: HashMap<String, usize> =
            self.groups.iter().map(|(name, group)| (name.clone(), group.parents.len())).collect();
        let mut ready: VecDeque<String> =
            waiting.iter().filter(|(_, parents)| **parents == 0).map(|(name, _)| name.clone()).collect();
        while let Some(name) = ready.pop_front() {
            let Some(group) = self.groups.get(&name) else { continue };
            let below = group.depth + 1;
            for child in group.children.clone() {
                if let Some(group) = self.groups.get_mut(&child) {
                    group.depth = group.depth.max(below);
                }
                if let Some(parents) = waiting.get_mut(&child) {
                    *parents -= 1;
                    if *parents == 0 {
                        ready.push_back(child);
                    }
                }
            }
        }
    }

    /// The host of this inventory that stands for this machine, whatever it is called.
    pub(super) fn localhost(&self) -> Option<&str> {
        self.hosts.keys().map(String::as_str).find(|name| LOCALHOST.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_comes_before_priority_and_name() {
        let origin = Origin::synthetic("test");
        let mut graph = Graph::new();
        for name in ["zeta", "alpha", "inner", "beta"] {
            graph.add_group(name);
            graph.add_host("h", name, None, None);
        }
        graph.add_child("zeta", "inner", &origin).unwrap();
        graph.groups["alpha"].priority = 5;
        graph.settle();
        assert_eq!(graph.groups_of("h"), ["beta", "zeta", "alpha", "inner"]);
        assert_eq!(graph.members("all"), ["h"]);
        assert!(graph.add_child("inner", "zeta", &origin).is_err());
    }
}
