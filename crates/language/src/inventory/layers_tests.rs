use std::fs;

use serde_json::json;

use super::*;
use crate::inventory::VarsBeside;
use crate::vault::Vault;

fn load(sources: &[&str]) -> Inventory {
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    Inventory::load(&sources).map_or_else(|error| panic!("{error}"), |(inventory, _)| inventory)
}

fn value(vars: &Arc<Vars>) -> serde_json::Value {
    written(vars).map(|(name, node)| (name.clone(), node.to_value())).collect::<crate::value::Map>().into()
}

#[test]
fn hosts_are_added_at_run_time() {
    let mut inventory = load(&["one,two"]);
    let origin = Origin::synthetic("add_host");
    let vars = VarMap::from([("color".to_owned(), Node::str("red", &origin))]);
    inventory.add_host("three", &["new".to_owned()], vars);
    inventory.add_host("one", &["new".to_owned()], VarMap::new());
    assert_eq!(inventory.hosts().collect::<Vec<_>>(), ["three", "one", "two"]);
    assert_eq!(inventory.groups_of("one"), ["new"]);
    assert_eq!(inventory.groups_of("two"), ["ungrouped"]);
    assert_eq!(value(&inventory.host_layer("three")), json!({"color": "red"}));
    assert_eq!(inventory.select("new").unwrap().0, ["three", "one"]);
}

#[test]
fn localhost_is_there_without_being_named() {
    let inventory = load(&["one,"]);
    assert!(!inventory.has_host("localhost"));
    assert_eq!(inventory.select("localhost").unwrap().0, ["localhost"]);
    assert_eq!(inventory.select("all").unwrap().0, ["one"]);
    assert_eq!(value(&inventory.host_layer("localhost")), json!({"ansible_connection": "local"}));
    // Another name of this machine stands for it.
    assert_eq!(load(&["127.0.0.1,"]).select("localhost").unwrap().0, ["127.0.0.1"]);
}

#[test]
fn files_beside_are_layers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (path, text) in [
        ("hosts", "[inner]\nh\n[outer:children]\ninner\n"),
        ("group_vars/all.yml", "a: all\n"),
        ("group_vars/outer.yml", "a: outer\n"),
        ("group_vars/inner/x.yml", "a: inner\n"),
        ("group_vars/inner/y.yml", "b: inner\n"),
        ("group_vars/later.yml", "c: later\n"),
        ("group_vars/README.md", "Not: a: mapping\n"),
        ("host_vars/h.json", "{\"a\": \"host\"}"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut inventory = load(&[root.join("hosts").to_str().unwrap()]);
    let layers: Vec<_> = inventory.group_files("h").iter().map(value).collect();
    assert_eq!(layers, [json!({"a": "all"}), json!({"a": "outer"}), json!({"a": "inner", "b": "inner"})]);
    assert_eq!(value(&inventory.host_files("h")), json!({"a": "host"}));
    assert_eq!(inventory.source_dirs(), [root]);
    inventory.add_host("h", &["later".to_owned()], VarMap::new());
    assert!(inventory.group_files("h").iter().map(value).any(|layer| layer == json!({"c": "later"})));

    let beside = VarsBeside::new(root);
    let (groups, host) =
        beside.layers(&["all".to_owned(), "missing".to_owned()], "h", &Vault::default()).unwrap();
    assert_eq!(groups.iter().map(value).collect::<Vec<_>>(), [json!({"a": "all"}), json!({})]);
    assert_eq!(value(&host), json!({"a": "host"}));

    let sources = [root.join("hosts").to_str().unwrap().to_owned()];
    fs::write(root.join("group_vars/outer.yml"), "a: 1\na: 2\n").unwrap();
    assert_eq!(Inventory::load(&sources).unwrap().1[0].message, "the key a is written twice");
    fs::write(root.join("group_vars/outer.yml"), "- a\n").unwrap();
    assert!(
        Inventory::load(&sources).unwrap_err().to_string().starts_with("variables are a mapping, not a list")
    );
}

#[test]
fn what_several_hosts_see_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::write(root.join("hosts"), "[web]\na\nb\nc\n[web:vars]\nx=1\n").unwrap();
    fs::create_dir(root.join("group_vars")).unwrap();
    fs::write(root.join("group_vars/all.yml"), "big: [1, 2]\n").unwrap();
    let mut inventory = load(&[root.join("hosts").to_str().unwrap()]);
    let same = |one: &[Arc<Vars>], two: &[Arc<Vars>]| {
        one.len() == two.len() && one.iter().zip(two).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    let groups = |inventory: &Inventory, host: &str| {
        let layers = inventory.group_layers(host).into_iter().map(|(_, layer)| layer);
        layers.chain(inventory.group_files(host)).collect::<Vec<_>>()
    };
    assert!(same(&groups(&inventory, "a"), &groups(&inventory, "b")));
    assert!(same(&[inventory.host_layer("a")], &[inventory.host_layer("a")]));
    // Of three hosts there are the shared layers and one of each host's own, and files that nobody has are one.
    let shared = groups(&inventory, "a").len();
    assert!(inventory.layers_of(["a", "b", "c"].into_iter()).len() <= shared + 2 * 3);
    let beside = VarsBeside::new(root);
    let read = || beside.layers(&["all".to_owned()], "a", &Vault::default()).unwrap().0;
    assert!(same(&read(), &read()));
    // `groups` is made anew when the inventory has grown, and only then.
    let before = inventory.groups_value();
    assert_eq!(before, inventory.groups_value());
    inventory.add_host("d", &["web".to_owned()], VarMap::new());
    assert_eq!(inventory.groups_value()["web"], json!(["a", "b", "c", "d"]));
    inventory.add_parent("above", "web").unwrap();
    assert_eq!(inventory.groups_value()["above"], json!(["a", "b", "c", "d"]));
    assert_eq!(before["web"], json!(["a", "b", "c"]));
}

#[test]
fn what_is_no_inventory_is_said() {
    let error = |source: &str| Inventory::load(&[source.to_owned()]).unwrap_err().to_string();
    insta::assert_snapshot!(error("quay"), @r"
    there is no inventory quay
      hint: check the path, or for a host of that name write a comma after it: -i quay,
    ");
    insta::assert_snapshot!(error("nowhere/quay.inv"), @r"
    there is no inventory nowhere/quay.inv
      hint: check the path
    ");
    let warnings = load(&["one,"]).select("two:one").unwrap().1;
    insta::assert_snapshot!(warnings[0], @r"
    Could not match supplied host pattern, ignoring: two
    ");
    insta::assert_snapshot!(load(&["one,"]).select("all[3]").unwrap_err(), @r#"
    no host has the position that "all[3]" asks for
      = all has 1 hosts, and the first one is [0]
    "#);
}
