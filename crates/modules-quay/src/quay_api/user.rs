use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::call::{Access, Call, look, plan, text, with_quay};
use crate::args::Presence;
use crate::host::Secret;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A user of Quay's own database; only a superuser may make one.
    pub(super) struct QuayUser {
        #[serde(alias = "name")]
        username: String,
        email: Option<String>,
        /// At least 8 characters, no white space. Of a disabled user it is not compared.
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        password: Option<Secret>,
        enabled: Option<bool>,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    email: Option<String>,
    enabled: bool,
    /// Whether the password that is asked for lets the user in.
    enters: bool,
}

impl QuayUser {
    fn path(&self) -> String {
        format!("superuser/users/{}", percent(&self.username, false))
    }

    async fn enters(&self, cx: &TaskContext) -> Result<bool, ModuleError> {
        let Some(password) = &self.password else { return Ok(true) };
        let access = Access {
            host: &self.quay_host,
            token: None,
            username: Some(&self.username),
            password: Some(password),
            verify: self.validate_certs,
            authorities: self.ca_cert.as_deref(),
        };
        access.open(cx)?.may_enter().await.map_err(ModuleError::from)
    }

    /// What differs, as the API takes it; `now` is `None` for a user who was only just made.
    fn differences(&self, now: Option<&Found>) -> Map {
        let mut body = Map::new();
        if let Some(email) = self.email.as_ref().filter(|e| now.is_some_and(|f| f.email.as_ref() != Some(*e)))
        {
            body.insert("email".into(), json!(email));
        }
        if let Some(enabled) = self.enabled.filter(|e| now.is_none_or(|f| f.enabled) != *e) {
            body.insert("enabled".into(), json!(enabled));
        }
        if let Some(password) = self.password.as_ref().filter(|_| now.is_none_or(|f| !f.enters)) {
            body.insert("password".into(), json!(password.0));
        }
        body
    }
}

#[async_trait]
impl Resource for QuayUser {
    const NAME: &'static str = "quay_user";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_user", "infra.quay_configuration.quay_user"];
    type Observed = Option<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        let short = self
            .password
            .as_ref()
            .is_some_and(|p| p.0.chars().count() < 8 || p.0.contains(char::is_whitespace));
        if short {
            return Err(ModuleError::Arguments(
                "password: Quay wants at least 8 characters and no white space".into(),
            ));
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let Some(user) = look(cx, &quay, &self.path()).await? else { return Ok(None) };
        let enabled = user.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        // Nobody enters who is disabled: what the password is cannot be told then.
        let tells = self.state == Presence::Present && enabled && self.enabled != Some(false);
        let enters = !tells || self.enters(cx).await?;
        Ok(Some(Found { email: text(&user, "email"), enabled, enters }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let name = &self.username;
        let title = format!("user {name}");
        let change = |body: Map| {
            Call::new(Verb::Put, self.path(), Some(Value::Object(body)), format!("changing the {title}"))
        };
        Ok(match (self.state, now) {
            (Presence::Absent, None) => Plan::default(),
            (Presence::Absent, Some(_)) => {
                let call = Call::new(Verb::Delete, self.path(), None, format!("removing the {title}"));
                plan(&title, vec![call], "present", "absent")
            }
            (Presence::Present, None) => {
                let mut body = json!({"username": name});
                // Quay takes none for "no address", and refuses null.
                if let Some(email) = &self.email {
                    body["email"] = json!(email);
                }
                let mut calls = vec![Call::new(
                    Verb::Post,
                    "superuser/users/",
                    Some(body),
                    format!("making the {title}"),
                )];
                let more = self.differences(None);
                calls.extend((!more.is_empty()).then(|| change(more)));
                plan(&title, calls, "absent", "present")
            }
            (Presence::Present, Some(found)) => {
                let body = self.differences(Some(found));
                let names: Vec<&str> = body.keys().map(String::as_str).collect();
                let changed = format!("new: {}", names.join(", "));
                let calls = if body.is_empty() { Vec::new() } else { vec![change(body)] };
                plan(&title, calls, "present", &changed)
            }
        })
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx)?).await.map(drop)
    }

    fn result(&self, after: &Option<Found>) -> Map {
        Map::from_iter([
            ("username".to_owned(), json!(self.username)),
            ("exists".to_owned(), json!(after.is_some())),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
