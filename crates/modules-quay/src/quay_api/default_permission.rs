use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, text, with_quay};
use super::permission::{Kind, Role};
use super::place::Place;
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// What somebody may do with every repository that is made in an organization from now on.
    pub(super) struct QuayDefaultPermission {
        organization: String,
        /// A user, a team, or a robot (`organization+robot`).
        name: String,
        #[serde(default, rename = "type")]
        kind: Kind,
        #[serde(default)]
        role: Role,
        /// Only for repositories that this user makes.
        creator: Option<String>,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    id: String,
    role: String,
    /// Quay lets the same one be made again: the numbers of the others.
    #[serde(default)]
    again: Vec<String>,
}

impl QuayDefaultPermission {
    fn path(&self) -> String {
        format!("organization/{}/prototypes", percent(&self.organization, false))
    }

    /// Robots are users to the API.
    fn kind(&self) -> &'static str {
        self.kind.word()
    }

    fn is_this(&self, prototype: &Value) -> bool {
        let delegate = prototype.get("delegate").cloned().unwrap_or_default();
        let creator = prototype.get("activating_user").and_then(|u| text(u, "name"));
        text(&delegate, "name").as_deref() == Some(self.name.as_str())
            && text(&delegate, "kind").as_deref() == Some(self.kind())
            && creator == self.creator
    }
}

#[async_trait]
impl Resource for QuayDefaultPermission {
    const NAME: &'static str = "quay_default_permission";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_default_permission", "infra.quay_configuration.quay_default_perm"];
    type Observed = Option<Found>;
    type Step = Call;

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let looked = Place::namespace(&self.organization).look(cx, &quay, &self.path(), self.state).await?;
        let answer = looked.unwrap_or_default();
        let all = answer.get("prototypes").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut these = all.iter().filter(|p| self.is_this(p));
        let Some(first) = these.next() else { return Ok(None) };
        let again = these.filter_map(|p| text(p, "id")).collect();
        Ok(Some(Found {
            id: text(first, "id").unwrap_or_default(),
            role: text(first, "role").unwrap_or_default(),
            again,
        }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("default permission of {} in {}", self.name, self.organization);
        let role = self.role.word();
        let one = |id: &str| format!("{}/{}", self.path(), percent(id, false));
        let call = match (self.state, now) {
            (Presence::Absent, None) => None,
            (Presence::Absent, Some(found)) => {
                let ids = std::iter::once(&found.id).chain(&found.again);
                let removal =
                    |id: &String| Call::new(Verb::Delete, one(id), None, format!("removing the {title}"));
                return Ok(plan(&title, ids.map(removal).collect(), &found.role, "absent"));
            }
            (Presence::Present, None) => {
                let mut body = json!({"role": role, "delegate": {"name": self.name, "kind": self.kind()}});
                if let Some(creator) = &self.creator {
                    body["activating_user"] = json!({"name": creator});
                }
                Some(Call::new(Verb::Post, self.path(), Some(body), format!("making the {title}")))
            }
            (Presence::Present, Some(found)) if found.role == role => None,
            (Presence::Present, Some(found)) => Some(Call::new(
                Verb::Put,
                one(&found.id),
                Some(json!({"role": role})),
                format!("changing the {title}"),
            )),
        };
        let before = now.as_ref().map_or("absent", |f| f.role.as_str());
        let after = if self.state == Presence::Absent { "absent" } else { role };
        Ok(plan(&title, call.into_iter().collect(), before, after))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx)?).await.map(drop)
    }

    fn result(&self, after: &Option<Found>) -> Map {
        Map::from_iter([("role".to_owned(), json!(after.as_ref().map(|f| &f.role)))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
