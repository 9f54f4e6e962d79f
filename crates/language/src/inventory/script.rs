//! Inventories that a program prints: `--list`, and `--host NAME` for each host where the list holds no `_meta`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::graph::Graph;
use crate::children;
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::value::Value;
use crate::yaml::{self, Kind, Mapping, Node};

/// Runs the program and adds what it prints to the graph.
pub(super) fn read(path: &Path, graph: &mut Graph, warnings: &mut Vec<Diagnostic>) -> Result<(), Diagnostic> {
    let list = run(path, &["--list"])?;
    let top = list.as_map().ok_or_else(|| {
        Diagnostic::new(format!("an inventory script prints a mapping of groups, not {}", list.type_name()))
            .at(&list.origin)
    })?;
    for (key, group) in top.iter().filter(|(key, _)| key.as_str() != Some("_meta")) {
        read_group(&key.key_text(), group, path, graph)?;
    }
    let meta = top.get("_meta").and_then(Node::as_map);
    let known = meta.and_then(|m| m.get("hostvars")).and_then(Node::as_map);
    let names: Vec<String> = graph.hosts.keys().cloned().collect();
    for name in names {
        let own = match known {
            Some(hosts) => hosts.get(&name).cloned(),
            None if meta.is_none() => Some(run(path, &["--host", &name])?),
            None => None,
        };
        for (key, value) in own.as_ref().and_then(Node::as_map).into_iter().flat_map(Mapping::iter) {
            graph.set_host_var(&name, &key.key_text(), value.clone());
        }
    }
    if top.is_empty() {
        warnings.push(Diagnostic::new(format!("the inventory script {} named no group", path.display())));
    }
    Ok(())
}

/// A group: a list of hosts, or a mapping with `hosts`, `children` and `vars`.
fn read_group(name: &str, group: &Node, path: &Path, graph: &mut Graph) -> Result<(), Diagnostic> {
    graph.add_group(name);
    let add = |hosts: &[Node], graph: &mut Graph| {
        for host in hosts {
            graph.add_host(&host.key_text(), name, None, Some(path));
        }
    };
    match &group.kind {
        Kind::Seq(hosts) => add(hosts, graph),
        Kind::Map(parts) if !["hosts", "vars", "children"].iter().any(|p| parts.get(p).is_some()) => {
            // The oldest form: the group's name is a host, with its variables.
            graph.add_host(name, name, None, Some(path));
            for (key, value) in parts.iter() {
                graph.set_host_var(name, &key.key_text(), value.clone());
            }
        }
        Kind::Map(parts) => {
            if let Some(hosts) = parts.get("hosts") {
                add(seq(hosts, name, "hosts")?, graph);
            }
            if let Some(vars) = parts.get("vars") {
                let vars = vars.as_map().ok_or_else(|| {
                    Diagnostic::new(format!(
                        "vars of the group {name} is a mapping, not {}",
                        vars.type_name()
                    ))
                    .at(&vars.origin)
                })?;
                for (key, value) in vars.iter() {
                    graph.set_group_var(name, &key.key_text(), value.clone())?;
                }
            }
            if let Some(children) = parts.get("children") {
                for child in seq(children, name, "children")? {
                    graph.add_group(&child.key_text());
                    graph.add_child(name, &child.key_text(), &child.origin)?;
                }
            }
        }
        _ => {
            return Err(Diagnostic::new(format!(
                "the group {name} is a list of hosts or a mapping, not {}",
                group.type_name()
            ))
            .at(&group.origin));
        }
    }
    Ok(())
}

fn seq<'a>(node: &'a Node, group: &str, what: &str) -> Result<&'a [Node], Diagnostic> {
    node.as_seq().ok_or_else(|| {
        Diagnostic::new(format!("{what} of the group {group} is a list, not {}", node.type_name()))
            .at(&node.origin)
    })
}

fn run(path: &Path, arguments: &[&str]) -> Result<Node, Diagnostic> {
    let shown = format!("{} {}", path.display(), arguments.join(" "));
    let program = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let done =
        children::output(Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()))
            .map_err(|e| Diagnostic::new(format!("the inventory script {shown} cannot be run: {e}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let mut error = Diagnostic::new(format!("the inventory script {shown} ended with {}", done.status));
        for line in said.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev() {
            error = error.note(line);
        }
        return Err(error);
    }
    let text = String::from_utf8(done.stdout)
        .map_err(|_| Diagnostic::new(format!("the inventory script {shown} printed what is not UTF-8")))?;
    let file: Arc<SourceFile> = SourceFile::new(format!("<{shown}>"), text);
    if let Err(why) = serde_json::from_str::<Value>(&file.text) {
        let place = Origin::new(&file, number(why.line()), number(why.column()), 1);
        return Err(
            Diagnostic::new(format!("the inventory script {shown} printed no JSON: {why}")).at(&place)
        );
    }
    Ok(yaml::load_one(&file)?.0)
}

fn number(n: usize) -> u32 {
    u32::try_from(n.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Inventory;

    fn load(script: &str) -> Result<Inventory, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts.sh");
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("set");
        let source = path.to_string_lossy().into_owned();
        let place = folder.path().display().to_string();
        Inventory::load(&[source]).map(|(i, _)| i).map_err(|e| e.to_string().replace(&place, ""))
    }

    #[test]
    fn what_a_script_prints_is_the_inventory() {
        let all = r#"{"web": {"hosts": ["a", "b"], "vars": {"x": 1}, "children": ["eu"]}, "eu": ["c"],
            "_meta": {"hostvars": {"a": {"y": "{{ x }}"}}}}"#;
        let inventory = load(&format!("#!/bin/sh\ncat <<'END'\n{all}\nEND\n")).expect("an inventory");
        assert_eq!(inventory.hosts().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(inventory.host_vars("a").keys().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(inventory.groups_of("c"), ["eu", "web"]);
        let each = "#!/bin/sh\nif [ \"$1\" = --list ]; then echo '{\"g\": [\"h\"]}'; else echo \"{\\\"name\\\": \\\"$2\\\"}\"; fi\n";
        let inventory = load(each).expect("an inventory");
        assert_eq!(inventory.host_vars("h").get("name").and_then(|n| n.as_str()), Some("h"));
    }

    #[test]
    fn a_script_that_fails_is_told() {
        insta::assert_snapshot!(load("#!/bin/sh\necho no token >&2\nexit 3\n").expect_err("it fails"), @r"
        the inventory script /hosts.sh --list ended with exit status: 3
          = no token
        ");
        insta::assert_snapshot!(load("#!/bin/sh\necho nonsense\n").expect_err("no JSON"), @r"
        the inventory script /hosts.sh --list printed no JSON: expected ident at line 1 column 2
         --> </hosts.sh --list>:1:2
          |
        1 | nonsense
          |  ^
        ");
    }
}
