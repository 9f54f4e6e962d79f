use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;

use crate::diag::{Diagnostic, Origin};
use crate::inventory::{Inventory, VarMap, short_name};
use crate::lab::Declarations;
use crate::playbook::Playbook;
use crate::template::{Templar, TemplarOptions};
use crate::value::Value;
use crate::vars::{Layers, Level, Scope, Var};

/// A host's variables before a run: the inventory's over the roles' defaults, templates rendered.
#[derive(Debug)]
pub(in crate::cli) struct HostVars {
    templar: Templar,
    scope: Arc<dyn Scope>,
}

impl HostVars {
    /// The host's variables, with the defaults of the roles that a playbook uses.
    pub(in crate::cli) fn new(inventory: &Inventory, playbook: &Playbook, host: &str) -> Self {
        Self::with_extra(inventory, playbook, host, &VarMap::new())
    }

    /// The same, under what was given with -e.
    pub(in crate::cli) fn with_extra(
        inventory: &Inventory,
        playbook: &Playbook,
        host: &str,
        extra: &VarMap,
    ) -> Self {
        let raw = |vars: &IndexMap<String, crate::yaml::Node>| {
            Arc::new(vars.iter().map(|(k, v)| (k.clone(), Var::Raw(v.clone()))).collect::<IndexMap<_, _>>())
        };
        let groups: serde_json::Map<String, Value> =
            inventory.groups().into_iter().map(|(group, hosts)| (group, json!(hosts))).collect();
        let short = short_name(host);
        let known = |value: Value| Var::known(value);
        let magic = IndexMap::from([
            ("inventory_hostname".to_owned(), known(json!(host))),
            ("inventory_hostname_short".to_owned(), known(json!(short))),
            ("group_names".to_owned(), known(json!(inventory.groups_of(host)))),
            ("groups".to_owned(), known(Value::Object(groups))),
        ]);
        let extra = extra.iter().map(|(name, node)| (name.clone(), Var::Raw(node.clone())));
        let most = extra.chain(magic).collect::<IndexMap<_, _>>();
        let mut layers = Layers::new().with(Level::Extra, Arc::new(most));
        for role in playbook.plays.iter().flat_map(|play| &play.roles) {
            layers = layers.with(Level::RoleDefaults, raw(&role.defaults));
        }
        layers = layers.with(Level::InventoryHost, raw(&inventory.host_vars(host)));
        let working_dir = playbook.working_dir();
        let templar = Templar::new(TemplarOptions { working_dir, ..TemplarOptions::default() });
        Self { templar, scope: Arc::new(layers) }
    }

    /// A variable's value; `None` where it is not set or left out.
    pub(in crate::cli) fn get(&self, name: &str) -> Result<Option<Value>, Diagnostic> {
        let value = self.templar.lookup(name, &self.scope)?;
        Ok(value.filter(|v| !v.is_null()))
    }

    /// A variable's value where it can be told before the run.
    pub(in crate::cli) fn known(&self, name: &str) -> Option<Value> {
        self.get(name).ok().flatten()
    }

    /// Where a variable was written, or what lies in it: `resources.disks[0].pool`.
    pub(in crate::cli) fn origin(&self, path: &str) -> Option<Origin> {
        let mut words = path.split(['.', '[']).map(|word| word.trim_end_matches(']'));
        let Var::Raw(mut node) = self.scope.get(words.next()?)? else { return None };
        for word in words {
            let within = match (node.as_map(), node.as_seq()) {
                (Some(map), _) => map.get(word),
                (_, Some(items)) => word.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
            // As near as it is known.
            let Some(within) = within.cloned() else { break };
            node = within;
        }
        Some(node.origin)
    }

    pub(in crate::cli) fn text(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        Ok(self.get(name)?.map(|v| crate::value::plain(&v)))
    }
}

impl Declarations for HostVars {
    fn get(&self, name: &str) -> Result<Option<Value>, Diagnostic> {
        Self::get(self, name)
    }

    fn origin(&self, path: &str) -> Option<Origin> {
        Self::origin(self, path)
    }
}
