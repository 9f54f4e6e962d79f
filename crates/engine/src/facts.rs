//! Whether a run needs facts at all: looking at a host costs more than most tasks do.

use std::sync::Arc;

use super::play::PlayRun;
use crate::playbook::{Action, Block, Entry, Folder, Handler, Keywords, Play, Role, Task};
use crate::template::Templated;
use crate::vars::{Layers, Scope as _, Var};
use crate::yaml::{Kind, Node};

/// Names that begin like a fact's and are none: they are known without looking at the host.
const NO_FACTS: &[&str] = &[
    "ansible_become",
    "ansible_become_exe",
    "ansible_become_flags",
    "ansible_become_method",
    "ansible_become_pass",
    "ansible_become_password",
    "ansible_become_user",
    "ansible_connection",
    "ansible_failed_result",
    "ansible_failed_task",
    "ansible_host",
    "ansible_index_var",
    "ansible_loop",
    "ansible_loop_var",
    "ansible_managed",
    "ansible_parent_role_names",
    "ansible_password",
    "ansible_port",
    "ansible_role_name",
    "ansible_ssh_common_args",
    "ansible_ssh_host",
    "ansible_ssh_pass",
    "ansible_ssh_port",
    "ansible_ssh_private_key_file",
    "ansible_ssh_user",
    "ansible_timeout",
    "ansible_user",
];

/// What can lead to any variable, so that its text does not tell which.
const ANY_VARIABLE: &[&str] =
    &["hostvars", "vars[", "vars.", "'vars'", "\"vars\"", "varnames", "'template'", "\"template\""];

/// Whether a text may use facts.
fn mentions(text: &str) -> bool {
    let names = text.match_indices("ansible_").any(|(at, _)| {
        let name: String = text
            .get(at..)
            .into_iter()
            .flat_map(str::chars)
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let name = name.as_str();
        name == "ansible_facts" || !NO_FACTS.contains(&name) && !PlayRun::MAGIC.contains(&name)
    });
    names || ANY_VARIABLE.iter().any(|word| text.contains(word))
}

fn in_node(node: &Node) -> bool {
    match &node.kind {
        Kind::Str(text) => mentions(text),
        // What is in it is seen only when it is opened.
        Kind::Vault(_) => true,
        Kind::Seq(items) => items.iter().any(in_node),
        Kind::Map(map) => map.iter().any(|(key, value)| in_node(key) || in_node(value)),
        _ => false,
    }
}

fn in_keywords(keywords: &Keywords) -> bool {
    keywords.nodes().any(in_node)
}

fn in_task(task: &Task, role: Option<&Role>) -> bool {
    let control = task.loop_control.iter().flat_map(|c| c.iter().map(|(_, value)| value));
    let lists = [&task.notify, &task.listen, &task.until, &task.changed_when, &task.failed_when];
    let single = [
        task.name.as_ref(),
        task.retries.as_ref().map(Templated::node),
        task.delay.as_ref().map(Templated::node),
        task.background.as_ref().map(Templated::node),
        task.poll.as_ref().map(Templated::node),
    ];
    match &task.action {
        // What they read is not known yet.
        Action::Include(_) | Action::IncludeVars => return true,
        Action::Module(name) if name == "template" && in_template(task, role) => return true,
        _ => {}
    }
    in_node(&task.args)
        || in_keywords(&task.keywords)
        || task.looping.as_ref().is_some_and(|l| in_node(&l.items) || l.lookup.as_deref() == Some("template"))
        || control.into_iter().any(in_node)
        || lists.into_iter().flatten().any(in_node)
        || single.into_iter().flatten().any(in_node)
}

/// Whether a template uses facts, or cannot be found by its name alone.
fn in_template(task: &Task, role: Option<&Role>) -> bool {
    let Some(name) = task.args.as_map().and_then(|m| m.get("src")).and_then(Node::as_str) else {
        return true;
    };
    if name.contains("{{") || name.starts_with(['/', '~']) {
        return true;
    }
    let folders: [Option<&Folder>; 2] = [role.map(|r| &r.folder), Some(&task.folder)];
    let text =
        folders.into_iter().flatten().find_map(|f| f.join("templates").read(name).or_else(|| f.read(name)));
    match text {
        Some(Ok(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            mentions(&text) || ["include", "import", "extends"].iter().any(|word| text.contains(word))
        }
        _ => true,
    }
}

fn in_block(block: &Block, role: Option<&Arc<Role>>) -> bool {
    let role = block.role.as_ref().or(role);
    in_keywords(&block.keywords)
        || [&block.tasks, &block.rescue, &block.always].into_iter().any(|entries| in_entries(entries, role))
}

fn in_entries(entries: &[Entry], role: Option<&Arc<Role>>) -> bool {
    entries.iter().any(|entry| match entry {
        Entry::Task(task) => in_task(task, role.map(Arc::as_ref)),
        Entry::Block(block) => in_block(block, role),
    })
}

fn in_role(role: &Role) -> bool {
    [&role.defaults, &role.vars, &role.params].into_iter().flat_map(|vars| vars.values()).any(in_node)
}

fn in_handler(handler: &Handler) -> bool {
    in_task(&handler.task, handler.role.as_deref()) || handler.keywords.iter().any(|k| in_keywords(k))
}

/// Whether anything in a play may use facts; where that cannot be told it does.
pub(super) fn in_play(play: &Play) -> bool {
    !play.vars_files.is_empty()
        || in_keywords(&play.keywords)
        || play.sections.iter().any(|section| in_entries(section, None))
        || play.handlers.iter().any(in_handler)
        || play.roles.iter().any(|role| in_role(role))
}

/// Whether a host's variables may use facts.
pub(super) fn in_variables(layers: &Layers) -> bool {
    layers.names().iter().any(|name| matches!(layers.get(name), Some(Var::Raw(node)) if in_node(&node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_told_from_other_variables() {
        for (text, expected) in [
            ("{{ ansible_facts.hostname }}", true),
            ("ansible_os_family == 'Debian'", true),
            ("{{ ansible_host }}:{{ ansible_port }}", false),
            ("ansible_hostname", true),
            ("ansible_check_mode and not ansible_diff_mode", false),
            ("{{ hostvars[x].y }}", true),
            ("{{ lookup('vars', 'a' ~ b) }}", true),
            ("plain text", false),
            ("ä ansible_loop.index ansible_date_time", true),
        ] {
            assert_eq!(mentions(text), expected, "{text}");
        }
    }
}
