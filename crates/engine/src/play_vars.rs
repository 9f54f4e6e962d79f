//! What a play's hosts see: the layers of variables, and the magic ones.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::play::PlayRun;
use super::scope::{Context, HostScope};
use crate::diag::Diagnostic;
use crate::inventory::{Inventory, short_name};
use crate::playbook::Role;
use crate::value::{Value, plain};
use crate::vars::{Known, Layers, Level, Var, Vars, raw};

/// A role's variables by their levels.
pub(super) struct RoleVars {
    #[expect(dead_code, reason = "held so that no other role takes its place in memory")]
    role: Arc<Role>,
    pub defaults: Arc<Vars>,
    pub vars: Arc<Vars>,
    pub params: Arc<Vars>,
}

impl RoleVars {
    fn of(role: &Arc<Role>) -> Self {
        Self {
            role: Arc::clone(role),
            defaults: Arc::new(raw(&role.defaults)),
            vars: Arc::new(raw(&role.vars)),
            params: Arc::new(raw(&role.params)),
        }
    }
}

impl PlayRun {
    pub(super) const MAGIC: &'static [&'static str] = &[
        "inventory_hostname",
        "inventory_hostname_short",
        "inventory_file",
        "inventory_dir",
        "groups",
        "group_names",
        "play_hosts",
        "ansible_play_hosts",
        "ansible_play_hosts_all",
        "ansible_play_batch",
        "ansible_play_name",
        "ansible_play_role_names",
        "ansible_role_names",
        "ansible_dependent_role_names",
        "ansible_check_mode",
        "ansible_diff_mode",
        "ansible_verbosity",
        "ansible_version",
        "ansible_run_tags",
        "ansible_skip_tags",
        "ansible_limit",
        "ansible_forks",
        "ansible_facts",
        "playbook_dir",
        "quaylab_state_dir",
        "quaylab_lab",
    ];

    /// A role's variables, made into layers once.
    pub(super) fn role_vars(&self, role: &Arc<Role>) -> Arc<RoleVars> {
        let mut known = self.role_vars.lock().unwrap_or_else(PoisonError::into_inner);
        // The role is kept with them, so that its place in memory stays its own.
        let vars = known.entry(Arc::as_ptr(role).addr()).or_insert_with(|| Arc::new(RoleVars::of(role)));
        Arc::clone(vars)
    }

    /// All layers of a host but those of roles, blocks and tasks.
    pub(super) fn host_layers(&self, name: &str) -> Layers {
        let base = self.inventory_layers.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let base = base.unwrap_or_else(|| {
            // Kept while nobody can make the inventory grow: whoever does forgets what was kept before others read again.
            let inventory = self.run.inventory.read().unwrap_or_else(PoisonError::into_inner);
            let layers = self.read_inventory(&inventory, name);
            self.inventory_layers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.to_owned(), layers.clone());
            layers
        });
        let host = self.run.host(name);
        let (facts, set, included) = {
            let state = host.state();
            (Arc::clone(&state.facts), Arc::clone(&state.set), Arc::clone(&state.included))
        };
        base.with(Level::Facts, facts)
            .with(Level::PlayFiles, self.vars_files(name))
            .with(Level::IncludeVars, included)
            .with(Level::SetFact, set)
    }

    fn read_inventory(&self, inventory: &Inventory, name: &str) -> Layers {
        let with = |layers: Layers, level, vars: &Arc<Vars>| {
            if vars.is_empty() { layers } else { layers.with(level, Arc::clone(vars)) }
        };
        let mut layers = Layers::new();
        if !name.is_empty() {
            let by_strength = inventory.group_layers(name);
            for (_, vars) in &by_strength {
                layers = with(layers, Level::InventoryGroup, vars);
            }
            // What `group_vars/all` says comes first and is weaker than what any other group says.
            let level = |index: usize, all, others| if index == 0 { all } else { others };
            for (index, vars) in inventory.group_files(name).iter().enumerate() {
                layers =
                    with(layers, level(index, Level::InventoryGroupVarsAll, Level::InventoryGroupVars), vars);
            }
            layers = with(layers, Level::InventoryHost, &inventory.host_layer(name));
            layers = with(layers, Level::InventoryHostVars, &inventory.host_files(name));
            if let Some(folder) = self.play.folder.path() {
                let others = by_strength.into_iter().map(|(group, _)| group).filter(|g| g != "all");
                let groups: Vec<String> = std::iter::once("all".to_owned()).chain(others).collect();
                let beside = self.run.beside(folder);
                match beside.layers(&groups, name, &self.run.options.vault) {
                    Ok((groups, host)) => {
                        for (index, vars) in groups.iter().enumerate() {
                            layers = with(
                                layers,
                                level(index, Level::PlaybookGroupVarsAll, Level::PlaybookGroupVars),
                                vars,
                            );
                        }
                        layers = with(layers, Level::PlaybookHostVars, &host);
                    }
                    Err(e) => self.run.warn(e),
                }
            }
        }
        layers = with(layers, Level::Play, &self.own);
        layers = layers.with(Level::PlayPrompt, Arc::clone(&self.prompted));
        with(layers, Level::Extra, &self.extra)
    }

    fn vars_files(&self, name: &str) -> Arc<Vars> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Reads the play's `vars_files` for one host; of a list inside the list the first that exists is taken.
    pub(super) fn load_vars_files(self: &Arc<Self>, name: &str) -> Result<(), Diagnostic> {
        if self.play.vars_files.is_empty() {
            return Ok(());
        }
        let mut vars = Vars::new();
        for node in &self.play.vars_files {
            let scope = HostScope::new(self, name, &Context::default()).shared();
            let candidates = match self.run.templar.render(node, &scope)? {
                Some(Value::Array(names)) => names.iter().map(plain).collect(),
                Some(one) => vec![plain(&one)],
                None => continue,
            };
            let found = candidates.iter().find(|c| self.play.folder.read(c).is_some() || c.starts_with('/'));
            let file = found.ok_or_else(|| {
                Diagnostic::new(format!("none of the vars_files {} exists", candidates.join(", ")))
                    .at(&node.origin)
            })?;
            let more =
                self.run.loader.variables(&self.play.folder, file).map_err(|e| e.at_least(&node.origin))?;
            vars.extend(raw(&more));
            self.files
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.to_owned(), Arc::new(vars.clone()));
        }
        Ok(())
    }

    /// A magic variable's value.
    pub(super) fn magic(&self, host: &str, name: &str) -> Option<Known> {
        let options = &self.run.options;
        let inventory = || self.run.inventory.read().unwrap_or_else(PoisonError::into_inner);
        let active = |hosts: &Mutex<Vec<String>>| {
            let hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
            hosts.into_iter().filter(|h| self.run.host(h).active()).collect::<Vec<_>>()
        };
        Some(Known::from(match name {
            "inventory_hostname" if !host.is_empty() => json!(host),
            "inventory_hostname_short" if !host.is_empty() => json!(short_name(host)),
            "inventory_file" => json!(inventory().sources().first().map(whole)),
            "inventory_dir" => json!(inventory().source_dirs().first().map(whole)),
            "groups" => return Some(inventory().groups_value()),
            "group_names" if !host.is_empty() => json!(inventory().groups_of(host)),
            "play_hosts" | "ansible_play_hosts" => json!(active(&self.hosts)),
            "ansible_play_hosts_all" => json!(*self.hosts.lock().unwrap_or_else(PoisonError::into_inner)),
            "ansible_play_batch" => json!(active(&self.batch)),
            "ansible_play_name" => json!(self.name),
            "ansible_play_role_names" => json!(self.play.role_names),
            "ansible_role_names" => {
                let mut names = self.play.role_names.clone();
                for role in self.roles().iter().filter(|r| !self.play.role_names.contains(&r.name)) {
                    if !names.contains(&role.name) {
                        names.push(role.name.clone());
                    }
                }
                json!(names)
            }
            "ansible_dependent_role_names" => json!(self.play.dependencies),
            "ansible_check_mode" => json!(options.check),
            "ansible_diff_mode" => json!(options.diff),
            "ansible_verbosity" => json!(options.verbosity),
            "ansible_version" => {
                json!({"full": "2.19.0", "major": 2, "minor": 19, "revision": 0, "string": "2.19.0"})
            }
            "ansible_run_tags" => {
                json!(if options.tags.is_empty() { vec!["all".to_owned()] } else { options.tags.clone() })
            }
            "ansible_skip_tags" => json!(options.skip_tags),
            "ansible_limit" => json!(options.limit.clone()?),
            "ansible_forks" => json!(options.forks),
            "playbook_dir" => json!(self.play.folder.name()),
            "quaylab_state_dir" => json!(options.state_dir),
            "quaylab_lab" => json!(options.lab),
            "ansible_facts" if !host.is_empty() => {
                let facts = Arc::clone(&self.run.host(host).state().facts);
                let bare = |name: &str| name.strip_prefix("ansible_").unwrap_or(name).to_owned();
                let known = |var: &Var| match var {
                    Var::Known(value) => Value::clone(value),
                    Var::Raw(node) => node.to_value(),
                };
                Value::Object(facts.iter().map(|(name, var)| (bare(name), known(var))).collect())
            }
            _ => return None,
        }))
    }
}

/// A path that does not depend on where the program was started.
fn whole(path: impl AsRef<std::path::Path>) -> String {
    let path = path.as_ref();
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
