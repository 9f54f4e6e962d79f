use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, seconds, text, with_quay};
use super::place::Place;
use crate::args::Presence;
use crate::host::Secret;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Makes an organization a cache of another registry (`FEATURE_PROXY_CACHE`).
    pub(super) struct QuayProxyCache {
        organization: String,
        /// The other registry: `HOST` or `HOST/NAMESPACE`.
        registry: Option<String>,
        /// Over plain HTTP.
        #[serde(default)]
        insecure: bool,
        username: Option<String>,
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        password: Option<Secret>,
        /// How long what was fetched is kept (`1d`).
        #[serde(default = "day")]
        expiration: String,
    }
}

fn day() -> String {
    "1d".into()
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    registry: String,
    expiration: u64,
    insecure: bool,
}

impl QuayProxyCache {
    fn path(&self) -> String {
        format!("organization/{}/proxycache", percent(&self.organization, false))
    }
}

#[async_trait]
impl Resource for QuayProxyCache {
    const NAME: &'static str = "quay_proxy_cache";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_proxy_cache", "infra.quay_configuration.quay_proxy_cache"];
    type Observed = Option<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.state == Presence::Present && self.registry.is_none() {
            return Err(ModuleError::Arguments("registry is needed with state=present".into()));
        }
        seconds(&self.expiration).map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let looked = Place::namespace(&self.organization).look(cx, &quay, &self.path(), self.state).await?;
        let Some(answer) = looked else { return Ok(None) };
        // An organization that is no cache answers with empty fields.
        let Some(registry) = text(&answer, "upstream_registry") else { return Ok(None) };
        Ok(Some(Found {
            registry,
            expiration: answer.get("expiration_s").and_then(Value::as_u64).unwrap_or_default(),
            insecure: answer.get("insecure").and_then(Value::as_bool).unwrap_or(false),
        }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("proxy cache of {}", self.organization);
        let removal = || Call::new(Verb::Delete, self.path(), None, format!("removing the {title}"));
        let asked = Found {
            registry: self.registry.clone().unwrap_or_default(),
            expiration: seconds(&self.expiration)?,
            insecure: self.insecure,
        };
        let shown = |f: &Found| {
            format!("{}, kept {} s{}", f.registry, f.expiration, if f.insecure { ", insecure" } else { "" })
        };
        let before = now.as_ref().map_or_else(|| "absent".to_owned(), shown);
        if self.state == Presence::Absent {
            return Ok(plan(&title, now.iter().map(|_| removal()).collect(), &before, "absent"));
        }
        if now.as_ref() == Some(&asked) {
            return Ok(Plan::default());
        }
        let mut body = json!({
            "org_name": self.organization,
            "upstream_registry": asked.registry,
            "expiration_s": asked.expiration,
            "insecure": asked.insecure,
        });
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            body["upstream_registry_username"] = json!(user);
            body["upstream_registry_password"] = json!(password.0);
        }
        // The API cannot change one.
        let mut calls: Vec<Call> = now.iter().map(|_| removal()).collect();
        calls.push(Call::new(Verb::Post, self.path(), Some(body), format!("making the {title}")));
        Ok(plan(&title, calls, &before, &shown(&asked)))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx)?).await.map(drop)
    }

    fn result(&self, after: &Option<Found>) -> Map {
        Map::from_iter([("registry".to_owned(), json!(after.as_ref().map(|f| &f.registry)))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
