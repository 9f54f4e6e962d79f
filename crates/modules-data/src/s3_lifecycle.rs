use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::storage::with_storage;
use crate::args::Presence;
use crate::quay::s3::{LifecycleActions, LifecycleRule, S3Error};
use crate::value::{Map, Value};
use crate::{Diff, ModuleError, Plan, Resource, RunMode, TaskContext};

with_storage! {
    /// A rule by which a bucket's objects are removed with time. What else the bucket has for rules is left as it is.
    pub(super) struct S3Lifecycle {
        #[serde(default)]
        state: Presence,
        /// The rule's own name; without it the rule is known by its prefix.
        rule_id: Option<String>,
        /// What the names of the rule's objects begin with; all objects, unless it is said.
        #[serde(default)]
        prefix: String,
        /// Whether the rule is in force.
        #[serde(default)]
        status: Status,
        /// Days after which objects are removed.
        expiration_days: Option<u32>,
        /// Days after which old versions of objects are removed, in a bucket that keeps them.
        noncurrent_version_expiration_days: Option<u32>,
        /// Days after which the parts of an upload are removed that was never ended.
        abort_incomplete_multipart_upload_days: Option<u32>,
        /// Remove every other rule of the bucket.
        #[serde(default)]
        purge: bool,
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Enabled,
    Disabled,
}

/// The longest name of a rule.
const LONGEST_ID: usize = 255;

/// All rules that the bucket shall have.
pub(super) type Step = Vec<LifecycleRule>;

impl S3Lifecycle {
    fn actions(&self) -> LifecycleActions {
        LifecycleActions {
            expiration: self.expiration_days,
            noncurrent: self.noncurrent_version_expiration_days,
            abandoned: self.abort_incomplete_multipart_upload_days,
        }
    }

    fn is_meant(&self, rule: &LifecycleRule) -> bool {
        match &self.rule_id {
            Some(id) => rule.id.as_ref() == Some(id),
            None => rule.is_for(&self.prefix),
        }
    }

    /// The rule as it shall be, in place of the one that is there.
    fn wanted(&self, now: Option<&LifecycleRule>) -> Result<LifecycleRule, ModuleError> {
        let (actions, enabled) = (self.actions(), self.status == Status::Enabled);
        match now {
            // Only switched on or off.
            Some(rule) if actions.is_empty() => Ok(rule.switched(enabled)),
            None if actions.is_empty() => {
                let which = match &self.rule_id {
                    Some(id) => id.clone(),
                    None if self.prefix.is_empty() => "for all objects".to_owned(),
                    None => format!("for {}*", self.prefix),
                };
                Err(ModuleError::failed(format!(
                    "the bucket {} has no rule {which}, and nothing is said that a new one would do",
                    self.name
                ))
                .hint(
                    "give expiration_days, noncurrent_version_expiration_days or abort_incomplete_multipart_upload_days",
                ))
            }
            now => Ok(LifecycleRule {
                id: self.rule_id.clone().or_else(|| now.and_then(|rule| rule.id.clone())),
                prefix: self.prefix.clone(),
                enabled,
                actions,
                foreign: None,
            }),
        }
    }
}

fn shown(rules: &[LifecycleRule]) -> String {
    rules.iter().map(|rule| format!("{rule}\n")).collect()
}

fn value(rule: &LifecycleRule) -> Value {
    json!({
        "id": rule.id, "prefix": rule.prefix, "status": if rule.enabled { "enabled" } else { "disabled" },
        "expiration_days": rule.actions.expiration,
        "noncurrent_version_expiration_days": rule.actions.noncurrent,
        "abort_incomplete_multipart_upload_days": rule.actions.abandoned,
    })
}

#[async_trait]
impl Resource for S3Lifecycle {
    const NAME: &'static str = "s3_lifecycle";
    const FQCN: &'static [&'static str] =
        &["community.aws.s3_lifecycle", "amazon.aws.s3_lifecycle", "quaylab.lab.s3_lifecycle"];
    type Observed = Vec<LifecycleRule>;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        let days = [
            ("expiration_days", self.expiration_days),
            ("noncurrent_version_expiration_days", self.noncurrent_version_expiration_days),
            ("abort_incomplete_multipart_upload_days", self.abort_incomplete_multipart_upload_days),
        ];
        if let Some((name, _)) = days.iter().find(|(_, days)| *days == Some(0)) {
            return Err(ModuleError::Arguments(format!("{name}: a day is the shortest time")));
        }
        if self.rule_id.as_ref().is_some_and(|id| id.is_empty() || id.chars().count() > LONGEST_ID) {
            return Err(ModuleError::Arguments(format!("rule_id has 1 to {LONGEST_ID} characters")));
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        match self.storage(cx)?.lifecycle(&self.name).await {
            // An earlier task may have foreseen the storage itself, this user, or the bucket.
            Err(S3Error::Unreachable { .. } | S3Error::UnknownKey { .. } | S3Error::NoBucket { .. })
                if cx.mode.check =>
            {
                Ok(Vec::new())
            }
            other => Ok(other?),
        }
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let mut rules = now.clone();
        match self.state {
            Presence::Absent => rules.retain(|rule| !self.is_meant(rule)),
            Presence::Present => {
                let at = now.iter().position(|rule| self.is_meant(rule));
                let wanted = self.wanted(at.and_then(|at| now.get(at)))?;
                match at.and_then(|at| rules.get_mut(at)) {
                    _ if self.purge => rules = vec![wanted],
                    Some(rule) => *rule = wanted,
                    None => rules.push(wanted),
                }
            }
        }
        if rules == *now {
            return Ok(Plan::default());
        }
        let title = format!("lifecycle of the bucket {}", self.name);
        let diff = vec![Diff::new(&title, shown(now), shown(&rules))];
        Ok(Plan::new(vec![rules], diff))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        Ok(self.storage(cx)?.set_lifecycle(&self.name, step).await?)
    }

    fn result(&self, after: &Self::Observed) -> Map {
        Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("rules".to_owned(), after.iter().map(value).collect()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    #[test]
    fn rules_are_planned() {
        let rule = |id: &str, prefix: &str, days: u32| LifecycleRule {
            id: Some(id.into()),
            prefix: prefix.into(),
            enabled: true,
            actions: LifecycleActions { expiration: Some(days), ..LifecycleActions::default() },
            foreign: None,
        };
        let two = || vec![rule("a", "logs/", 30), rule("b", "", 90)];
        let new = || LifecycleRule { id: None, ..rule("", "tmp/", 1) };
        let off = || LifecycleRule { enabled: false, ..rule("a", "logs/", 30) };
        for (more, now, expected) in [
            (json!({"prefix": "tmp/", "expiration_days": 1}), vec![], Ok(Some(vec![new()]))),
            (json!({"prefix": "logs/", "expiration_days": 30}), two(), Ok(None)),
            (
                json!({"prefix": "logs/", "expiration_days": 31}),
                two(),
                Ok(Some(vec![rule("a", "logs/", 31), rule("b", "", 90)])),
            ),
            (
                json!({"rule_id": "b", "expiration_days": 90, "purge": true}),
                two(),
                Ok(Some(vec![rule("b", "", 90)])),
            ),
            (
                json!({"prefix": "logs/", "status": "disabled"}),
                two(),
                Ok(Some(vec![off(), rule("b", "", 90)])),
            ),
            (
                json!({"rule_id": "c", "prefix": "c", "expiration_days": 1}),
                vec![],
                Ok(Some(vec![rule("c", "c", 1)])),
            ),
            (json!({"prefix": "logs/", "state": "absent"}), two(), Ok(Some(vec![rule("b", "", 90)]))),
            (json!({"rule_id": "b", "state": "absent"}), vec![rule("b", "", 90)], Ok(Some(vec![]))),
            (json!({"rule_id": "x", "state": "absent"}), two(), Ok(None)),
            (
                json!({"prefix": "tmp/"}),
                two(),
                Err("the bucket quay has no rule for tmp/*, and nothing is said that a new one would do"),
            ),
        ] {
            let mut args =
                json!({"name": "quay", "endpoint_url": "http://x", "access_key": "a", "secret_key": "b"});
            args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
            let Value::Object(args) = args else { panic!("a mapping") };
            let lifecycle: S3Lifecycle = from_args(args).expect("arguments");
            let plan = lifecycle
                .plan(&now, RunMode::default())
                .map(|p| p.steps.into_iter().next())
                .map_err(|e| e.to_string());
            assert_eq!(plan, expected.map_err(str::to_owned), "{more}");
        }
    }
}
