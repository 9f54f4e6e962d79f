use indexmap::IndexMap;

use crate::diag::Diagnostic;
use crate::yaml::{Kind, Node};

/// The keywords that plays, roles, blocks and tasks share; unset ones are inherited.
#[derive(Debug, Clone, Default)]
pub struct Keywords {
    pub vars: IndexMap<String, Node>,
    /// All must hold.
    pub when: Vec<Node>,
    pub tags: Vec<Node>,
    /// Outer environments come first.
    pub environment: Vec<Node>,
    pub r#become: Option<Node>,
    pub become_user: Option<Node>,
    pub become_method: Option<Node>,
    pub become_exe: Option<Node>,
    pub become_flags: Option<Node>,
    pub no_log: Option<Node>,
    pub ignore_errors: Option<Node>,
    pub ignore_unreachable: Option<Node>,
    pub run_once: Option<Node>,
    pub delegate_to: Option<Node>,
    pub delegate_facts: Option<Node>,
    pub check_mode: Option<Node>,
    pub diff: Option<Node>,
    pub any_errors_fatal: Option<Node>,
    pub connection: Option<Node>,
    pub remote_user: Option<Node>,
    pub port: Option<Node>,
    pub throttle: Option<Node>,
    pub timeout: Option<Node>,
    pub module_defaults: Vec<Node>,
}

impl Keywords {
    /// Every keyword read here, for suggestions.
    pub(super) const NAMES: &'static [&'static str] = &[
        "vars",
        "when",
        "tags",
        "environment",
        "become",
        "become_user",
        "become_method",
        "become_exe",
        "become_flags",
        "no_log",
        "ignore_errors",
        "ignore_unreachable",
        "run_once",
        "delegate_to",
        "delegate_facts",
        "check_mode",
        "diff",
        "any_errors_fatal",
        "connection",
        "remote_user",
        "port",
        "throttle",
        "timeout",
        "module_defaults",
        "collections",
    ];

    /// Takes a keyword if it is one of these.
    pub(crate) fn take(&mut self, key: &str, value: &Node) -> Result<bool, Diagnostic> {
        let slot = match key {
            "vars" => {
                self.vars.extend(variables(value)?);
                return Ok(true);
            }
            "when" => {
                self.when.extend(list(value));
                return Ok(true);
            }
            "tags" => {
                self.tags.extend(tag_list(value));
                return Ok(true);
            }
            "environment" => {
                self.environment.extend(list(value));
                return Ok(true);
            }
            "module_defaults" => {
                self.module_defaults.push(value.clone());
                return Ok(true);
            }
            // Full names are always found, so the search list has nothing to add.
            "collections" => return Ok(true),
            "become" => &mut self.r#become,
            "become_user" => &mut self.become_user,
            "become_method" => &mut self.become_method,
            "become_exe" => &mut self.become_exe,
            "become_flags" => &mut self.become_flags,
            "no_log" => &mut self.no_log,
            "ignore_errors" => &mut self.ignore_errors,
            "ignore_unreachable" => &mut self.ignore_unreachable,
            "run_once" => &mut self.run_once,
            "delegate_to" => &mut self.delegate_to,
            "delegate_facts" => &mut self.delegate_facts,
            "check_mode" => &mut self.check_mode,
            "diff" => &mut self.diff,
            "any_errors_fatal" => &mut self.any_errors_fatal,
            "connection" => &mut self.connection,
            "remote_user" => &mut self.remote_user,
            "port" => &mut self.port,
            "throttle" => &mut self.throttle,
            "timeout" => &mut self.timeout,
            _ => return Ok(false),
        };
        *slot = Some(value.clone());
        Ok(true)
    }
}

/// A mapping of variables, or an error at what is not one.
pub(super) fn variables(node: &Node) -> Result<IndexMap<String, Node>, Diagnostic> {
    match &node.kind {
        Kind::Null => Ok(IndexMap::new()),
        Kind::Map(map) => map
            .iter()
            .map(|(key, value)| {
                let name = key.key_text();
                let identifier = name.chars().all(|c| c.is_alphanumeric() || c == '_')
                    && !name.starts_with(|c: char| c.is_ascii_digit());
                if identifier && !name.is_empty() {
                    Ok((name, value.clone()))
                } else {
                    Err(Diagnostic::new(format!("{name:?} is not a valid variable name"))
                        .at(&key.origin)
                        .hint(
                            "use letters, digits and underscores, and start with a letter or an underscore",
                        ))
                }
            })
            .collect(),
        _ => Err(Diagnostic::new(format!("variables must be a mapping, not {}", node.type_name()))
            .at(&node.origin)),
    }
}

/// A list, or a single thing as a list of one.
pub(super) fn list(node: &Node) -> Vec<Node> {
    match &node.kind {
        Kind::Null => Vec::new(),
        Kind::Seq(items) => items.clone(),
        _ => vec![node.clone()],
    }
}

/// Tags and hosts may also be a comma-separated string.
pub(super) fn tag_list(node: &Node) -> Vec<Node> {
    list(node)
        .into_iter()
        .flat_map(|item| match item.as_str() {
            Some(text) if text.contains(',') && !text.contains("{{") => {
                text.split(',').map(|part| Node::str(part.trim(), &item.origin)).collect()
            }
            _ => vec![item],
        })
        .collect()
}
