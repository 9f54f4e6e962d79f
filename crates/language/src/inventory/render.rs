//! What `ansible-inventory` prints.

use std::collections::BTreeSet;

use serde_json::json;

use super::graph::Group;
use super::layers::{Inventory, VarMap};
use super::python;
use crate::value::{Map, Value};
use crate::yaml::{Kind, Node};

/// `--list`: groups, and every host's variables under `_meta`; `hosts` are those that the limit leaves.
pub fn render_list(inventory: &Inventory, hosts: &[String]) -> Value {
    let mut out = Map::new();
    let mut seen = BTreeSet::new();
    list_group(inventory, "all", hosts, &mut seen, &mut out);
    let vars: Map = hosts
        .iter()
        .map(|host| (host.clone(), render_host(inventory, host)))
        .filter(|(_, vars)| vars.as_object().is_some_and(|vars| !vars.is_empty()))
        .collect();
    out.insert("_meta".to_owned(), json!({"hostvars": vars, "profile": "inventory_legacy"}));
    sorted(Value::Object(out))
}

fn list_group<'a>(
    inventory: &'a Inventory,
    name: &'a str,
    hosts: &[String],
    seen: &mut BTreeSet<&'a str>,
    out: &mut Map,
) {
    let Some(group) = inventory.graph.groups.get(name) else { return };
    let mut entry = Map::new();
    let members = shown(name, group, hosts);
    if !members.is_empty() {
        entry.insert("hosts".to_owned(), json!(members));
    }
    if !group.children.is_empty() {
        entry.insert("children".to_owned(), json!(group.children));
    }
    for child in &group.children {
        if seen.insert(child) {
            list_group(inventory, child, hosts, seen, out);
        }
    }
    if !entry.is_empty() {
        out.insert(name.to_owned(), Value::Object(entry));
    }
}

/// The hosts to show in a group; those of `all` itself stand in `ungrouped`.
fn shown<'a>(name: &str, group: &'a Group, hosts: &[String]) -> Vec<&'a String> {
    group.hosts.iter().filter(|host| name != "all" && hosts.contains(host)).collect()
}

/// `--host`: one host's variables.
pub fn render_host(inventory: &Inventory, host: &str) -> Value {
    sorted(vars_value(&inventory.host_vars(host)))
}

/// `--list --yaml`: groups inside groups, each host's variables where it is named first.
pub fn render_yaml(inventory: &Inventory, hosts: &[String]) -> Value {
    let (mut groups, mut named) = (BTreeSet::new(), BTreeSet::new());
    let all = yaml_group(inventory, "all", hosts, &mut groups, &mut named);
    sorted(all.map_or_else(|| json!({}), |all| json!({ "all": all })))
}

fn yaml_group<'a>(
    inventory: &'a Inventory,
    name: &'a str,
    hosts: &[String],
    groups: &mut BTreeSet<&'a str>,
    named: &mut BTreeSet<&'a str>,
) -> Option<Value> {
    let group = inventory.graph.groups.get(name)?;
    let mut children = Map::new();
    for child in &group.children {
        if groups.contains(child.as_str()) {
            children.insert(child.clone(), json!({}));
            continue;
        }
        if let Some(content) = yaml_group(inventory, child, hosts, groups, named) {
            children.insert(child.clone(), content);
        }
        groups.insert(child);
    }
    let mut members = Map::new();
    for host in shown(name, group, hosts) {
        let vars = if named.insert(host) { render_host(inventory, host) } else { json!({}) };
        members.insert(host.clone(), vars);
    }
    let mut entry = Map::new();
    if !children.is_empty() {
        entry.insert("children".to_owned(), Value::Object(children));
    }
    if !members.is_empty() {
        entry.insert("hosts".to_owned(), Value::Object(members));
    }
    (!entry.is_empty()).then_some(Value::Object(entry))
}

/// `--graph`: the tree below a group; `None` if there is no such group.
pub fn render_graph(inventory: &Inventory, group: &str, vars: bool) -> Option<String> {
    inventory.graph.groups.get(group)?;
    let mut lines = Vec::new();
    graph_group(inventory, group, 0, vars, &mut lines);
    Some(lines.join("\n"))
}

fn graph_group(inventory: &Inventory, name: &str, depth: usize, vars: bool, lines: &mut Vec<String>) {
    let Some(group) = inventory.graph.groups.get(name) else { return };
    lines.push(branch(&format!("@{name}:"), depth));
    for child in &group.children {
        graph_group(inventory, child, depth + 1, vars, lines);
    }
    if name != "all" {
        for host in &group.hosts {
            lines.push(branch(host, depth + 1));
            if vars {
                graph_vars(&plain_vars(&inventory.host_vars(host)), depth + 2, lines);
            }
        }
    }
    if vars {
        let mut own = plain_vars(&inventory.group_vars(name));
        if group.priority != 1 {
            own.insert("ansible_group_priority".to_owned(), json!(group.priority));
        }
        graph_vars(&own, depth + 1, lines);
    }
}

fn graph_vars(vars: &Map, depth: usize, lines: &mut Vec<String>) {
    let mut pairs: Vec<_> = vars.iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    lines.extend(
        pairs.into_iter().map(|(name, value)| branch(&format!("{{{name} = {}}}", python::str(value)), depth)),
    );
}

/// Variables as they are printed in a tree, without marks.
fn plain_vars(vars: &VarMap) -> Map {
    vars.iter().map(|(name, node)| (name.clone(), node.to_value())).collect()
}

fn branch(text: &str, depth: usize) -> String {
    if depth == 0 { text.to_owned() } else { format!("{}--{text}", "  |".repeat(depth)) }
}

fn vars_value(vars: &VarMap) -> Value {
    Value::Object(vars.iter().map(|(name, node)| (name.clone(), marked(node))).collect())
}

/// A node as JSON, with Ansible's marks around unsafe and encrypted texts.
fn marked(node: &Node) -> Value {
    match &node.kind {
        Kind::Unsafe(text) => json!({"__ansible_unsafe": text}),
        Kind::Vault(text) => json!({"__ansible_vault": text}),
        Kind::Seq(items) => Value::Array(items.iter().map(marked).collect()),
        Kind::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.key_text(), marked(value))).collect())
        }
        _ => node.to_value(),
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// JSON as Python's `json.dumps(value, indent=4)` writes it.
pub fn json_text(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, 0, &mut out);
    out
}

fn write_json(value: &Value, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"    ".repeat(depth));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "[" } else { "," });
                line(out, depth + 1);
                write_json(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, item)) in map.iter().enumerate() {
                out.push_str(if at == 0 { "{" } else { "," });
                line(out, depth + 1);
                write_text(key, out);
                out.push_str(": ");
                write_json(item, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        Value::String(text) => write_text(text, out),
        Value::Number(number) if number.is_f64() => {
            out.push_str(&python::float(number.as_f64().unwrap_or_default()));
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' => out.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => out.push(c),
        }
    }
    out.push('"');
}
