//! Ansible's INI inventories.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::graph::Graph;
use super::piece::Piece;
use super::{address, literal, range, words};
use crate::diag::{Diagnostic, Origin, SourceFile, closest};
use crate::yaml::{Kind, Node};

const SECTIONS: &str = "a section is [group], [group:children] or [group:vars]";

/// Adds what an INI inventory says to the graph.
pub(super) fn read(
    file: &Arc<SourceFile>,
    source: &Path,
    graph: &mut Graph,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let mut reader = Reader {
        source,
        graph,
        warnings,
        group: "ungrouped".to_owned(),
        section: Section::Hosts,
        pending: IndexMap::new(),
    };
    for (number, text) in (1..).zip(file.text.lines()) {
        let line = Piece::line(file, number, text.strip_prefix('\u{feff}').unwrap_or(text));
        reader.line(&line)?;
    }
    reader.finish()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Hosts,
    Children,
    Vars,
}

/// What is said about a group before it is declared.
enum Pending {
    Vars(Origin),
    /// The groups that want it as a child, each with the place where it says so.
    Child(Vec<(String, Origin)>),
}

struct Reader<'a> {
    source: &'a Path,
    graph: &'a mut Graph,
    warnings: &'a mut Vec<Diagnostic>,
    group: String,
    section: Section,
    pending: IndexMap<String, Pending>,
}

impl Reader<'_> {
    fn line(&mut self, line: &Piece) -> Result<(), Diagnostic> {
        match line.chars.first() {
            None | Some(('#' | ';', _)) => return Ok(()),
            Some(('[', _)) => {
                if let Some((group, state)) = header(&line.text()) {
                    return self.open(line, &group, state.as_deref());
                }
                if !line.text().contains(']') {
                    return Err(Diagnostic::new("the section header has no closing bracket")
                        .at(&line.origin())
                        .hint(SECTIONS));
                }
                if without_comment(&line.text()).ends_with(']') {
                    return Err(Diagnostic::new("this is no section header")
                        .at(&line.origin())
                        .note("a group's name holds no blanks, colons or brackets")
                        .hint(SECTIONS));
                }
            }
            Some(_) => {}
        }
        match self.section {
            Section::Hosts => self.hosts(line),
            Section::Vars => self.variable(line),
            Section::Children => self.child(line),
        }
    }

    fn open(&mut self, line: &Piece, group: &str, state: Option<&str>) -> Result<(), Diagnostic> {
        let section = match state {
            None | Some("hosts") => Section::Hosts,
            Some("children") => Section::Children,
            Some("vars") => Section::Vars,
            Some(other) => {
                let start = group.chars().count() + 2;
                let near = closest(other, ["hosts", "children", "vars"]);
                return Err(Diagnostic::new(format!("unknown kind of section: {other}"))
                    .at(&line.origin_of(start, start + other.chars().count()))
                    .hint(
                        near.map_or_else(|| SECTIONS.to_owned(), |n| format!("did you mean [{group}:{n}]?")),
                    ));
            }
        };
        let name = line.origin_of(1, 1 + group.chars().count());
        if !self.graph.groups.contains_key(group) {
            warn_about_name(group, &name, self.warnings);
            if section == Section::Vars && !self.pending.contains_key(group) {
                self.pending.insert(group.to_owned(), Pending::Vars(name.clone()));
            }
            self.graph.add_group(group);
        }
        if section != Section::Vars {
            self.declare(group)?;
        }
        group.clone_into(&mut self.group);
        self.section = section;
        Ok(())
    }

    /// Does what waited for this group.
    fn declare(&mut self, group: &str) -> Result<(), Diagnostic> {
        let Some(Pending::Child(parents)) = self.pending.shift_remove(group) else { return Ok(()) };
        for (parent, origin) in parents {
            self.graph.add_child(&parent, group, &origin)?;
        }
        Ok(())
    }

    fn hosts(&mut self, line: &Piece) -> Result<(), Diagnostic> {
        let mut words = words::split(line)?.into_iter();
        let Some(first) = words.next() else { return Ok(()) };
        let (hosts, port) = self.names(&first)?;
        let mut vars = Vec::new();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(not_a_variable(line, &word));
            };
            self.warn_about_variable(&name);
            vars.push((name.text(), literal::value(&value)));
        }
        for host in hosts {
            self.graph.add_host(&host, &self.group, port.as_ref(), Some(self.source));
            for (name, value) in &vars {
                self.graph.set_host_var(&host, name, value.clone());
            }
        }
        Ok(())
    }

    /// The hosts that the first word of a line names, with their port.
    fn names(&mut self, word: &Piece) -> Result<(Vec<String>, Option<Node>), Diagnostic> {
        let text = word.text();
        let origin = word.origin();
        let address = address::parse(&text);
        let (pattern, port) = match address {
            Some(address) => (address.host, address.port),
            None => (text.clone(), None),
        };
        if text.trim().ends_with(':') && port.is_none() && !text.contains('[') {
            return Err(Diagnostic::new("a port is missing after the colon")
                .at(&origin)
                .note("a name that ends with a colon is a YAML inventory's")
                .hint("write host:22, or give the file the ending .yml"));
        }
        if text.trim() == "---" {
            return Err(Diagnostic::new("this looks like YAML in an INI inventory")
                .at(&origin)
                .hint("give the file the ending .yml"));
        }
        if text.is_empty() {
            return Err(Diagnostic::new("a host's name is empty").at(&origin));
        }
        let hosts = range::expand(&pattern).map_err(|why| {
            let hint = if text.starts_with('[') { SECTIONS } else { "a range is [01:50], [a:f] or [1:9:2]" };
            Diagnostic::new(why).at(&origin).hint(hint)
        })?;
        if hosts.is_empty() {
            self.warnings.push(
                Diagnostic::new("the range counts down and stands for no host")
                    .at(&origin)
                    .hint("put the smaller number first"),
            );
        }
        if text.contains('=') {
            self.warnings.push(
                Diagnostic::new(format!("a host called {text:?}"))
                    .at(&origin)
                    .hint(format!("if this is a variable, put it under [{}:vars]", self.group)),
            );
        }
        let port = port.map(|port| Node::new(Kind::Int(port.into()), &origin));
        Ok((hosts, port))
    }

    fn variable(&mut self, line: &Piece) -> Result<(), Diagnostic> {
        let Some((name, value)) = line.split_once('=') else {
            return Err(Diagnostic::new("a variable needs a value: name=value")
                .at(&line.origin())
                .note(format!("this line is in [{}:vars]", self.group))
                .hint(match line.split_once(':') {
                    Some((name, value)) => {
                        format!("write {}={}", name.trim().text(), value.trim().text())
                    }
                    None => format!("put hosts under [{}]", self.group),
                }));
        };
        let name = name.trim();
        self.warn_about_variable(&name);
        let value = literal::value(&value.trim());
        self.graph.set_group_var(&self.group, &name.text(), value)
    }

    fn child(&mut self, line: &Piece) -> Result<(), Diagnostic> {
        let text = line.text();
        let name = without_comment(&text);
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || matches!(c, ':' | ']')) {
            return Err(Diagnostic::new("a line here is the name of one group")
                .at(&line.origin())
                .note(format!("this line is in [{}:children]", self.group))
                .hint(format!("put hosts under [{0}] and variables under [{0}:vars]", self.group)));
        }
        let origin = line.origin_of(0, name.chars().count());
        if self.graph.groups.contains_key(name) && !matches!(self.pending.get(name), Some(Pending::Child(_)))
        {
            return self.graph.add_child(&self.group, name, &origin);
        }
        match self.pending.entry(name.to_owned()).or_insert_with(|| Pending::Child(Vec::new())) {
            Pending::Child(parents) => parents.push((self.group.clone(), origin)),
            Pending::Vars(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Diagnostic> {
        let Some((name, pending)) = self.pending.into_iter().next() else { return Ok(()) };
        let known = self.graph.groups.keys().map(String::as_str).filter(|group| *group != name);
        let near = closest(&name, known).map(|near| format!("did you mean {near}?"));
        Err(match pending {
            Pending::Vars(origin) => {
                Diagnostic::new(format!("variables for a group that is not declared: {name}"))
                    .at(&origin)
                    .hint_opt(near.or_else(|| Some(format!("add a section [{name}] with its hosts"))))
            }
            Pending::Child(parents) => {
                let error = Diagnostic::new(format!("a group that is not declared: {name}"))
                    .hint_opt(near.or_else(|| Some(format!("add a section [{name}], even an empty one"))));
                match parents.last() {
                    Some((_, origin)) => error.at(origin),
                    None => error,
                }
            }
        })
    }

    fn warn_about_variable(&mut self, name: &Piece) {
        let text = name.text();
        if !is_identifier(&text) {
            self.warnings.push(
                Diagnostic::new(format!("{text:?} is no name for a variable"))
                    .at(&name.origin())
                    .hint("use letters, digits and underscores, and start with a letter"),
            );
        }
    }
}

/// The group and the kind of a section header, comment or not.
fn header(line: &str) -> Option<(String, Option<String>)> {
    let (inside, after) = line.strip_prefix('[')?.split_once(']')?;
    let after = after.trim_start();
    if !(after.is_empty() || after.starts_with('#')) {
        return None;
    }
    let (group, state) = match inside.split_once(':') {
        Some((group, state)) => (group, Some(state)),
        None => (inside, None),
    };
    let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || c == '_');
    let named = !group.is_empty() && !group.contains(char::is_whitespace);
    (named && state.is_none_or(word)).then(|| (group.to_owned(), state.map(str::to_owned)))
}

fn without_comment(line: &str) -> &str {
    // A name may hold a `#`, but not start with one after a blank.
    match line.find(|c: char| c.is_whitespace()) {
        Some(at) if line.get(at..).is_some_and(|rest| rest.trim_start().starts_with('#')) => {
            line.get(..at).unwrap_or(line)
        }
        _ => line
            .split_once('#')
            .map_or(line, |(name, _)| if name.is_empty() { line } else { name })
            .trim_end(),
    }
}

fn not_a_variable(line: &Piece, word: &Piece) -> Diagnostic {
    let text = line.text();
    let error = Diagnostic::new("a host's variable needs a value: name=value").at(&word.origin());
    if text.contains("{{") {
        error.hint("quote a value with blanks: name='{{ other }}'")
    } else if text.contains(" = ") || text.contains("= ") || text.contains(" =") {
        error.hint("put no blanks around the equals sign")
    } else if text.contains('=') {
        error.hint("quote a value with blanks: name='one two'")
    } else {
        error.hint("give every host a line of its own")
    }
}

/// Ansible keeps such names and warns.
pub(super) fn warn_about_name(group: &str, origin: &Origin, warnings: &mut Vec<Diagnostic>) {
    if !is_identifier(group) {
        warnings.push(
            Diagnostic::new(format!("the group's name {group:?} is no name for a variable"))
                .at(origin)
                .hint("use letters, digits and underscores, and start with a letter"),
        );
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
#[path = "ini_tests.rs"]
mod tests;
