use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, with_quay};
use super::place::{Place, list, shown};
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// An OAuth application of an organization, for which API tokens are made. `register` holds its secret: give the
    /// task `no_log`.
    pub(super) struct QuayApplication {
        organization: String,
        /// At least two characters.
        name: String,
        /// The application gets this name instead.
        new_name: Option<String>,
        description: Option<String>,
        /// Its home page.
        application_uri: Option<String>,
        /// What its OAuth callbacks begin with.
        redirect_uri: Option<String>,
        /// Whose avatar stands for it.
        avatar_email: Option<String>,
    }
}

/// An application as Quay tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    name: String,
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    application_uri: Option<String>,
    #[serde(default)]
    redirect_uri: Option<String>,
    #[serde(default)]
    avatar_email: Option<String>,
}

impl QuayApplication {
    fn path(&self) -> String {
        format!("organization/{}/applications", percent(&self.organization, false))
    }

    fn place(&self) -> Place<'_> {
        Place::namespace(&self.organization).list()
    }

    /// The application by its name, and the one that has the new name already.
    fn find<'f>(&self, now: &'f [Found]) -> (Option<&'f Found>, Option<&'f Found>) {
        let by = |name: &str| now.iter().find(|found| found.name == name);
        (by(&self.name), self.new_name.as_deref().filter(|new| *new != self.name).and_then(by))
    }

    /// All of an application: what is not asked for stays, and Quay forgets what it is not told again.
    fn body(&self, now: Option<&Found>) -> Map {
        let name = self.new_name.as_ref().unwrap_or(&self.name);
        let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
        let mut put = |key: &str, asked: &Option<String>, held: Option<&String>| {
            if let Some(value) = asked.as_ref().or(held) {
                body.insert(key.to_owned(), json!(value));
            } else if now.is_some() && key.ends_with("_uri") {
                // These two must be there.
                body.insert(key.to_owned(), json!(""));
            }
        };
        put("description", &self.description, now.and_then(|f| f.description.as_ref()));
        put("application_uri", &self.application_uri, now.and_then(|f| f.application_uri.as_ref()));
        put("redirect_uri", &self.redirect_uri, now.and_then(|f| f.redirect_uri.as_ref()));
        put("avatar_email", &self.avatar_email, now.and_then(|f| f.avatar_email.as_ref()));
        body
    }
}

impl Found {
    fn field(&self, name: &str) -> &str {
        let field = match name {
            "name" => return &self.name,
            "description" => &self.description,
            "application_uri" => &self.application_uri,
            "redirect_uri" => &self.redirect_uri,
            _ => &self.avatar_email,
        };
        field.as_deref().unwrap_or_default()
    }
}

#[async_trait]
impl Resource for QuayApplication {
    const NAME: &'static str = "quay_application";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_application", "infra.quay_configuration.quay_application"];
    type Observed = Vec<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        for (argument, name) in [("name", Some(&self.name)), ("new_name", self.new_name.as_ref())] {
            let holds = name.is_none_or(|name| name.chars().count() >= 2);
            require(holds, format!("{argument}: Quay wants at least two characters"))?;
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let answer = self.place().look(cx, &quay, &self.path(), self.state).await?;
        let all = list(answer, "applications");
        Ok(all.into_iter().filter_map(|found| serde_json::from_value(found).ok()).collect())
    }

    fn plan(&self, now: &Vec<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("application {} of {}", self.name, self.organization);
        let (old, new) = self.find(now);
        if self.state == Presence::Present
            && let (Some(_), Some(new)) = (old, new)
        {
            return Err(ModuleError::failed(format!("new_name: there is an application {}", new.name))
                .hint("remove one of the two first"));
        }
        let found = new.or(old);
        let one = |f: &Found| format!("{}/{}", self.path(), percent(&f.client_id, false));
        if self.state == Presence::Absent {
            let removal = |f| Call::new(Verb::Delete, one(f), None, format!("removing the {title}"));
            return Ok(plan(&title, found.map(removal).into_iter().collect(), "present", "absent"));
        }
        let body = self.body(found);
        let Some(found) = found else {
            let what = format!("making the {title}");
            let call = Call::new(Verb::Post, self.path(), Some(Value::Object(body)), what);
            return Ok(plan(&title, vec![call], "absent", "present"));
        };
        let differs: Vec<(&String, &Value)> =
            body.iter().filter(|(key, value)| value.as_str() != Some(found.field(key))).collect();
        if differs.is_empty() {
            return Ok(Plan::default());
        }
        let was: Vec<String> =
            differs.iter().map(|(key, _)| format!("{key}: {}", found.field(key))).collect();
        let shall: Vec<String> =
            differs.iter().map(|(key, value)| format!("{key}: {}", crate::value::plain(value))).collect();
        let what = format!("changing the {title}");
        let call = Call::new(Verb::Put, one(found), Some(Value::Object(body.clone())), what);
        Ok(plan(&title, vec![call], &was.join("\n"), &shall.join("\n")))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        self.place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Vec<Found>) -> Map {
        let (old, new) = self.find(after);
        let Some(found) = new.or(old) else { return Map::new() };
        Map::from_iter([
            ("name".to_owned(), json!(found.name)),
            ("client_id".to_owned(), json!(found.client_id)),
            ("client_secret".to_owned(), json!(found.client_secret)),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
