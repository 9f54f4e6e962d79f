use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::graph::{Graph, LOCALHOST};
use super::{files, source};
use crate::diag::{Diagnostic, Origin};
use crate::vault::Vault;
use crate::yaml::Node;

/// Variables by name, in the order in which they were written.
pub type VarMap = IndexMap<String, Node>;

/// Hosts, groups and their variables.
#[derive(Debug, Clone)]
pub struct Inventory {
    pub(super) graph: Graph,
    sources: Vec<String>,
    /// What lies beside each source.
    beside: Vec<Beside>,
}

/// The `group_vars/` and `host_vars/` of one directory.
#[derive(Debug, Clone)]
struct Beside {
    dir: PathBuf,
    groups: HashMap<String, VarMap>,
    hosts: HashMap<String, VarMap>,
}

impl Inventory {
    /// Reads all sources, each a path or a list of hosts with a comma in it; later ones win.
    pub fn load(sources: &[String]) -> Result<(Self, Vec<Diagnostic>), Diagnostic> {
        Self::load_with(sources, &Vault::default())
    }

    /// The same, with passwords for what is encrypted among the files.
    pub fn load_with(sources: &[String], vault: &Vault) -> Result<(Self, Vec<Diagnostic>), Diagnostic> {
        let mut graph = Graph::new();
        let mut warnings = Vec::new();
        for source in sources.iter().filter(|source| !source.is_empty()) {
            source::read(source, vault, &mut graph, &mut warnings)?;
        }
        graph.settle();
        for name in graph.groups.keys().filter(|name| graph.hosts.contains_key(*name)) {
            warnings.push(Diagnostic::new(format!("{name} is both a group and a host")));
        }
        let mut beside = Vec::new();
        for dir in sources.iter().filter_map(|source| source::directory_of(source)) {
            beside.push(Beside::read(dir, &graph, vault, &mut warnings)?);
        }
        Ok((Self { graph, sources: sources.to_vec(), beside }, warnings))
    }

    /// All hosts, in the order in which a play on `all` takes them.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.graph.members("all").into_iter()
    }

    /// Whether the inventory names this host; an implicit localhost does not count.
    pub fn has_host(&self, name: &str) -> bool {
        self.graph.hosts.contains_key(name)
    }

    /// Every group with its hosts and those of the groups inside it: the magic variable `groups`.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let members = |name: &str| self.graph.members(name).into_iter().map(str::to_owned).collect();
        self.graph.groups.keys().map(|name| (name.clone(), members(name))).collect()
    }

    /// The groups of a host, sorted, without `all`: the magic variable `group_names`.
    pub fn groups_of(&self, host: &str) -> Vec<String> {
        let mut names = self.by_strength(host);
        names.sort();
        names
    }

    /// The variables of the host's groups as the inventory itself gives them, weakest first; `all` is the first.
    pub fn group_layers(&self, host: &str) -> Vec<(String, VarMap)> {
        let names = std::iter::once("all".to_owned()).chain(self.by_strength(host));
        names
            .map(|name| {
                let vars = self.graph.groups.get(&name).map(|group| group.vars.clone()).unwrap_or_default();
                (name, vars)
            })
            .collect()
    }

    /// What `group_vars/` beside the inventory say, weakest first; the first layer is always that of `all`.
    pub fn group_files(&self, host: &str) -> Vec<VarMap> {
        let mut all = VarMap::new();
        for beside in &self.beside {
            all.extend(beside.groups.get("all").cloned().unwrap_or_default());
        }
        let names = self.by_strength(host);
        let groups =
            self.beside.iter().flat_map(|beside| names.iter().filter_map(|name| beside.groups.get(name)));
        std::iter::once(all).chain(groups.cloned()).collect()
    }

    /// The variables on the host's own line.
    pub fn host_layer(&self, host: &str) -> VarMap {
        match self.graph.hosts.get(host) {
            Some(host) => host.vars.clone(),
            None if LOCALHOST.contains(&host) => {
                let origin = Origin::synthetic("<the implicit localhost>");
                VarMap::from([("ansible_connection".to_owned(), Node::str("local", &origin))])
            }
            None => VarMap::new(),
        }
    }

    /// What `host_vars/` beside the inventory say.
    pub fn host_files(&self, host: &str) -> VarMap {
        let layers = self.beside.iter().filter_map(|beside| beside.hosts.get(host));
        layers.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// All of the above, the stronger over the weaker.
    pub fn host_vars(&self, host: &str) -> VarMap {
        let mut vars = VarMap::new();
        vars.extend(self.group_layers(host).into_iter().flat_map(|(_, layer)| layer));
        vars.extend(self.group_files(host).into_iter().flatten());
        vars.extend(self.host_layer(host));
        vars.extend(self.host_files(host));
        vars
    }

    /// A group's own variables: the inventory's and, over them, those beside it.
    pub(super) fn group_vars(&self, group: &str) -> VarMap {
        let mut vars = self.graph.groups.get(group).map(|group| group.vars.clone()).unwrap_or_default();
        for beside in &self.beside {
            vars.extend(beside.groups.get(group).cloned().unwrap_or_default());
        }
        vars
    }

    /// The directories beside which `group_vars/` and `host_vars/` are looked for.
    pub fn source_dirs(&self) -> Vec<PathBuf> {
        self.beside.iter().map(|beside| beside.dir.clone()).collect()
    }

    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The first file that named a host: the magic variable `inventory_file`.
    pub fn file_of(&self, host: &str) -> Option<&Path> {
        self.graph.hosts.get(host)?.source.as_deref()
    }

    /// Adds a host at run time, or more groups and variables to a known one.
    pub fn add_host(&mut self, name: &str, groups: &[String], vars: VarMap) {
        self.graph.add_host(name, "all", None, None);
        for group in groups {
            self.graph.add_group(group);
            self.graph.add_host(name, group, None, None);
        }
        for (key, value) in vars {
            self.graph.set_host_var(name, &key, value);
        }
        self.graph.settle();
    }

    /// Puts a group below another, which is made where it is new.
    pub fn add_parent(&mut self, parent: &str, child: &str) -> Result<(), Diagnostic> {
        self.graph.add_group(parent);
        self.graph.add_child(parent, child, &Origin::synthetic("<group_by>"))?;
        self.graph.settle();
        Ok(())
    }

    fn by_strength(&self, host: &str) -> Vec<String> {
        self.graph.groups_of(host).into_iter().map(str::to_owned).collect()
    }
}

impl Beside {
    fn read(
        dir: PathBuf,
        graph: &Graph,
        vault: &Vault,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let groups =
            read_all(&dir.join("group_vars"), |name| graph.groups.contains_key(name), vault, warnings)?;
        let hosts = read_all(&dir.join("host_vars"), |name| graph.hosts.contains_key(name), vault, warnings)?;
        Ok(Self { dir, groups, hosts })
    }
}

/// Reads the files of every name, since hosts and groups may still be added while plays run.
fn read_all(
    dir: &Path,
    known: impl Fn(&str) -> bool,
    vault: &Vault,
    warnings: &mut Vec<Diagnostic>,
) -> Result<HashMap<String, VarMap>, Diagnostic> {
    let mut read = HashMap::new();
    for name in files::names_in(dir) {
        match files::vars_of(dir, &name, vault, warnings) {
            Ok(vars) => {
                read.insert(name, vars);
            }
            Err(error) if known(&name) => return Err(error),
            // Nobody is called like that: a README, or what only looks like variables.
            Err(_) => {}
        }
    }
    Ok(read)
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
