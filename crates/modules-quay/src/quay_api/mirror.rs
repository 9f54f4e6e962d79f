use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, look, plan, seconds, text, with_quay};
use super::place::Place;
use crate::args::Presence;
use crate::host::Secret;
use crate::http::percent;
use crate::quay::{QuayError, Verb};
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Makes a repository the mirror of one in another registry (`FEATURE_REPO_MIRROR`).
    pub(super) struct QuayMirror {
        /// `NAMESPACE/NAME`; the repository must be there.
        name: String,
        /// The other repository: `HOST/NAMESPACE/NAME`. A new mirror needs it.
        external_reference: Option<String>,
        external_registry_username: Option<String>,
        /// It cannot be read back, so it goes along with any other change.
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        external_registry_password: Option<Secret>,
        /// Which tags, as patterns; a new mirror takes `latest`.
        image_tags: Option<Vec<String>>,
        /// How often: seconds, or a duration such as `1d`, which is what a new mirror does.
        sync_interval: Option<String>,
        /// When the next synchronization begins, as `2030-01-31T12:00:00Z`; a new mirror begins at once.
        sync_start_date: Option<String>,
        /// The robot that writes here (`ORGANIZATION+ROBOT`). A new mirror needs it.
        robot_username: Option<String>,
        /// Whether the other registry's certificate is judged; a new mirror does.
        verify_tls: Option<bool>,
        /// The proxies on the way to the other registry; an empty one is taken away.
        http_proxy: Option<String>,
        https_proxy: Option<String>,
        no_proxy: Option<String>,
        /// A new mirror is.
        is_enabled: Option<bool>,
        /// Synchronize now.
        #[serde(default)]
        force_sync: bool,
        /// Seconds that one synchronization may take, from Quay 3.15 on: 300 to 43200; a new mirror takes 300.
        skopeo_timeout_interval: Option<u64>,
    }
}

/// Seconds that a synchronization may take, where nobody says.
const TIMEOUT: u64 = 300;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    /// NORMAL, MIRROR or `READ_ONLY`; `None` where there is no repository yet.
    state: Option<String>,
    mirror: Option<Value>,
}

impl QuayMirror {
    fn path(&self, what: &str) -> String {
        format!("repository/{}{what}", percent(&self.name, true))
    }

    /// What is asked for, as the API takes it; how the other registry is spoken to is added to what is set of that.
    fn asked(&self, now: &Value) -> Result<Map, ModuleError> {
        let mut body = Map::new();
        let mut ask = |name: &str, value: Option<Value>| body.extend(value.map(|v| (name.to_owned(), v)));
        let interval = self.sync_interval.as_deref().map(seconds).transpose()?;
        let tags = |tags: &Vec<String>| json!({"rule_kind": "tag_glob_csv", "rule_value": tags});
        ask("external_reference", self.external_reference.as_ref().map(|v| json!(v)));
        ask("external_registry_username", self.external_registry_username.as_ref().map(|v| json!(v)));
        ask("sync_interval", interval.map(|v| json!(v)));
        ask("sync_start_date", self.sync_start_date.as_ref().map(|v| json!(v)));
        ask("root_rule", self.image_tags.as_ref().map(tags));
        ask("robot_username", self.robot_username.as_ref().map(|v| json!(v)));
        ask("is_enabled", self.is_enabled.map(|v| json!(v)));
        ask("skopeo_timeout_interval", self.skopeo_timeout_interval.map(|v| json!(v)));
        ask("external_registry_config", self.way(now.get("external_registry_config")));
        Ok(body)
    }

    /// How the other registry is spoken to, where something is asked of that.
    fn way(&self, now: Option<&Value>) -> Option<Value> {
        let proxies = [
            ("http_proxy", &self.http_proxy),
            ("https_proxy", &self.https_proxy),
            ("no_proxy", &self.no_proxy),
        ];
        if self.verify_tls.is_none() && proxies.iter().all(|(_, proxy)| proxy.is_none()) {
            return None;
        }
        let mut way = now.filter(|now| now.is_object()).cloned().unwrap_or_else(|| json!({}));
        if let Some(verify) = self.verify_tls {
            way["verify_tls"] = json!(verify);
        }
        for (name, proxy) in proxies {
            if let Some(proxy) = proxy {
                let none = proxy.is_empty();
                way["proxy"][name] = if none { Value::Null } else { json!(proxy) };
            }
        }
        Some(way)
    }

    /// The names of what differs.
    fn differences(&self, now: &Value) -> Result<Vec<String>, ModuleError> {
        let same = |key: &str, asked: &Value| match (key, now.get(key)) {
            // An older Quay knows no such limit.
            ("skopeo_timeout_interval", None) => true,
            // What is not set there is judged.
            ("external_registry_config", is) => {
                let judges = |way: Option<&Value>| {
                    way.and_then(|w| w.get("verify_tls")).and_then(Value::as_bool).unwrap_or(true)
                };
                let proxy = |way: Option<&Value>, name: &str| {
                    way.and_then(|w| w.get("proxy")?.get(name)).cloned().unwrap_or_default()
                };
                judges(is) == judges(Some(asked))
                    && ["http_proxy", "https_proxy", "no_proxy"]
                        .iter()
                        .all(|name| proxy(is, name) == proxy(Some(asked), name))
            }
            (_, is) => is == Some(asked),
        };
        let asked = self.asked(now)?;
        Ok(asked.iter().filter(|(key, asked)| !same(key, asked)).map(|(key, _)| key.clone()).collect())
    }

    /// The body that makes a new mirror.
    fn made(&self) -> Result<Map, ModuleError> {
        if self.external_reference.is_none() || self.robot_username.is_none() {
            return Err(ModuleError::Arguments(
                "external_reference and robot_username are needed for a new mirror".into(),
            ));
        }
        let mut body = Map::from_iter([
            ("sync_interval".to_owned(), json!(86_400)),
            ("root_rule".to_owned(), json!({"rule_kind": "tag_glob_csv", "rule_value": ["latest"]})),
            ("is_enabled".to_owned(), json!(true)),
            ("external_registry_config".to_owned(), json!({"verify_tls": true})),
            (
                "sync_start_date".to_owned(),
                json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ),
        ]);
        body.extend(self.asked(&json!({"external_registry_config": {"verify_tls": true}}))?);
        Ok(body)
    }
}

#[async_trait]
impl Resource for QuayMirror {
    const NAME: &'static str = "quay_mirror";
    const FQCN: &'static [&'static str] = &[
        "quaylab.lab.quay_mirror",
        "infra.quay_configuration.quay_repository_mirror",
        "quay_repository_mirror",
    ];
    type Observed = Found;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.skopeo_timeout_interval.is_some_and(|limit| !(300..=43_200).contains(&limit)) {
            return Err(ModuleError::Arguments("skopeo_timeout_interval is 300 to 43200 seconds".into()));
        }
        self.sync_interval.as_deref().map(seconds).transpose().map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let quay = self.quay(cx)?;
        let namespace = self.name.split('/').next().unwrap_or_default();
        let looked = Place::namespace(namespace).look(cx, &quay, &self.path(""), self.state).await?;
        let Some(repository) = looked else {
            if cx.mode.check || self.state == Presence::Absent {
                return Ok(Found::default());
            }
            return Err(ModuleError::failed(format!("there is no repository {}", self.name))
                .hint("make it first (quay_repository)"));
        };
        let state = text(&repository, "state").unwrap_or_else(|| "NORMAL".into());
        Ok(Found { state: Some(state), mirror: look(cx, &quay, &self.path("/mirror")).await? })
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("mirror {}", self.name);
        let becomes = |state: &str| {
            Call::new(
                Verb::Put,
                self.path("/changestate"),
                Some(json!({"state": state})),
                format!("{} becomes {state}", self.name),
            )
        };
        let is_mirror = now.state.as_deref() == Some("MIRROR");
        if self.state == Presence::Absent {
            // The API cannot remove the settings; a repository in its normal state is no mirror.
            let calls = if is_mirror { vec![becomes("NORMAL")] } else { Vec::new() };
            return Ok(plan(&title, calls, "a mirror", "no mirror"));
        }
        let differs = now.mirror.as_ref().map(|mirror| self.differences(mirror)).transpose()?;
        let mut calls = Vec::new();
        if differs.as_ref().is_none_or(|d| !d.is_empty()) {
            let (verb, mut body) = match &now.mirror {
                Some(mirror) => (Verb::Put, self.asked(mirror)?),
                None => (Verb::Post, self.made()?),
            };
            if let Some(password) = &self.external_registry_password {
                body.insert("external_registry_password".into(), json!(password.0));
            }
            let what = format!("setting up the {title}");
            calls.push(Call::new(verb, self.path("/mirror"), Some(Value::Object(body)), what));
        }
        // Last, so that what Quay does not take leaves the repository as it was.
        if !is_mirror {
            calls.push(becomes("MIRROR"));
        }
        let status = now.mirror.as_ref().and_then(|mirror| text(mirror, "sync_status")).unwrap_or_default();
        if self.force_sync && !["SYNCING", "SYNC_NOW"].contains(&status.as_str()) {
            let what = format!("synchronizing the {title}");
            calls.push(Call::new(Verb::Post, self.path("/mirror/sync-now"), Some(json!({})), what));
        }
        let before = match differs {
            None => "no mirror".to_owned(),
            Some(names) => names.join("\n"),
        };
        let after = format!("of {}", self.external_reference.as_deref().unwrap_or("what it was"));
        Ok(plan(&title, calls, &before, &after))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        let quay = self.quay(cx)?;
        match step.ask(&quay).await {
            // From 3.15 on a new mirror has to have a limit; what an older Quay does not know breaks it.
            Err(QuayError::Refused { status: 400, message, .. })
                if step.verb == Verb::Post && message.contains("skopeo_timeout_interval") =>
            {
                let mut with_limit = step.clone();
                if let Some(body) = with_limit.body.as_mut() {
                    body["skopeo_timeout_interval"] = json!(self.skopeo_timeout_interval.unwrap_or(TIMEOUT));
                }
                with_limit.send(&quay).await.map(drop)
            }
            other => other.map(drop).map_err(ModuleError::from),
        }
    }

    fn result(&self, after: &Found) -> Map {
        let status = after.mirror.as_ref().and_then(|m| text(m, "sync_status"));
        Map::from_iter([
            ("repository_state".to_owned(), json!(after.state)),
            ("sync_status".to_owned(), json!(status)),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
