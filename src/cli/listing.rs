//! `--list-tasks`, `--list-tags`, `--list-hosts`: what a playbook would do, as ansible-playbook tells it.

use std::collections::BTreeSet;

use crate::diag::Diagnostic;
use crate::engine::selected;
use crate::inventory::Inventory;
use crate::playbook::{Action, Entry, Play, Playbook, Role, Task};
use crate::yaml::Node;

/// What is asked for.
pub(super) struct Wanted {
    pub(super) hosts: bool,
    pub(super) tasks: bool,
    pub(super) tags: bool,
    pub(super) only: Vec<String>,
    pub(super) skip: Vec<String>,
    pub(super) limit: Option<String>,
}

/// One playbook's list.
pub(super) fn playbook(
    name: &str,
    playbook: &Playbook,
    inventory: &Inventory,
    wanted: &Wanted,
) -> Result<String, Diagnostic> {
    let mut text = format!("\nplaybook: {name}\n");
    for (index, play) in playbook.plays.iter().enumerate() {
        if wanted.hosts || wanted.tasks || wanted.tags {
            text.push_str(&one_play(index + 1, play, inventory, wanted)?);
        }
    }
    Ok(text)
}

fn one_play(
    number: usize,
    play: &Play,
    inventory: &Inventory,
    wanted: &Wanted,
) -> Result<String, Diagnostic> {
    let patterns: Vec<String> = match play.hosts.as_seq() {
        Some(all) => all.iter().map(Node::key_text).collect(),
        None => vec![play.hosts.key_text()],
    };
    let joined = patterns.join(",");
    let name = play.name.as_ref().map_or_else(|| joined.clone(), Node::key_text);
    let own = words(&play.keywords.tags);
    let shown = own.iter().cloned().collect::<Vec<_>>().join(",");
    let mut text = format!("\n  play #{number} ({joined}): {name}\tTAGS: [{shown}]");
    if wanted.hosts {
        let (hosts, _) = inventory.select_limited(&patterns.join(":"), wanted.limit.as_deref())?;
        let patterns: Vec<String> = patterns.iter().map(|p| format!("'{p}'")).collect();
        text.push_str(&format!("\n    pattern: [{}]\n    hosts ({}):", patterns.join(", "), hosts.len()));
        for host in hosts {
            text.push_str(&format!("\n      {host}"));
        }
    }
    text.push('\n');
    if wanted.tasks || wanted.tags {
        let mut list = List { wanted, text: String::new(), tags: own.clone() };
        if wanted.tasks {
            list.text.push_str("    tasks:\n");
        }
        for section in &play.sections {
            list.entries(section, &own, None);
        }
        if wanted.tags {
            let all = list.tags.iter().cloned().collect::<Vec<_>>().join(", ");
            list.text.push_str(&format!("      TASK TAGS: [{all}]\n"));
        }
        text.push_str(&list.text);
    }
    Ok(text)
}

struct List<'a> {
    wanted: &'a Wanted,
    text: String,
    tags: BTreeSet<String>,
}

impl List<'_> {
    fn entries(&mut self, entries: &[Entry], outer: &BTreeSet<String>, role: Option<&Role>) {
        for entry in entries {
            match entry {
                Entry::Task(task) => {
                    let tags = outer.union(&words(&task.keywords.tags)).cloned().collect();
                    self.task(&name(task, role), &tags);
                }
                Entry::Block(block) => {
                    let tags: BTreeSet<String> = outer.union(&words(&block.keywords.tags)).cloned().collect();
                    let role = block.role.as_deref().or(role);
                    if let Some(role) = block.role.as_deref().filter(|r| r.spec.is_some()) {
                        let mut always = tags.clone();
                        always.insert("always".into());
                        self.task(&role.validation(), &always);
                    }
                    // What only follows a failure is not listed.
                    self.entries(&block.tasks, &tags, role);
                }
            }
        }
    }

    fn task(&mut self, name: &str, tags: &BTreeSet<String>) {
        // Listing tags shows all of them, unless some were asked for.
        let all = self.wanted.tags && self.wanted.only.is_empty() && self.wanted.skip.is_empty();
        if !all && !selected(tags, &self.wanted.only, &self.wanted.skip) {
            return;
        }
        self.tags.extend(tags.iter().cloned());
        if self.wanted.tasks {
            let tags = tags.iter().cloned().collect::<Vec<_>>().join(", ");
            self.text.push_str(&format!("      {name}\tTAGS: [{tags}]\n"));
        }
    }
}

fn name(task: &Task, role: Option<&Role>) -> String {
    let own = task.name.as_ref().map(Node::key_text);
    match (own, role) {
        (Some(own), Some(role)) => format!("{} : {own}", role.name),
        (Some(own), None) => own,
        (None, _) if task.action == Action::Meta => "meta".to_owned(),
        (None, _) => task.written.clone(),
    }
}

/// Tags as they are written; a template stays one.
fn words(nodes: &[Node]) -> BTreeSet<String> {
    nodes.iter().map(Node::key_text).filter(|t| !t.is_empty()).collect()
}
