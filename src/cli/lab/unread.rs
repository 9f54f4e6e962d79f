//! Variables under quaylab's own names that nothing reads: a slip that would go unnoticed.

use std::collections::{BTreeSet, HashSet};

use crate::diag::{Diagnostic, closest};
use crate::inventory::{Inventory, VarMap};
use crate::playbook::Playbook;
use crate::yaml::Node;

/// How the names begin that are quaylab's own.
const OWN: [&str; 3] = ["vm_", "libvirt_", "quaylab_"];

/// Those that no role describes.
const BESIDE_ROLES: [&str; 6] = [
    "libvirt_private",
    "quaylab_allow_restart",
    "quaylab_lab",
    "quaylab_replace",
    "quaylab_ssh_host_key",
    "quaylab_ssh_via",
];

/// How those begin that `bundle load` writes.
const OF_BUNDLES: &str = "quaylab_bundle";

/// What is set for these hosts, or was given over all of it, and is read by nothing.
pub(super) fn unread<'h>(
    inventory: &Inventory,
    playbook: &Playbook,
    extra: &VarMap,
    hosts: impl Iterator<Item = &'h String>,
) -> Vec<Diagnostic> {
    let mut known: BTreeSet<&str> = BESIDE_ROLES.into();
    let mut read = HashSet::new();
    for role in playbook.plays.iter().flat_map(|play| &play.roles) {
        known.extend(role.defaults.keys().map(String::as_str));
        known.extend(role.spec.iter().flat_map(crate::playbook::ArgumentSpec::names));
        read.extend(role.defaults.values().chain(role.vars.values()).flat_map(names_in));
    }
    let layers = inventory.layers_of(hosts.map(String::as_str));
    let nodes = layers.iter().flat_map(|layer| crate::vars::written(layer));
    let mut written: Vec<(String, Node)> = nodes.map(|(name, node)| (name.clone(), node.clone())).collect();
    written.extend(extra.iter().map(|(name, node)| (name.clone(), node.clone())));
    // What another value is made of is read.
    read.extend(written.iter().flat_map(|(_, node)| names_in(node)));
    let own = |name: &str| OWN.iter().any(|begin| name.starts_with(begin)) && !name.starts_with(OF_BUNDLES);
    let mut told = HashSet::new();
    written.retain(|(name, _)| own(name) && !known.contains(name.as_str()) && !read.contains(name));
    written.retain(|(name, _)| told.insert(name.clone()));
    let tell = |(name, node): (String, Node)| {
        let near = closest(&name, known.iter().copied().filter(|known| own(known)));
        let all = "take it out; what there is stands in the README's table and in the roles' defaults";
        let hint = near.map_or_else(|| all.to_owned(), |near| format!("did you mean {near}?"));
        Diagnostic::new(format!("{name} is set, but nothing in quaylab reads it")).at(&node.origin).hint(hint)
    };
    written.into_iter().map(tell).collect()
}

/// The names that a value may be made of.
fn names_in(node: &Node) -> Vec<String> {
    let text = node.to_value().to_string();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.contains('_')).map(str::to_owned).collect()
}
