use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, look, plan, seconds, text, with_quay};
use crate::args::Presence;
use crate::host::Secret;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Makes a repository the mirror of one in another registry (`FEATURE_REPO_MIRROR`).
    pub(super) struct QuayMirror {
        /// `NAMESPACE/NAME`; the repository must be there.
        name: String,
        /// The other repository: `HOST/NAMESPACE/NAME`.
        external_reference: Option<String>,
        external_registry_username: Option<String>,
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        external_registry_password: Option<Secret>,
        /// Which tags, as patterns.
        #[serde(default = "latest")]
        image_tags: Vec<String>,
        /// How often (`1d`).
        #[serde(default = "day")]
        sync_interval: String,
        /// The robot that writes here (`ORGANIZATION+ROBOT`).
        robot_username: Option<String>,
        #[serde(default = "crate::args::yes")]
        verify_tls: bool,
        #[serde(default = "crate::args::yes")]
        is_enabled: bool,
    }
}

fn latest() -> Vec<String> {
    vec!["latest".into()]
}

fn day() -> String {
    "1d".into()
}

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

    /// What is asked for, as the API gives it back.
    fn asked(&self) -> Result<Map, ModuleError> {
        let mut body = Map::from_iter([
            ("external_reference".to_owned(), json!(self.external_reference)),
            ("sync_interval".to_owned(), json!(seconds(&self.sync_interval)?)),
            ("root_rule".to_owned(), json!({"rule_kind": "tag_glob_csv", "rule_value": self.image_tags})),
            ("robot_username".to_owned(), json!(self.robot_username)),
            ("is_enabled".to_owned(), json!(self.is_enabled)),
            ("external_registry_config".to_owned(), json!({"verify_tls": self.verify_tls})),
        ]);
        if let Some(user) = &self.external_registry_username {
            body.insert("external_registry_username".into(), json!(user));
        }
        Ok(body)
    }

    /// The names of what differs. A password cannot be read back: it goes along with any other change.
    fn differences(&self, now: &Value) -> Result<Vec<String>, ModuleError> {
        let same = |key: &str, asked: &Value| match key {
            "external_registry_config" => {
                now.get(key).and_then(|c| c.get("verify_tls")).and_then(Value::as_bool).unwrap_or(true)
                    == self.verify_tls
            }
            _ => now.get(key) == Some(asked),
        };
        Ok(self
            .asked()?
            .iter()
            .filter(|(key, asked)| !same(key, asked))
            .map(|(key, _)| key.clone())
            .collect())
    }
}

#[async_trait]
impl Resource for QuayMirror {
    const NAME: &'static str = "quay_mirror";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_mirror", "infra.quay_configuration.quay_repository_mirror"];
    type Observed = Found;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.state == Presence::Present
            && (self.external_reference.is_none() || self.robot_username.is_none())
        {
            return Err(ModuleError::Arguments(
                "external_reference and robot_username are needed with state=present".into(),
            ));
        }
        seconds(&self.sync_interval).map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let quay = self.quay(cx).await?;
        let Some(repository) = look(cx, &quay, &self.path("")).await? else {
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
        if !is_mirror {
            calls.push(becomes("MIRROR"));
        }
        if differs.as_ref().is_none_or(|d| !d.is_empty()) {
            let mut body = self.asked()?;
            if let Some(password) = &self.external_registry_password {
                body.insert("external_registry_password".into(), json!(password.0));
            }
            let verb = if now.mirror.is_some() { Verb::Put } else { Verb::Post };
            if verb == Verb::Post {
                let start = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                body.insert("sync_start_date".into(), json!(start));
            }
            let what = format!("setting up the {title}");
            calls.push(Call::new(verb, self.path("/mirror"), Some(Value::Object(body)), what));
        }
        let before = match differs {
            None => "no mirror".to_owned(),
            Some(names) => names.join("\n"),
        };
        let after = format!("of {}", self.external_reference.as_deref().unwrap_or_default());
        Ok(plan(&title, calls, &before, &after))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx).await?).await.map(drop)
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
