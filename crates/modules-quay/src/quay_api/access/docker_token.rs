use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, text, with_quay};
use super::place::{Place, list, shown};
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A token with which one's own account pulls and pushes (an application specific token, user `$app`). `register`
    /// holds it: give the task `no_log`.
    pub(super) struct QuayDockerToken {
        name: String,
    }
}

/// The tokens of that name, and the first of them whole.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    uuids: Vec<String>,
    token: Option<Value>,
}

const TOKENS: &str = "user/apptoken";

fn place() -> Place<'static> {
    Place::quay().needs("FEATURE_APP_SPECIFIC_TOKENS").list()
}

fn one(uuid: &str) -> String {
    format!("{TOKENS}/{}", percent(uuid, false))
}

#[async_trait]
impl Resource for QuayDockerToken {
    const NAME: &'static str = "quay_docker_token";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_docker_token", "infra.quay_configuration.quay_docker_token"];
    type Observed = Found;
    type Step = Call;

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let quay = self.quay(cx)?;
        let all = list(place().look(cx, &quay, TOKENS, self.state).await?, "tokens");
        let named = all.iter().filter(|token| text(token, "title").as_ref() == Some(&self.name));
        let uuids: Vec<String> = named.filter_map(|token| text(token, "uuid")).collect();
        let token = match (self.state, uuids.first()) {
            (Presence::Present, Some(uuid)) => {
                let whole = Place::quay().look(cx, &quay, &one(uuid), self.state).await?;
                whole.and_then(|answer| answer.get("token").cloned())
            }
            _ => None,
        };
        Ok(Found { uuids, token })
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("token {}", self.name);
        if self.state == Presence::Absent {
            let removal =
                |uuid: &String| Call::new(Verb::Delete, one(uuid), None, format!("removing the {title}"));
            return Ok(plan(&title, now.uuids.iter().map(removal).collect(), "present", "absent"));
        }
        if !now.uuids.is_empty() {
            return Ok(Plan::default());
        }
        let body = json!({"title": self.name});
        let call = Call::new(Verb::Post, TOKENS, Some(body), format!("making the {title}"));
        Ok(plan(&title, vec![call], "absent", "present"))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Found) -> Map {
        let Some(Value::Object(token)) = &after.token else { return Map::new() };
        let mut told = token.clone();
        told.shift_remove("title");
        told.insert("name".into(), json!(self.name));
        told.insert("username".into(), json!("$app"));
        if let Some(code) = token.get("token_code").and_then(Value::as_str) {
            let auth = STANDARD.encode(format!("$app:{code}"));
            let host = self.quay_host.split_once("://").map_or(self.quay_host.as_str(), |(_, host)| host);
            let config = json!({"auths": {host.trim_end_matches('/'): {"auth": auth, "email": ""}}});
            told.insert("dockerconfigjson_b64".into(), json!(STANDARD.encode(config.to_string())));
            told.insert("auth_b64".into(), json!(auth));
        }
        told
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
