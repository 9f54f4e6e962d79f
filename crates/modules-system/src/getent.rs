use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::Script;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext, Touch};

/// An entry of a name service database (passwd, group, hosts, ...) as the fact `getent_DATABASE`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Getent {
    database: String,
    /// Without a key the whole database is read.
    key: Option<String>,
    /// Ask this service only (`files`, `sss`).
    service: Option<String>,
    /// What separates fields; `:` for the databases of accounts, spaces otherwise.
    split: Option<String>,
    /// Whether a key that is not there is a failure.
    #[serde(default = "crate::args::yes")]
    fail_key: bool,
}

impl Getent {
    fn probe(&self) -> Script {
        let mut argv = vec!["getent"];
        if let Some(service) = &self.service {
            argv.extend(["-s", service]);
        }
        argv.push(&self.database);
        argv.extend(self.key.as_deref());
        Script::argv(argv)
    }

    fn entries(&self, text: &str) -> Map {
        let separator = self.split.as_deref().or_else(|| {
            matches!(self.database.as_str(), "passwd" | "shadow" | "group" | "gshadow").then_some(":")
        });
        let mut entries = Map::new();
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            let mut fields: Vec<&str> = match separator {
                Some(s) => line.split(s).collect(),
                None => line.split_whitespace().collect(),
            };
            if fields.is_empty() {
                continue;
            }
            let key = fields.remove(0).to_owned();
            entries.insert(key, json!(fields));
        }
        entries
    }
}

#[async_trait]
impl Action for Getent {
    const NAME: &'static str = "getent";
    const FQCN: &'static [&'static str] = &["ansible.builtin.getent"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    fn validate(&self) -> Result<(), ModuleError> {
        match [Some(&self.database), self.key.as_ref()].into_iter().flatten().find(|w| w.starts_with('-')) {
            Some(odd) => Err(ModuleError::Arguments(format!("{odd:?} would be an option of getent"))),
            None => Ok(()),
        }
    }

    fn ahead(&self, _cx: &TaskContext) -> Option<Script> {
        Some(self.probe())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let reply = cx.shell.probe(&self.probe()).await?;
        let mut found = match reply.status {
            0 => self.entries(&reply.out()),
            1 => return Err(ModuleError::failed(format!("there is no database {:?}", self.database))),
            2 if self.fail_key => {
                return Err(ModuleError::failed(format!(
                    "{} is not in the database {}",
                    self.key.as_deref().unwrap_or("an entry"),
                    self.database
                ))
                .hint("fail_key: false makes it an empty entry"));
            }
            2 => Map::new(),
            3 => {
                return Err(ModuleError::failed(format!(
                    "the database {:?} cannot be listed",
                    self.database
                ))
                .hint("give a key"));
            }
            other => {
                return Err(ModuleError::failed(format!(
                    "getent failed with status {other}: {}",
                    reply.err().trim()
                )));
            }
        };
        if let Some(key) = self.key.as_ref().filter(|_| found.is_empty()) {
            found.insert(key.clone(), Value::Null);
        }
        let facts = [(format!("getent_{}", self.database), Value::Object(found))].into_iter().collect();
        Ok(Outcome { facts, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::args;
    use super::*;

    #[test]
    fn entries_have_ansibles_shape() {
        let passwd: Getent = args(json!({"database": "passwd"}));
        assert_eq!(passwd.entries("a:x:1:1::/a:/bin/sh\n")["a"], json!(["x", "1", "1", "", "/a", "/bin/sh"]));
        let hosts: Getent = args(json!({"database": "hosts"}));
        assert_eq!(hosts.entries("127.0.0.1   localhost lo\n")["127.0.0.1"], json!(["localhost", "lo"]));
    }
}
