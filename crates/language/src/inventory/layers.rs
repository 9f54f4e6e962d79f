use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

use super::graph::{Graph, LOCALHOST};
use super::layer::Layer;
use super::{files, source};
use crate::diag::{Diagnostic, Origin};
use crate::value::Value;
use crate::vars::{Known, Var, Vars, raw, written};
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
    /// The variables of all `group_vars/all` files, the later source over the earlier one.
    beside_all: Arc<Vars>,
    groups_value: OnceLock<Known>,
}

/// The `group_vars/` and `host_vars/` of one directory.
#[derive(Debug, Clone)]
struct Beside {
    dir: PathBuf,
    groups: HashMap<String, Layer>,
    hosts: HashMap<String, Layer>,
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
        let all = beside.iter().filter_map(|beside| beside.groups.get("all")).flat_map(|layer| layer.iter());
        let beside_all = Arc::new(raw(all));
        let sources = sources.to_vec();
        Ok((Self { graph, sources, beside, beside_all, groups_value: OnceLock::new() }, warnings))
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

    /// The magic variable `groups`, made once for all who ask before the inventory grows.
    pub fn groups_value(&self) -> Known {
        let value = || {
            let groups = self.groups().into_iter().map(|(group, hosts)| (group, Value::from(hosts)));
            Known::from(Value::Object(groups.collect()))
        };
        self.groups_value.get_or_init(value).clone()
    }

    /// The variables of the host's groups as the inventory itself gives them, weakest first; `all` is the first.
    pub fn group_layers(&self, host: &str) -> Vec<(String, Arc<Vars>)> {
        let names = std::iter::once("all".to_owned()).chain(self.by_strength(host));
        names
            .map(|name| {
                let vars = self.graph.groups.get(&name).map(|group| group.vars.shared()).unwrap_or_default();
                (name, vars)
            })
            .collect()
    }

    /// What `group_vars/` beside the inventory say, weakest first; the first layer is always that of `all`.
    pub fn group_files(&self, host: &str) -> Vec<Arc<Vars>> {
        let names = self.by_strength(host);
        let groups =
            self.beside.iter().flat_map(|beside| names.iter().filter_map(|name| beside.groups.get(name)));
        std::iter::once(Arc::clone(&self.beside_all)).chain(groups.map(Layer::shared)).collect()
    }

    /// The variables on the host's own line.
    pub fn host_layer(&self, host: &str) -> Arc<Vars> {
        match self.graph.hosts.get(host) {
            Some(host) => host.vars.shared(),
            None if LOCALHOST.contains(&host) => {
                let origin = Origin::synthetic("<the implicit localhost>");
                let local = Var::Raw(Node::word("local", &origin));
                Arc::new(Vars::from([("ansible_connection".to_owned(), local)]))
            }
            None => Arc::default(),
        }
    }

    /// What `host_vars/` beside the inventory say.
    pub fn host_files(&self, host: &str) -> Arc<Vars> {
        let mut layers = self.beside.iter().filter_map(|beside| beside.hosts.get(host));
        match (layers.next(), layers.next()) {
            (None, _) => Arc::default(),
            (Some(only), None) => only.shared(),
            (Some(one), Some(two)) => {
                let all = [one, two].into_iter().chain(layers).flat_map(|layer| layer.iter());
                Arc::new(raw(all))
            }
        }
    }

    /// All of the above, weakest first.
    fn layers(&self, host: &str) -> Vec<Arc<Vars>> {
        let groups =
            self.group_layers(host).into_iter().map(|(_, layer)| layer).chain(self.group_files(host));
        groups.chain([self.host_layer(host), self.host_files(host)]).collect()
    }

    /// The layers of these hosts, those that several share once.
    pub fn layers_of<'h>(&self, hosts: impl Iterator<Item = &'h str>) -> Vec<Arc<Vars>> {
        let mut seen = HashSet::new();
        let all = hosts.flat_map(|host| self.layers(host));
        all.filter(|layer| seen.insert(Arc::as_ptr(layer))).collect()
    }

    /// All of the above, the stronger over the weaker.
    pub fn host_vars(&self, host: &str) -> VarMap {
        let mut vars = VarMap::new();
        for layer in self.layers(host) {
            vars.extend(written(&layer).map(|(name, node)| (name.clone(), node.clone())));
        }
        vars
    }

    /// One of these, the strongest.
    pub fn host_var(&self, host: &str, name: &str) -> Option<Node> {
        self.layers(host).iter().rev().find_map(|layer| match layer.get(name)? {
            Var::Raw(node) => Some(node.clone()),
            Var::Known(_) => None,
        })
    }

    /// A group's own variables: the inventory's and, over them, those beside it.
    pub(super) fn group_vars(&self, group: &str) -> VarMap {
        let own = self.graph.groups.get(group).map(|group| &group.vars);
        let beside = self.beside.iter().filter_map(|beside| beside.groups.get(group));
        let all = own.into_iter().chain(beside).flat_map(|layer| layer.iter());
        all.map(|(name, node)| (name.clone(), node.clone())).collect()
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
        self.groups_value.take();
    }

    /// Puts a group below another, which is made where it is new.
    pub fn add_parent(&mut self, parent: &str, child: &str) -> Result<(), Diagnostic> {
        self.graph.add_group(parent);
        self.graph.add_child(parent, child, &Origin::synthetic("<group_by>"))?;
        self.graph.settle();
        self.groups_value.take();
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
) -> Result<HashMap<String, Layer>, Diagnostic> {
    let mut read = HashMap::new();
    for name in files::names_in(dir) {
        match files::vars_of(dir, &name, vault, warnings) {
            Ok(vars) => {
                read.insert(name, vars.into());
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
