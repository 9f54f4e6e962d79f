use std::collections::BTreeSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, look, plan, text, with_quay};
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A team of an organization, and who is in it.
    pub(super) struct QuayTeam {
        name: String,
        organization: String,
        description: Option<String>,
        /// What its members may do in the organization.
        #[serde(default)]
        role: Role,
        /// Users and robots (`organization+robot`).
        members: Option<Vec<String>>,
        /// Keep members that are not named.
        #[serde(default = "crate::args::yes")]
        append: bool,
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    #[default]
    Member,
    Creator,
    Admin,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Creator => "creator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    role: Option<String>,
    description: Option<String>,
    members: BTreeSet<String>,
}

impl QuayTeam {
    fn path(&self) -> String {
        format!("organization/{}/team/{}", percent(&self.organization, false), percent(&self.name, false))
    }

    /// The calls that bring the members in, and out.
    fn memberships(&self, now: &BTreeSet<String>) -> Vec<Call> {
        let Some(asked) = &self.members else { return Vec::new() };
        let path = |member: &str| format!("{}/members/{}", self.path(), percent(member, false));
        let joins = asked.iter().filter(|m| !now.contains(*m)).map(|member| {
            Call::new(
                Verb::Put,
                path(member),
                Some(json!({})),
                format!("adding {member} to the team {}", self.name),
            )
        });
        let leaves = now.iter().filter(|m| !self.append && !asked.contains(m)).map(|member| {
            Call::new(
                Verb::Delete,
                path(member),
                None,
                format!("taking {member} out of the team {}", self.name),
            )
        });
        joins.chain(leaves).collect()
    }
}

#[async_trait]
impl Resource for QuayTeam {
    const NAME: &'static str = "quay_team";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_team", "infra.quay_configuration.quay_team"];
    type Observed = Option<Found>;
    type Step = Call;

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let path = format!("organization/{}", percent(&self.organization, false));
        let Some(organization) = look(cx, &quay, &path).await? else {
            if cx.mode.check || self.state == Presence::Absent {
                return Ok(None);
            }
            return Err(ModuleError::failed(format!("there is no organization {}", self.organization))
                .hint("make it first (quay_organization)"));
        };
        let Some(team) = organization.get("teams").and_then(|t| t.get(&self.name)) else { return Ok(None) };
        let mut found = Found {
            role: text(team, "role"),
            description: text(team, "description"),
            members: BTreeSet::new(),
        };
        if self.members.is_some() {
            let answer = look(cx, &quay, &format!("{}/members", self.path())).await?.unwrap_or_default();
            let list = answer.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
            found.members = list.iter().filter_map(|m| text(m, "name")).collect();
        }
        Ok(Some(found))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("team {} of {}", self.name, self.organization);
        if self.state == Presence::Absent {
            let calls = now.as_ref().map(|_| {
                Call::new(Verb::Delete, self.path(), None, format!("removing the team {}", self.name))
            });
            return Ok(plan(&title, calls.into_iter().collect(), "present", "absent"));
        }
        let none = Found::default();
        let found = now.as_ref().unwrap_or(&none);
        let mut calls = Vec::new();
        let described = self.description.is_none() || self.description == found.description;
        if now.is_none() || found.role.as_deref() != Some(self.role.word()) || !described {
            let mut body = json!({"role": self.role.word()});
            if let Some(description) = &self.description {
                body["description"] = json!(description);
            }
            calls.push(Call::new(
                Verb::Put,
                self.path(),
                Some(body),
                format!("setting up the team {}", self.name),
            ));
        }
        calls.extend(self.memberships(&found.members));
        let was: Vec<&str> = found.members.iter().map(String::as_str).collect();
        let shall: Vec<&str> = self.members.iter().flatten().map(String::as_str).collect();
        let before = match now {
            None => "absent".to_owned(),
            Some(found) => {
                format!("role: {}\nmembers: {}", found.role.as_deref().unwrap_or("none"), was.join(", "))
            }
        };
        Ok(plan(
            &title,
            calls,
            &before,
            &format!("role: {}\nmembers: {}", self.role.word(), shall.join(", ")),
        ))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx)?).await.map(drop)
    }

    fn result(&self, after: &Option<Found>) -> Map {
        let members = after.as_ref().map(|f| &f.members);
        Map::from_iter([("name".to_owned(), json!(self.name)), ("members".to_owned(), json!(members))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
