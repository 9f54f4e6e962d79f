use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, look, plan, seconds, text, with_quay};
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// An organization of Quay's.
    pub(super) struct QuayOrganization {
        name: String,
        email: Option<String>,
        /// How long deleted tags can be brought back (`0s`, `1d`, `2w`; one of `TAG_EXPIRATION_OPTIONS`).
        time_machine_expiration: Option<String>,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    email: Option<String>,
    expiration: Option<u64>,
    /// Who asks is no administrator of it: Quay does not show them what there is.
    reduced: bool,
}

impl QuayOrganization {
    fn path(&self) -> String {
        format!("organization/{}", percent(&self.name, false))
    }

    /// What is asked for and is otherwise, as Quay takes it.
    fn differences(&self, now: &Found) -> Result<Map, ModuleError> {
        let mut body = Map::new();
        if let Some(email) = self.email.as_ref().filter(|e| now.email.as_ref() != Some(*e)) {
            body.insert("email".into(), json!(email));
        }
        if let Some(asked) = self.time_machine_expiration.as_deref().map(seconds).transpose()?
            && now.expiration != Some(asked)
        {
            body.insert("tag_expiration_s".into(), json!(asked));
        }
        Ok(body)
    }
}

#[async_trait]
impl Resource for QuayOrganization {
    const NAME: &'static str = "quay_organization";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_organization", "infra.quay_configuration.quay_organization"];
    type Observed = Option<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        self.time_machine_expiration.as_deref().map_or(Ok(0), seconds).map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let answer = look(cx, &quay, &self.path()).await?;
        Ok(answer.map(|organization| Found {
            email: text(&organization, "email"),
            expiration: organization.get("tag_expiration_s").and_then(Value::as_u64),
            reduced: organization.get("is_admin").and_then(Value::as_bool) == Some(false),
        }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let name = &self.name;
        let title = format!("organization {name}");
        let change = |body: Map| {
            Call::new(
                Verb::Put,
                self.path(),
                Some(Value::Object(body)),
                format!("changing the organization {name}"),
            )
        };
        Ok(match (self.state, now) {
            (Presence::Absent, None) => Plan::default(),
            (Presence::Absent, Some(_)) => {
                let call =
                    Call::new(Verb::Delete, self.path(), None, format!("removing the organization {name}"));
                plan(&title, vec![call], "present", "absent")
            }
            (Presence::Present, None) => {
                let mut body = json!({"name": name});
                if let Some(email) = &self.email {
                    body["email"] = json!(email);
                }
                let made = Found { email: self.email.clone(), ..Found::default() };
                let more = self.differences(&made)?;
                let what = format!("making the organization {name}");
                let mut calls = vec![Call::new(Verb::Post, "organization/", Some(body), what)];
                calls.extend((!more.is_empty()).then(|| change(more)));
                plan(&title, calls, "absent", "present")
            }
            (Presence::Present, Some(found)) => {
                let body = self.differences(found)?;
                if found.reduced && !body.is_empty() {
                    let names: Vec<&str> = body.keys().map(String::as_str).collect();
                    return Err(ModuleError::failed(format!(
                        "who asks is no administrator of the organization {name}, and Quay shows them no {}",
                        names.join(" and no ")
                    ))
                    .hint("ask as a member of its owners, or switch FEATURE_SUPERUSERS_FULL_ACCESS on for superusers"));
                }
                let was: Vec<String> = body
                    .keys()
                    .map(|key| match key.as_str() {
                        "email" => format!("email: {}", found.email.as_deref().unwrap_or("none")),
                        _ => format!("{key}: {}", found.expiration.map_or("none".into(), |s| s.to_string())),
                    })
                    .collect();
                let shall: Vec<String> = body
                    .iter()
                    .map(|(key, value)| format!("{key}: {}", crate::value::plain(value)))
                    .collect();
                let calls = if body.is_empty() { Vec::new() } else { vec![change(body)] };
                plan(&title, calls, &was.join("\n"), &shall.join("\n"))
            }
        })
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx)?).await.map(drop)
    }

    fn result(&self, after: &Option<Found>) -> Map {
        Map::from_iter([("name".to_owned(), json!(self.name)), ("exists".to_owned(), json!(after.is_some()))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
