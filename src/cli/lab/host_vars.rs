use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;

use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::playbook::Playbook;
use crate::template::{OMIT, Templar, TemplarOptions};
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
        let raw = |vars: &IndexMap<String, crate::yaml::Node>| {
            Arc::new(vars.iter().map(|(k, v)| (k.clone(), Var::Raw(v.clone()))).collect::<IndexMap<_, _>>())
        };
        let groups: serde_json::Map<String, Value> =
            inventory.groups().into_iter().map(|(group, hosts)| (group, json!(hosts))).collect();
        let short = super::names::short(host);
        let known = |value: Value| Var::Known(value);
        let magic = IndexMap::from([
            ("inventory_hostname".to_owned(), known(json!(host))),
            ("inventory_hostname_short".to_owned(), known(json!(short))),
            ("group_names".to_owned(), known(json!(inventory.groups_of(host)))),
            ("groups".to_owned(), known(Value::Object(groups))),
        ]);
        let mut layers = Layers::new().with(Level::Extra, Arc::new(magic));
        for role in playbook.plays.iter().flat_map(|play| &play.roles) {
            layers = layers.with(Level::RoleDefaults, raw(&role.defaults));
        }
        layers = layers.with(Level::InventoryHost, raw(&inventory.host_vars(host)));
        let working_dir = std::env::current_dir().unwrap_or_default();
        let templar = Templar::new(TemplarOptions { working_dir, ..TemplarOptions::default() });
        Self { templar, scope: Arc::new(layers) }
    }

    /// A variable's value; `None` where it is not set or left out.
    pub(in crate::cli) fn get(&self, name: &str) -> Result<Option<Value>, Diagnostic> {
        let value = self.templar.lookup(name, &self.scope)?;
        Ok(value.filter(|v| !v.is_null() && v.as_str() != Some(OMIT)))
    }

    pub(in crate::cli) fn text(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        Ok(self.get(name)?.map(|v| crate::value::plain(&v)))
    }
}
