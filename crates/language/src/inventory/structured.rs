//! YAML inventories.

use std::path::Path;

use super::graph::Graph;
use super::ini::warn_about_name;
use super::{address, range};
use crate::diag::{Diagnostic, closest};
use crate::yaml::{Kind, Mapping, Node};

/// Adds what a YAML inventory says to the graph.
pub(super) fn read(
    document: &Node,
    source: &Path,
    graph: &mut Graph,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let Kind::Map(groups) = &document.kind else {
        return Err(Diagnostic::new(format!(
            "an inventory is a mapping of groups, not {}",
            document.type_name()
        ))
        .at(&document.origin));
    };
    if let Some((key, _)) = groups.entry("plugin") {
        return Err(Diagnostic::new("this configures an inventory plugin, and plugins are not run")
            .at(&key.origin)
            .hint("write the plugin's result into a file: ansible-inventory --list --yaml"));
    }
    let mut reader = Reader { source, graph, warnings };
    groups.iter().try_for_each(|(name, group)| reader.group(name, group))
}

struct Reader<'a> {
    source: &'a Path,
    graph: &'a mut Graph,
    warnings: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn group(&mut self, key: &Node, group: &Node) -> Result<(), Diagnostic> {
        let name = key
            .as_str()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Diagnostic::new("a group's name is a text").at(&key.origin).hint("quote it"))?;
        let parts = match &group.kind {
            Kind::Null => &Mapping::default(),
            Kind::Map(parts) => parts,
            _ => {
                return Err(Diagnostic::new(format!(
                    "the group {name} is a mapping, not {}",
                    group.type_name()
                ))
                .at(&group.origin)
                .hint("a group holds hosts:, children: and vars:"));
            }
        };
        if !self.graph.groups.contains_key(name) {
            warn_about_name(name, &key.origin, self.warnings);
        }
        self.graph.add_group(name);
        for (part, content) in parts.iter() {
            let content = content_of(part, content, name)?;
            match part.as_str().unwrap_or_default() {
                "vars" => {
                    for (key, value) in content.iter() {
                        self.graph.set_group_var(name, &key.key_text(), value.clone())?;
                    }
                }
                "children" => {
                    for (key, child) in content.iter() {
                        self.group(key, child)?;
                        self.graph.add_child(name, &key.key_text(), &key.origin)?;
                    }
                }
                "hosts" => {
                    for (key, vars) in content.iter() {
                        self.host(name, key, vars)?;
                    }
                }
                other => {
                    let near = closest(other, ["hosts", "children", "vars"]);
                    self.warnings.push(
                        Diagnostic::new(format!("{:?} in the group {name} is ignored", part.key_text()))
                            .at(&part.origin)
                            .note("only hosts, children and vars are read")
                            .hint_opt(near.map(|near| format!("did you mean {near}?"))),
                    );
                }
            }
        }
        Ok(())
    }

    fn host(&mut self, group: &str, key: &Node, vars: &Node) -> Result<(), Diagnostic> {
        let name = key.as_str().ok_or_else(|| {
            Diagnostic::new(format!("a host's name is a text, not {}", key.type_name()))
                .at(&key.origin)
                .hint("quote it")
        })?;
        let vars = match &vars.kind {
            Kind::Null => &Mapping::default(),
            Kind::Map(vars) => vars,
            _ => {
                return Err(Diagnostic::new(format!(
                    "the variables of {name} are a mapping, not {}",
                    vars.type_name()
                ))
                .at(&vars.origin)
                .hint("write name: value below the host, one a line"));
            }
        };
        let (pattern, port) =
            address::parse(name).map_or_else(|| (name.to_owned(), None), |a| (a.host, a.port));
        let port = port.map(|port| Node::new(Kind::Int(port.into()), &key.origin));
        let hosts = range::expand(&pattern).map_err(|why| Diagnostic::new(why).at(&key.origin))?;
        for host in hosts {
            self.graph.add_host(&host, group, port.as_ref(), Some(self.source));
            for (key, value) in vars.iter() {
                self.graph.set_host_var(&host, &key.key_text(), value.clone());
            }
        }
        Ok(())
    }
}

/// A part of a group as a mapping; a single text stands for one entry.
fn content_of(part: &Node, content: &Node, group: &str) -> Result<Mapping, Diagnostic> {
    let known = matches!(part.as_str(), Some("vars" | "children" | "hosts"));
    match &content.kind {
        Kind::Null => Ok(Mapping::default()),
        Kind::Map(map) => Ok(map.clone()),
        Kind::Str(_) if known => Ok(vec![(content.clone(), Node::new(Kind::Null, &content.origin))].into()),
        _ if known => {
            let what = part.key_text();
            let error = Diagnostic::new(format!(
                "{what} of the group {group} is a mapping, not {}",
                content.type_name()
            ))
            .at(&content.origin);
            Err(match content.kind {
                Kind::Seq(_) => error.hint("write `name:` instead of `- name`"),
                _ => error,
            })
        }
        _ => Ok(Mapping::default()),
    }
}

#[cfg(test)]
#[path = "structured_tests.rs"]
mod tests;
