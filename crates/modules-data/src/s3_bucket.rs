use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::storage::with_storage;
use crate::args::Presence;
use crate::quay::s3::S3Error;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_storage! {
    /// A bucket of an S3 storage, such as Ceph's object gateway.
    pub(super) struct S3Bucket {
        #[serde(default)]
        state: Presence,
        /// Whether old versions of objects are kept.
        versioning: Option<bool>,
        /// Remove the objects of a bucket that is removed.
        #[serde(default)]
        force: bool,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    exists: bool,
    versioning: Option<bool>,
    objects: Vec<String>,
    /// The names of all buckets of this user.
    buckets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Versioning(bool),
    /// Empties it first.
    Remove,
}

#[async_trait]
impl Resource for S3Bucket {
    const NAME: &'static str = "s3_bucket";
    const FQCN: &'static [&'static str] = &["amazon.aws.s3_bucket", "quaylab.lab.s3_bucket"];
    type Observed = Found;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        // Ceph's gateway takes underscores as well.
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ['.', '-', '_'].contains(&c);
        if (3..=63).contains(&self.name.len())
            && self.name.chars().all(good)
            && self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Ok(());
        }
        Err(ModuleError::Arguments(format!(
            "name {:?}: a bucket's name has 3 to 63 lower-case letters, digits, dots, hyphens and, where the storage takes them, underscores",
            self.name
        )))
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let storage = self.storage(cx)?;
        let exists = match storage.exists(&self.name).await {
            // An earlier task may have foreseen the storage itself, or this user.
            Err(S3Error::Unreachable { .. } | S3Error::UnknownKey { .. }) if cx.mode.check => {
                return Ok(Found::default());
            }
            other => other.map_err(ModuleError::from)?,
        };
        let mut found = Found { exists, ..Found::default() };
        found.buckets =
            storage.buckets().await.map_err(ModuleError::from)?.into_iter().map(|b| b.name).collect();
        if exists && self.versioning.is_some() {
            found.versioning = storage.versioning(&self.name).await.map_err(ModuleError::from)?;
        }
        if exists && self.state == Presence::Absent {
            let held = storage.versions(&self.name).await.map_err(ModuleError::from)?;
            found.objects = held.into_iter().map(|v| v.key).collect();
        }
        Ok(found)
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let title = format!("bucket {}", self.name);
        let shown = |exists: bool, versioning: Option<bool>| match (exists, versioning) {
            (false, _) => "absent\n".to_owned(),
            (true, Some(true)) => "present, keeps versions\n".to_owned(),
            (true, _) => "present\n".to_owned(),
        };
        let mut steps = Vec::new();
        match (self.state, now.exists) {
            (Presence::Absent, false) => {}
            (Presence::Absent, true) => {
                if !now.objects.is_empty() && !self.force {
                    return Err(ModuleError::failed(format!(
                        "the bucket {} holds objects, {} among them",
                        self.name, now.objects[0]
                    ))
                    .hint("force: true removes them with it"));
                }
                steps.push(Step::Remove);
            }
            (Presence::Present, exists) => {
                steps.extend((!exists).then_some(Step::Create));
                let differs = self.versioning.filter(|asked| now.versioning.unwrap_or(false) != *asked);
                steps.extend(differs.map(Step::Versioning));
            }
        }
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        let after = shown(self.state == Presence::Present, self.versioning.or(now.versioning));
        Ok(Plan::new(steps, vec![Diff::new(&title, shown(now.exists, now.versioning), after)]))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let storage = self.storage(cx)?;
        match step {
            Step::Create => storage.create(&self.name).await.map_err(ModuleError::from),
            Step::Versioning(on) => storage.set_versioning(&self.name, *on).await.map_err(ModuleError::from),
            Step::Remove => {
                // A list holds a thousand at most.
                loop {
                    let held = storage.versions(&self.name).await.map_err(ModuleError::from)?;
                    if held.is_empty() {
                        break;
                    }
                    for version in &held {
                        storage.delete_version(&self.name, version).await.map_err(ModuleError::from)?;
                    }
                }
                storage.remove(&self.name).await.map_err(ModuleError::from)
            }
        }
    }

    fn result(&self, after: &Found) -> Map {
        Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("exists".to_owned(), json!(after.exists)),
            ("buckets".to_owned(), json!(after.buckets)),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    #[test]
    fn buckets_are_planned() {
        let there = || Found { exists: true, ..Found::default() };
        let full = || Found { objects: vec!["a".into()], ..there() };
        for (more, now, expected) in [
            (json!({}), Found::default(), Ok(vec![Step::Create])),
            (json!({}), there(), Ok(vec![])),
            (json!({"versioning": true}), there(), Ok(vec![Step::Versioning(true)])),
            (json!({"versioning": false}), there(), Ok(vec![])),
            (json!({"state": "absent"}), full(), Err("the bucket quay holds objects, a among them")),
            (json!({"state": "absent", "force": true}), full(), Ok(vec![Step::Remove])),
            (json!({"state": "absent"}), Found::default(), Ok(vec![])),
        ] {
            let mut args =
                json!({"name": "quay", "endpoint_url": "http://x", "access_key": "a", "secret_key": "b"});
            args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
            let Value::Object(args) = args else { panic!("a mapping") };
            let bucket: S3Bucket = from_args(args).expect("arguments");
            let plan = bucket.plan(&now, RunMode::default()).map(|p| p.steps).map_err(|e| e.to_string());
            assert_eq!(plan, expected.map_err(str::to_owned), "{more}");
        }
    }
}
