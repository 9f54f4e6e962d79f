use indexmap::IndexMap;

use crate::diag::Diagnostic;
use crate::template::Templated;
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
    pub r#become: Option<Templated<bool>>,
    pub become_user: Option<Templated<String>>,
    pub become_method: Option<Templated<String>>,
    pub become_exe: Option<Templated<String>>,
    pub become_flags: Option<Templated<String>>,
    pub no_log: Option<Templated<bool>>,
    pub ignore_errors: Option<Templated<bool>>,
    pub ignore_unreachable: Option<Templated<bool>>,
    pub run_once: Option<Templated<bool>>,
    pub delegate_to: Option<Templated<String>>,
    pub delegate_facts: Option<Templated<bool>>,
    pub check_mode: Option<Templated<bool>>,
    pub diff: Option<Templated<bool>>,
    pub any_errors_fatal: Option<Templated<bool>>,
    pub connection: Option<Templated<String>>,
    pub remote_user: Option<Templated<String>>,
    pub port: Option<Templated<String>>,
    pub throttle: Option<Templated<u64>>,
    pub timeout: Option<Templated<u64>>,
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
    pub fn take(&mut self, key: &str, value: &Node) -> Result<bool, Diagnostic> {
        match key {
            "vars" => self.vars.extend(variables(value)?),
            "when" => self.when.extend(list(value)),
            "tags" => self.tags.extend(tag_list(value)),
            "environment" => self.environment.extend(list(value)),
            "module_defaults" => self.module_defaults.push(value.clone()),
            // Full names are always found, so the search list has nothing to add.
            "collections" => {}
            "become" => self.r#become = Some(Templated::new("become", value.clone())),
            "become_user" => self.become_user = Some(Templated::new("become_user", value.clone())),
            "become_method" => self.become_method = Some(Templated::new("become_method", value.clone())),
            "become_exe" => self.become_exe = Some(Templated::new("become_exe", value.clone())),
            "become_flags" => self.become_flags = Some(Templated::new("become_flags", value.clone())),
            "no_log" => self.no_log = Some(Templated::new("no_log", value.clone())),
            "ignore_errors" => self.ignore_errors = Some(Templated::new("ignore_errors", value.clone())),
            "ignore_unreachable" => {
                self.ignore_unreachable = Some(Templated::new("ignore_unreachable", value.clone()));
            }
            "run_once" => self.run_once = Some(Templated::new("run_once", value.clone())),
            "delegate_to" => self.delegate_to = Some(Templated::new("delegate_to", value.clone())),
            "delegate_facts" => self.delegate_facts = Some(Templated::new("delegate_facts", value.clone())),
            "check_mode" => self.check_mode = Some(Templated::new("check_mode", value.clone())),
            "diff" => self.diff = Some(Templated::new("diff", value.clone())),
            "any_errors_fatal" => {
                self.any_errors_fatal = Some(Templated::new("any_errors_fatal", value.clone()));
            }
            "connection" => self.connection = Some(Templated::new("connection", value.clone())),
            "remote_user" => self.remote_user = Some(Templated::new("remote_user", value.clone())),
            "port" => self.port = Some(Templated::new("port", value.clone())),
            "throttle" => self.throttle = Some(Templated::new("throttle", value.clone())),
            "timeout" => self.timeout = Some(Templated::new("timeout", value.clone())),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Everything that was written, besides the names of variables.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        fn of<T>(keyword: Option<&Templated<T>>) -> Option<&Node> {
            keyword.map(Templated::node)
        }
        let lists = [&self.when, &self.tags, &self.environment, &self.module_defaults];
        let single = [
            of(self.r#become.as_ref()),
            of(self.become_user.as_ref()),
            of(self.become_method.as_ref()),
            of(self.become_exe.as_ref()),
            of(self.become_flags.as_ref()),
            of(self.no_log.as_ref()),
            of(self.ignore_errors.as_ref()),
            of(self.ignore_unreachable.as_ref()),
            of(self.run_once.as_ref()),
            of(self.delegate_to.as_ref()),
            of(self.delegate_facts.as_ref()),
            of(self.check_mode.as_ref()),
            of(self.diff.as_ref()),
            of(self.any_errors_fatal.as_ref()),
            of(self.connection.as_ref()),
            of(self.remote_user.as_ref()),
            of(self.port.as_ref()),
            of(self.throttle.as_ref()),
            of(self.timeout.as_ref()),
        ];
        self.vars.values().chain(lists.into_iter().flatten()).chain(single.into_iter().flatten())
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
        Kind::Seq(items) => items.to_vec(),
        _ => vec![node.clone()],
    }
}

/// Tags and hosts may also be a comma-separated string.
pub(super) fn tag_list(node: &Node) -> Vec<Node> {
    list(node)
        .into_iter()
        .flat_map(|item| match item.as_str() {
            Some(text) if text.contains(',') && !text.contains("{{") => {
                text.split(',').map(|part| item.part(part.trim())).collect()
            }
            _ => vec![item],
        })
        .collect()
}
